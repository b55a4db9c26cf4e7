//! The JSON dialect on a socket: moves frames between a client and its session.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use bytestring::ByteString;
use lattice_auth::AuthError;
use lattice_engine::Outcome;
use lattice_protocol::Code;
use lattice_protocol::limits::MAX_CHANGES_PER_FRAME;
use lattice_protocol::plain::{self, IdSource, Space, decode, encode_presence};
use lattice_session::{
    Answer, Client, JsonEffect, JsonSession, Refusal, Request, Slot, Switched, UploadFailure,
};
use lattice_store::spaces::Origin;
use lattice_store::time::random_id;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_util::sync::ReusableBoxFuture;

use super::connection::{Connection, ConnectionEvent, End};
use super::space::{NewUpload, SpaceLink, enter, new_writer, off_thread, refused_codes, selector};
use super::{SyncState, audited};
use crate::hub::{PlainKey, PlainListener, PresenceState, Present, Signal, Watched};

/// What the server keeps for a space of a connection.
struct JsonLink {
    link: SpaceLink,
    /// What the client calls the space.
    name: Space,
    /// Keeps commits being written in the client's format.
    listener: Option<PlainListener>,
    /// What the client shows the others.
    present: Option<Present>,
    /// What it was told of what the others show; `None` while it does not want to know.
    watched: Option<Watched>,
    changed: ReusableBoxFuture<'static, watch::Receiver<Signal>>,
}

async fn changed(mut signal: watch::Receiver<Signal>) -> watch::Receiver<Signal> {
    // The space lives as long as the link that this belongs to.
    let _ = signal.changed().await;
    signal
}

impl JsonLink {
    fn new(link: SpaceLink, name: Space) -> Self {
        let changed = ReusableBoxFuture::new(changed(link.live.subscribe()));
        Self { link, name, listener: None, present: None, watched: None, changed }
    }

    /// Ready when the space's signal has changed.
    fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let signal = std::task::ready!(self.changed.poll(cx));
        self.changed.set(changed(signal));
        Poll::Ready(())
    }

    /// Whether the others show something that the client was not told.
    fn is_presence_behind(&self) -> bool {
        let presence = self.link.signal.borrow().presence;
        self.watched.as_ref().is_some_and(|watched| watched.is_behind(presence))
    }
}

enum Event {
    Connection(ConnectionEvent),
    Uploaded(Slot, Result<Vec<Outcome>, UploadFailure>),
    Signal,
    Closing,
    Timer,
}

/// A connection that speaks the JSON dialect.
pub(super) struct Json<'a> {
    state: &'a SyncState,
    connection: &'a mut Connection,
    origin: Arc<Origin>,
    session: JsonSession,
    links: BTreeMap<Slot, JsonLink>,
}

impl<'a> Json<'a> {
    /// A connection that has just been made, or on which a native one has turned out to speak JSON.
    pub(super) fn new(
        state: &'a SyncState,
        connection: &'a mut Connection,
        origin: Arc<Origin>,
        schema_version: Option<u64>,
        switched: Option<Switched>,
    ) -> Self {
        let client = Client {
            user: connection.identity.user.0,
            schema_version,
            can_write: connection.identity.permissions.can_write(),
            max_frame_bytes: state.limits.max_frame_bytes as u64,
            ..Client::default()
        };
        let session = JsonSession::new(client, switched);
        Self { state, connection, origin, session, links: BTreeMap::new() }
    }

    /// Serves the client until the connection ends. `first` is a frame that was taken already.
    pub(super) async fn serve(mut self, first: Option<Bytes>) -> End {
        match self.run(first).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn run(&mut self, first: Option<Bytes>) -> Result<std::convert::Infallible, End> {
        self.connection.outbox.write_text();
        if let Some(first) = first {
            self.frame(first).await?;
        }
        let stop = self.state.stop.clone();
        let mut timer = std::pin::pin!(sleep_until(self.connection.next_timer()));
        loop {
            if stop.is_cancelled() {
                self.session.close();
            }
            if self.hint() {
                self.connection.recheck(self.state).await?;
                self.session.look_at_access(self.state.directory.version());
            }
            self.work(true).await?;
            let reads = self.session.takes_frames();
            let Self { connection, links, .. } = self;
            let drained = connection.outbox.is_empty();
            let event = tokio::select! {
                event = poll_fn(|cx| connection.poll(reads, cx)) => Event::Connection(event),
                event = poll_fn(|cx| poll_links(links, drained, cx)) => event,
                () = stop.cancelled(), if !stop.is_cancelled() => Event::Closing,
                () = timer.as_mut() => Event::Timer,
            };
            match event {
                Event::Connection(ConnectionEvent::Frame(frame)) => {
                    if let Some(payload) = self.connection.payload(frame)? {
                        self.frame(payload).await?;
                    }
                    if self.connection.is_paused() {
                        timer.as_mut().reset(self.connection.next_timer());
                    }
                }
                Event::Connection(ConnectionEvent::Failed(error)) => {
                    return Err(Connection::failed(self.state, &error));
                }
                Event::Uploaded(slot, result) => self.uploaded(slot, result),
                Event::Connection(ConnectionEvent::Drained) | Event::Signal | Event::Closing => {}
                Event::Timer => {
                    if self.connection.tick(self.state).await? {
                        self.hint();
                        self.session.look_at_access(self.state.directory.version());
                    }
                    timer.as_mut().reset(self.connection.next_timer());
                }
            }
        }
    }

    /// Tells the session what is known of its spaces. Whether what anybody may do in one has changed since the last call.
    fn hint(&mut self) -> bool {
        let mut any = false;
        for (slot, held) in &mut self.links {
            let (mut hint, moved) = held.link.hint(self.state);
            hint.presence = held.is_presence_behind();
            self.session.hint(*slot, hint);
            any |= moved;
        }
        any
    }

    async fn frame(&mut self, payload: Bytes) -> Result<(), End> {
        let bytes = payload.len();
        let decoded = off_thread(payload, |payload| decode(payload, MAX_CHANGES_PER_FRAME)).await;
        self.session.set_time(self.state.clock.now_us());
        self.session.frame(decoded, bytes);
        self.work(false).await
    }

    /// Does what the session says. `fills` where more may be read for the client once everything has left.
    async fn work(&mut self, fills: bool) -> Result<(), End> {
        while let Some(effect) = self.session.next_effect(fills && self.connection.outbox.is_empty()) {
            match effect {
                JsonEffect::Send(frame) => self.connection.outbox.push(frame),
                JsonEffect::Store { slot, space, request } => self.store(slot, space, request).await,
                JsonEffect::Recent { slot, after, writer } => {
                    let Some(held) = self.links.get(&slot) else { continue };
                    let key = PlainKey { format: self.session.client().format, space: held.name };
                    let (found, version) =
                        held.link.recent(self.state, (after, writer), |frame| frame.plain(key));
                    self.session.recent(slot, found, version);
                }
                JsonEffect::Upload { slot, upload, bytes } => self.upload(slot, upload, bytes).await?,
                JsonEffect::Refused { code, space } => {
                    self.connection.log.refusals().frame_refused(code, space);
                }
                JsonEffect::Authenticate { token } => self.authenticate(&token).await,
                JsonEffect::Close(close) => return Err(close.into()),
                JsonEffect::Leave { slot } => drop(self.links.remove(&slot)),
                JsonEffect::Replace { old, new } => self.replace(old, new),
                JsonEffect::Listen { slot, listens } => self.listen(slot, listens),
                JsonEffect::Mute { slot } => {
                    if let Some(held) = self.links.get_mut(&slot) {
                        (held.listener, held.present, held.watched) = (None, None, None);
                    }
                }
                JsonEffect::Show { slot, state } => self.show(slot, state),
                JsonEffect::TellPresence { slot } => self.tell_presence(slot),
            }
        }
        Ok(())
    }

    async fn store(&mut self, slot: Slot, name: Space, request: Request) {
        let answer = match (request, self.links.get(&slot)) {
            (Request::Enter { receipt_of }, _) => {
                // What is read for it takes its place among pages.
                match self.state.admission.page().await {
                    Ok(_permit) => self.enter(slot, name, receipt_of).await,
                    Err(overloaded) => Answer::Refused(overloaded.into()),
                }
            }
            (request, Some(held)) => held.link.answer(self.state, request).await,
            (_, None) => Answer::Refused(Refusal::Store),
        };
        self.session.answer(slot, answer);
        self.hint_of(slot);
    }

    async fn enter(
        &mut self,
        slot: Slot,
        name: Space,
        receipt_of: Option<lattice_protocol::EntryId>,
    ) -> Answer {
        let (selector, origin) = (selector(name), new_writer(self.state, &self.origin));
        let refused = match enter(self.state, origin, selector, receipt_of).await {
            Ok(Some((link, entered))) => {
                let refused = entered.access.refuses(self.session.client().schema_version);
                self.links.insert(slot, JsonLink::new(link, name));
                let Some(refusal) = refused else { return Answer::Entered(Some(entered)) };
                refusal
            }
            Ok(None) => Refusal::NotFound,
            Err(refusal) => return Answer::Refused(refusal),
        };
        Answer::Refused(audited::refused(self.state, &self.origin, selector, refused))
    }

    fn hint_of(&mut self, slot: Slot) {
        if let Some(held) = self.links.get_mut(&slot) {
            let presence = held.is_presence_behind();
            let signal = *held.link.signal.borrow();
            let version = self.state.directory.version();
            self.session.hint(slot, lattice_session::Hint { head: signal.head, version, presence });
        }
    }

    fn replace(&mut self, old: Slot, new: Slot) {
        let Some(mut before) = self.links.remove(&old) else { return };
        if let Some(held) = self.links.get_mut(&new) {
            // Whoever asks for something else in a space has not left it.
            (held.present, held.watched) = (before.present.take(), before.watched.take());
        }
    }

    /// The client follows the space, and takes commits as they are sent to everybody if `listens`.
    fn listen(&mut self, slot: Slot, listens: bool) {
        let Some(held) = self.links.get_mut(&slot) else { return };
        let key = PlainKey { format: self.session.client().format, space: held.name };
        held.listener = listens.then(|| held.link.live.listen_plain(key));
        if held.watched.is_none() {
            held.watched = Some(Watched::default());
            held.link.live.look_around();
        }
        self.hint_of(slot);
    }

    fn show(&mut self, slot: Slot, state: Option<Bytes>) {
        let client_id: Option<ByteString> = self.session.client().id.clone();
        let Some(held) = self.links.get_mut(&slot) else { return };
        let Some(state) = state else {
            held.present = None;
            return;
        };
        let shown = PresenceState { user: self.connection.identity.user.0, client_id, state };
        if let Some(present) = &held.present {
            present.show(shown);
            return;
        }
        held.present = held.link.live.present(shown);
        if held.present.is_none() {
            self.session.not_shown(slot);
        }
    }

    fn tell_presence(&mut self, slot: Slot) {
        let outbox = &mut self.connection.outbox;
        if let Some(JsonLink { link, name, present, watched: Some(watched), .. }) = self.links.get_mut(&slot)
        {
            link.live.watch(watched, present.as_ref(), |shown, state| {
                outbox.push(encode_presence(*name, &shown.user, shown.client_id.as_deref(), state));
            });
        }
        self.hint_of(slot);
    }

    fn uploaded(&mut self, slot: Slot, result: Result<Vec<Outcome>, UploadFailure>) {
        if let Ok(outcomes) = &result {
            let name = self.links.get(&slot).map(|held| held.name);
            self.connection.log.refusals().changes_refused(refused_codes(outcomes), name);
        }
        self.session.uploaded(slot, result);
    }

    async fn upload(&mut self, slot: Slot, upload: plain::Upload, bytes: usize) -> Result<(), End> {
        let Some(space) = self.links.get(&slot).map(|held| held.link.id().0) else { return Ok(()) };
        let incoming = {
            let random = &self.state.random;
            let mut random = || random_id(&**random);
            let mut source = IdSource {
                key: self.state.derivation_key,
                user: self.connection.identity.user.0,
                client_id: self.session.client().id.as_deref(),
                space,
                random: &mut random,
            };
            upload.changes.read(upload.id.as_ref(), &mut source)
        };
        let mut permit = std::pin::pin!(self.state.upload_permit(bytes));
        let permit = loop {
            // Answers are taken meanwhile: what they give back may be the very part of the budget that is missing.
            let links = &mut self.links;
            let event = tokio::select! {
                permit = permit.as_mut() => Ok(permit),
                uploaded = poll_fn(|cx| poll_uploads(links, cx)) => Err(uploaded),
            };
            match event {
                Ok(permit) => break permit.map_err(|error| End::internal(&error))?,
                Err((slot, result)) => self.uploaded(slot, result),
            }
        };
        // Taking answers may have ended the subscription.
        let Some(held) = self.links.get_mut(&slot) else { return Ok(()) };
        let Some(terms) = self.session.uploading(slot, &upload, &incoming, bytes) else { return Ok(()) };
        self.connection.uploaded(self.state, incoming.len(), bytes);
        let upload = NewUpload { incoming, plain: true, terms, bytes };
        let sent = held.link.upload(self.state, upload, permit).await;
        sent.map_err(|error| End::internal(&error))
    }

    async fn authenticate(&mut self, token: &str) {
        match self.connection.renew(self.state, SecretString::from(token)).await {
            Ok(expires_in_s) => {
                let can_write = self.connection.identity.permissions.can_write();
                self.session.authenticated(Ok((can_write, expires_in_s)));
            }
            Err(error) => {
                let code = match error {
                    AuthError::TokenExpired => Code::TokenExpired,
                    AuthError::SessionRevoked => Code::SessionRevoked,
                    AuthError::TokenInvalid => Code::TokenInvalid,
                    AuthError::PermissionDenied => Code::PermissionDenied,
                    AuthError::ProviderUnavailable => Code::ProviderUnavailable,
                    _ => Code::Internal,
                };
                self.session.authenticated(Err((code, &error.to_string())));
            }
        }
    }
}

/// What happens first in any of the spaces.
fn poll_links(links: &mut BTreeMap<Slot, JsonLink>, drained: bool, cx: &mut Context<'_>) -> Poll<Event> {
    if let Poll::Ready((slot, result)) = poll_uploads(links, cx) {
        return Poll::Ready(Event::Uploaded(slot, result));
    }
    let woken = drained && links.values_mut().any(|held| held.poll_signal(cx).is_ready());
    if woken { Poll::Ready(Event::Signal) } else { Poll::Pending }
}

fn poll_uploads(
    links: &mut BTreeMap<Slot, JsonLink>,
    cx: &mut Context<'_>,
) -> Poll<(Slot, Result<Vec<Outcome>, UploadFailure>)> {
    let mut all = links.iter_mut();
    all.find_map(|(slot, held)| match held.link.uploads.poll(cx) {
        Poll::Ready(result) => Some((*slot, result)),
        Poll::Pending => None,
    })
    .map_or(Poll::Pending, Poll::Ready)
}
