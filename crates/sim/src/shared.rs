//! Histories in which people share spaces: what they may do changes at random moments, and some of them speak JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use lattice_engine::{Policy, Role, Rules};
use lattice_protocol::plain;
use lattice_store::directory::{AccessRecord, SpaceKind};
use lattice_store::spaces::Space;
use lattice_store::sqlite::directory;

use crate::config::Sharing;
use crate::driver::{Fault, Job};
use crate::history::{History, Problem, broken, note};
use crate::hosts::JsonHost;
use crate::people::{self, Act, User};
use crate::rng::Rng;
use crate::world::World;

/// The people of a history.
pub(crate) struct Shared {
    sharing: Sharing,
    pub(crate) people: Vec<User>,
    pub(crate) hosts: Vec<JsonHost>,
    /// By space, how many changes were made in the JSON dialect.
    pub(crate) json_edits: BTreeMap<usize, usize>,
    /// Few, so that they come back.
    policies: Vec<Policy>,
    /// How frames name each space.
    pub(crate) names: Vec<String>,
    /// Changes of access that the next group commits.
    acts: Vec<(usize, Act)>,
}

/// Makes the people and the spaces of a history.
///
/// # Errors
/// What the database says.
pub(crate) fn make(
    world: &mut World,
    rng: &mut Rng,
    sharing: &Sharing,
    count: usize,
    rules: &Rules,
) -> Result<(Shared, Vec<Arc<Space>>), lattice_store::StoreError> {
    let mut people: Vec<User> = (0..sharing.people).map(|_| rng.uuid()).collect();
    let (mut made, mut names) = (Vec::new(), Vec::new());
    if sharing.private {
        // It is its owner's alone.
        let space = world.make_space(rng, rules.clone())?;
        people[0] = people::owner(world.connection(), space.no)?;
        names.push("me".to_owned());
        made.push(space);
    }
    let db = world.connection();
    people.iter().try_for_each(|user| people::make_user(db, *user))?;
    while made.len() < count {
        let kind = if rng.chance(20) { SpaceKind::Public } else { SpaceKind::Shared };
        let space = people::make_space(db, rng, people[0], kind, rules.clone())?;
        for user in &people[1..] {
            let role = *rng.pick(&[Some(Role::Editor), Some(Role::Editor), Some(Role::Viewer), None]);
            if let Some(role) = role {
                people::perform(db, &space, &Act::Add(*user, role))?;
            }
        }
        names.push(plain::Space::Id(space.id.0).to_string());
        made.push(space);
    }
    let policies: Vec<Policy> = (0..rng.between(1, 3)).map(|_| people::draw_policy(rng, &TABLES)).collect();
    for space in &made {
        if rng.chance(60) {
            people::perform(db, space, &Act::Policy(rng.pick(&policies).clone()))?;
        }
    }
    let sharing = sharing.clone();
    Ok((
        Shared {
            sharing,
            people,
            hosts: Vec::new(),
            json_edits: BTreeMap::new(),
            policies,
            names,
            acts: Vec::new(),
        },
        made,
    ))
}

impl Shared {
    /// Whether a space is one person's own.
    pub(crate) fn is_private(&self, space: usize) -> bool {
        self.names[space] == "me"
    }
}

/// Tables that policies name.
pub(crate) const TABLES: [&str; 4] = ["Item", "Note", "_Item_Note_notes", "_Item_Note_any"];

impl History<'_> {
    pub(crate) fn shared(&mut self) -> &mut Shared {
        self.shared.as_mut().unwrap_or_else(|| unreachable!("only where people share"))
    }

    /// What somebody may do in a space now.
    pub(crate) fn access(&self, space: usize, user: User) -> Result<Option<AccessRecord>, Problem> {
        directory::access_in(self.world.connection(), self.server.space(space).no, user).map_err(broken)
    }

    /// A user for a native client of a space.
    pub(crate) fn somebody(&mut self, space: usize) -> Result<User, Problem> {
        let is_private = self.shared().is_private(space);
        let people = self.shared().people.clone();
        Ok(if is_private { people[0] } else { *self.rng.pick(&people) })
    }

    /// Adds the clients of the JSON dialect.
    pub(crate) fn add_hosts(&mut self) {
        for _ in 0..self.shared().sharing.json_clients {
            let people = self.shared().people.clone();
            let user = *self.rng.pick(&people);
            self.add_host(user);
        }
    }

    /// A step that only people take who share.
    pub(crate) fn shared_step(&mut self) -> Result<(), Problem> {
        let hosts = self.shared().hosts.len();
        let weights = self.shared().sharing.weights;
        let mut dice = self.rng.below(weights.iter().sum());
        let mut chosen = 0;
        while dice >= weights[chosen] {
            dice -= weights[chosen];
            chosen += 1;
        }
        if chosen < 2 {
            return self.act(chosen == 1);
        }
        if hosts == 0 {
            return Ok(());
        }
        let host = self.rng.below(hosts);
        match chosen {
            2 => self.edit_json(host),
            3 => {
                self.upload_json(host);
            }
            4 => {
                self.receive_json(host)?;
            }
            5 => self.toggle_json(host)?,
            6 => self.filter_anew(host),
            7 => {
                self.poll_json(host);
            }
            _ => {
                let space = self.some_space(host);
                note!(self, "json {host}: forgets its cursor of space {space}");
                self.shared().hosts[host].db.forget_cursor(space);
            }
        }
        Ok(())
    }

    /// Somebody changes what people may do: alone, or in the next group commit.
    fn act(&mut self, alone: bool) -> Result<(), Problem> {
        let space = self.rng.below(self.config.spaces);
        let people = self.shared().people.clone();
        let user = *self.rng.pick(&people);
        let role = *self.rng.pick(&[Role::Viewer, Role::Editor]);
        let act = match self.rng.below(10) {
            0..3 => {
                let policies = self.shared().policies.clone();
                Act::Policy(self.rng.pick(&policies).clone())
            }
            3 | 4 => Act::Role(user, role),
            5 => Act::Remove(user),
            6 | 7 => Act::Add(user, role),
            8 => Act::Transfer(user),
            _ => Act::Archive(self.rng.chance(30)),
        };
        note!(self, "space {space}: {act:?}, alone: {alone}");
        if !alone {
            self.shared().acts.push((space, act));
            return Ok(());
        }
        let wall_us = self.now_us + self.wall_offset_us;
        let mut jobs = vec![Job::Access(space, act)];
        if self.rng.chance(20) {
            // Somebody thinks better of it, before anybody has looked.
            let owner = self.world.owner(self.server.space(space).no).map_err(broken)?;
            if let Some(before) = self.access(space, owner)? {
                jobs.push(Job::Access(space, Act::Policy((*before.policy).clone())));
            }
        }
        self.server.commit(self.world, &jobs, wall_us, Fault::None, &mut self.rng).map_err(broken)?;
        Ok(())
    }

    /// Nobody writes, while what people may do changes over and over: rows are shown, taken back and shown again as they
    /// are.
    pub(crate) fn flicker(&mut self) -> Result<(), Problem> {
        if !self.shared().sharing.flickers {
            return Ok(());
        }
        note!(self, "-- nobody writes, and access changes");
        for _ in 0..self.rng.between(4, 16) {
            self.act(true)?;
            for client in 0..self.clients.len() {
                match self.clients[client].connection {
                    Some(_) if self.rng.chance(3) => self.die(client)?,
                    Some(no) => {
                        for _ in 0..self.rng.below(4) {
                            self.pull(no)?;
                            self.receive(client)?;
                        }
                    }
                    None => self.connect(client)?,
                }
            }
            for host in 0..self.shared().hosts.len() {
                for _ in 0..self.rng.below(4) {
                    self.settle_host(host)?;
                }
            }
            self.no_violation()?;
        }
        Ok(())
    }

    /// Puts changes of access between the uploads of a group.
    pub(crate) fn mix_in_acts(&mut self, jobs: &mut Vec<Job>) {
        let Some(shared) = &mut self.shared else { return };
        for (space, act) in std::mem::take(&mut shared.acts) {
            jobs.insert(self.rng.between(0, jobs.len()), Job::Access(space, act));
        }
    }
}
