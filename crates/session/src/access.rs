//! What a user may do in a space, and what follows from it for what they are shown.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use lattice_engine::{Policy, Role, SchemaRule, Seq, Shown, View};
use lattice_protocol::plain::Filter;

use crate::refusal::Refusal;

/// A space as one user may use it, at the moment of asking.
#[derive(Clone, Debug)]
pub struct SpaceAccess {
    /// What the user is in it.
    pub role: Role,
    /// What members may do.
    pub policy: Arc<Policy>,
    /// It is the user's private one.
    pub private: bool,
    /// Which versions of an app's schema may sync it; `None`: all.
    pub schema: Option<SchemaRule>,
}

impl SpaceAccess {
    /// Why a client that declares this version of the app's schema may not sync the space; `None` when it may.
    #[must_use]
    pub fn refuses(&self, declared: Option<u64>) -> Option<Refusal> {
        self.admit(declared).err()
    }

    /// Refuses a client of another schema version than the space asks for.
    pub(crate) fn admit(&self, declared: Option<u64>) -> Result<(), Refusal> {
        match self.schema {
            Some(rule) if !declared.is_some_and(|version| rule.admits(version)) => {
                Err(Refusal::Schema { rule, declared })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn view(
        &self,
        user: [u8; 16],
        filter: Option<Arc<Filter>>,
        schema_version: Option<u64>,
    ) -> Arc<View> {
        let view = View::new(&self.policy, self.role, user, self.private, filter);
        Arc::new(view.with_schema(schema_version))
    }

    /// Whether a view is remembered before anything of it is sent. That its owner sees everything in a private space goes without
    /// saying, unless they were shown less of it before (`other_views`): then it counts which came last.
    pub(crate) fn remembers(&self, view: &View, other_views: bool) -> bool {
        !self.private || *view != View::everything() || other_views
    }
}

/// A view that a user had of a space, as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RememberedView {
    /// Its number.
    pub id: u64,
    /// What it is made from again.
    pub definition: String,
    /// Rows that were created after this seq were never shown in it. `None` while it may still be shown.
    pub until: Option<Seq>,
}

/// The views that a user was shown before, the newest first.
pub(crate) fn shown_before(views: Vec<RememberedView>, private: bool, head: Seq) -> Vec<Shown> {
    // Also in an own space that is shown as a whole: it may have had a policy, or filters, before.
    let whole = (private && views.iter().all(|held| held.id != 0)).then(|| Shown {
        view: Arc::new(View::everything()),
        from: 0,
        until: head,
    });
    let parsed = views.into_iter().filter_map(|held| {
        let view = Arc::new(View::parse(&held.definition)?);
        Some(Shown { view, from: 0, until: held.until.unwrap_or(head) })
    });
    parsed.chain(whole).collect()
}
