//! What the client's frames do.

use std::future::poll_fn;

use bytes::Bytes;
use bytestring::ByteString;
use lattice_auth::AuthError;
use lattice_engine::Outcome;
use lattice_protocol::Code;
use lattice_protocol::limits::{MAX_CHANGES_PER_FRAME, MAX_POLL_CHANGES};
use lattice_protocol::plain::{
    self, ClientFrame, Hello, IdSource, Poll, ResetReason, Space, Subscribe, Upload, UploadId, decode,
    encode_auth, encode_error, encode_pong, encode_ready, encode_reset,
};
use lattice_store::StoreError;
use lattice_store::time::random_id;
use secrecy::SecretString;

use super::deliver::changes_frames;
use super::subscription::{Awaited, Subscription};
use super::{Client, Json, MAX_SUBSCRIPTIONS, Switched};
use crate::hub::Shown;
use crate::sync::answer::refused_codes;
use crate::sync::line::End;
use crate::sync::native::off_thread;
use crate::sync::seat::{self, Ask, Came, MAX_PAGE_ROWS, Refusal, Seat};

impl Json<'_> {
    pub(super) async fn frame(&mut self, payload: Bytes) -> Result<(), End> {
        let bytes = payload.len();
        match off_thread(payload, |payload| decode(payload, MAX_CHANGES_PER_FRAME)).await {
            Ok(frame) => self.decoded(frame, bytes).await?,
            Err(error) => self.refuse_frame(&error),
        }
        Ok(())
    }

    /// The frame by which a native connection has turned out to speak JSON, subscribed to `space`. What it does to the space
    /// is done by the subscription: its uploads do not come back to it.
    pub(super) async fn first_frame(&mut self, switched: Switched) -> Result<(), End> {
        let Switched { first, space, cursor } = switched;
        let bytes = first.len();
        let decoded = off_thread(first, |payload| decode(payload, MAX_CHANGES_PER_FRAME)).await;
        let greets = matches!(decoded, Ok(ClientFrame::Hello(_)));
        let subscribes =
            matches!(&decoded, Ok(ClientFrame::Subscribe(subscribe)) if subscribe.space == space);
        if !greets {
            self.welcome();
        }
        let subscribe = Subscribe { space, cursor, ..Subscribe::default() };
        if !greets && !subscribes {
            self.subscribe(subscribe.clone()).await?;
        }
        match decoded {
            Ok(frame) => self.decoded(frame, bytes).await?,
            Err(error) => self.refuse_frame(&error),
        }
        if greets {
            self.subscribe(subscribe).await?;
        }
        Ok(())
    }

    async fn decoded(&mut self, frame: ClientFrame, bytes: usize) -> Result<(), End> {
        if let ClientFrame::Hello(hello) = frame {
            self.hello(hello);
            return Ok(());
        }
        if !self.client.welcomed {
            self.welcome();
        }
        match frame {
            ClientFrame::Hello(_) => {}
            ClientFrame::Subscribe(subscribe) if self.must_wait(&subscribe) => {
                // What the first one owes is answered under its own view and cursor.
                self.held = Some(subscribe);
            }
            ClientFrame::Subscribe(subscribe) => self.subscribe(subscribe).await?,
            ClientFrame::Unsubscribe { space } => {
                self.wanted.remove(space);
                if let Some(at) = self.find(space) {
                    self.subscriptions[at].muted = true;
                    self.subscriptions[at].listener = None;
                    self.subscriptions[at].present = None;
                }
            }
            ClientFrame::Upload(upload) => self.upload(upload, bytes).await?,
            ClientFrame::Poll(poll) => self.poll(poll).await?,
            // What a client has stored is its own affair: it says so when it subscribes again.
            ClientFrame::Ack { .. } => {}
            ClientFrame::Presence { space, state } => self.presence(space, state).await?,
            ClientFrame::Auth { token } => self.auth(&token).await,
            ClientFrame::Ping => self.line.outbox.push(encode_pong()),
        }
        Ok(())
    }

    fn hello(&mut self, hello: Hello) {
        if !self.subscriptions.is_empty() {
            self.refuse(Code::BadFrame, "hello comes before anything of a space", None);
            return;
        }
        let schema_version = hello.schema_version.or(self.client.schema_version);
        // A copy: the frame that it is a part of may be much larger.
        let id = hello.client_id.map(|id| ByteString::from(&*id));
        self.client = Client { id, schema_version, format: hello.format, welcomed: false };
        self.welcome();
    }

    fn ask(&self, space: Space, filter: plain::Filter) -> Ask {
        Ask {
            selector: seat::selector(space),
            filter: (!filter.is_everything()).then(|| std::sync::Arc::new(filter)),
            schema_version: self.client.schema_version,
            plain: true,
        }
    }

    /// Takes a place in a space as a writer of its own.
    async fn open(&self, ask: Ask, came: Came) -> Result<(Seat, Option<ResetReason>), Refusal> {
        let origin = seat::new_writer(self.state, &self.origin);
        let (mut seat, reset) = open(self.state, origin, ask, came).await?;
        if self.overtakes {
            seat.stream.echo_always();
        }
        Ok((seat, reset))
    }

    pub(super) async fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), End> {
        let version = self.state.directory.version();
        let Subscribe { space, cursor, filter } = subscribe.clone();
        self.wanted.remove(space);
        if let Some(at) = self.find(space).filter(|at| cursor.is_some() && !self.subscriptions[*at].muted) {
            return self.filter_anew(at, filter).await;
        }
        let came = came(cursor.as_deref());
        let place = self.find(space);
        if place.is_none() && !self.has_place() {
            self.refuse(Code::TooManySubscriptions, "a connection has at most 100 spaces", Some(space));
            return Ok(());
        }
        match self.open(self.ask(space, filter), came).await {
            Ok((seat, reset)) => {
                // Registered before the head was read: what is committed after it is signalled.
                let head = self.state.store.head(&seat.space).await.map_err(|error| End::internal(&error))?;
                if let Some(reason) = reset {
                    self.line.outbox.push(encode_reset(space, reason));
                }
                self.line.outbox.push(encode_ready(space, head.seq, role(seat.role)));
                let mut subscription = Subscription::new(space, seat, false, self.client.format);
                match place {
                    Some(at) => {
                        // Whoever asks for something else in a space has not left it.
                        let before = &mut self.subscriptions[at];
                        subscription.present = before.present.take();
                        if !before.muted {
                            subscription.watched = std::mem::take(&mut before.watched);
                        }
                        *before = subscription;
                    }
                    None => self.subscriptions.push(subscription),
                }
                Ok(())
            }
            Err(Refusal::Store(error)) => Err(End::internal(&error)),
            Err(refusal) => {
                if let Some(at) = place {
                    self.subscriptions.swap_remove(at);
                }
                if matches!(refusal, Refusal::NotFound) {
                    self.wanted.add(subscribe, version);
                }
                self.refuse_space(&refusal, space, None);
                Ok(())
            }
        }
    }

    /// A subscription that goes on, in the view of another filter. Its cursor is not asked for: what was sent arrives before
    /// what follows, and the stream knows of it.
    async fn filter_anew(&mut self, at: usize, filter: plain::Filter) -> Result<(), End> {
        let filter = (!filter.is_everything()).then(|| std::sync::Arc::new(filter));
        let (state, format) = (self.state, self.client.format);
        let held = &mut self.subscriptions[at];
        match held.seat.filter_anew(state, filter).await {
            Ok(()) => {
                let head = state.store.head(&held.seat.space).await.map_err(|error| End::internal(&error))?;
                held.complete = false;
                held.told_role = held.seat.role;
                held.listen(format);
                self.line.outbox.push(encode_ready(held.name, head.seq, role(held.told_role)));
                Ok(())
            }
            Err(Refusal::Store(error)) => Err(End::internal(&error)),
            Err(refusal) => {
                self.end(at, &refusal, None);
                Ok(())
            }
        }
    }

    /// Whether one more space fits; those that were only uploaded to make room.
    fn has_place(&mut self) -> bool {
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            self.subscriptions.retain(Subscription::is_in_use);
        }
        self.subscriptions.len() < MAX_SUBSCRIPTIONS
    }

    async fn upload(&mut self, upload: Upload, bytes: usize) -> Result<(), End> {
        if !self.line.identity.permissions.can_write() {
            let (code, why) = (Code::PermissionDenied, AuthError::PermissionDenied.to_string());
            self.line.outbox.push(encode_error(code, &why, None, Some(upload.space), upload.id.as_ref()));
            self.line.log.refusals().frame_refused(code, Some(upload.space));
            return Ok(());
        }
        let Some(at) = self.place_for(upload.space, upload.id.as_ref()).await? else {
            self.overtakes = true;
            return Ok(());
        };
        let incoming = {
            let space = self.subscriptions[at].seat.space.id.0;
            let random = &self.state.random;
            let mut random = || random_id(&**random);
            let mut source = IdSource {
                key: self.state.derivation_key,
                user: self.line.identity.user.0,
                client_id: self.client.id.as_deref(),
                space,
                random: &mut random,
            };
            upload.changes.read(upload.id.as_ref(), &mut source)
        };
        let mut permit = std::pin::pin!(self.state.upload_permit(bytes));
        let permit = loop {
            // Answers are taken meanwhile: what they give back may be the very part of the budget that is missing.
            let subscriptions = &mut self.subscriptions;
            let event = tokio::select! {
                permit = permit.as_mut() => Ok(permit),
                answer = poll_fn(|cx| {
                    let mut all = subscriptions.iter_mut().enumerate();
                    all.find_map(|(at, held)| match held.seat.uploads.poll(cx) {
                        std::task::Poll::Ready(answer) => Some((at, answer)),
                        std::task::Poll::Pending => None,
                    })
                    .map_or(std::task::Poll::Pending, std::task::Poll::Ready)
                }) => Err(answer),
            };
            match event {
                Ok(permit) => break permit.map_err(|error| End::internal(&error))?,
                Err((at, answer)) => self.answered(at, answer)?,
            }
        };
        // Taking answers may have ended a subscription, and moved the others.
        let Some(at) = self.find(upload.space) else { return Ok(()) };
        if !self.over_quota.is_empty() {
            return Ok(());
        }
        let held = &mut self.subscriptions[at];
        held.awaited.push_back(Awaited::new(upload.id, &incoming));
        self.line.uploaded(self.state, incoming.len(), bytes);
        let sent = held.seat.upload(self.state, incoming, bytes, permit).await;
        sent.map_err(|error| End::internal(&error))
    }

    /// The subscription that an upload goes to; one that is sent nothing but answers if there is none.
    async fn place_for(&mut self, space: Space, upload: Option<&UploadId>) -> Result<Option<usize>, End> {
        if let Some(at) = self.find(space) {
            return Ok(Some(at));
        }
        if !self.has_place() {
            let (code, why) = (Code::TooManySubscriptions, "a connection has at most 100 spaces");
            self.line.outbox.push(encode_error(code, why, None, Some(space), upload));
            self.line.log.refusals().frame_refused(code, Some(space));
            return Ok(None);
        }
        match self.open(self.ask(space, plain::Filter::default()), Came::New).await {
            Ok((seat, _)) => {
                self.subscriptions.push(Subscription::new(space, seat, true, self.client.format));
                Ok(Some(self.subscriptions.len() - 1))
            }
            Err(Refusal::Store(error)) => Err(End::internal(&error)),
            Err(refusal) => {
                self.refuse_space(&refusal, space, upload);
                Ok(None)
            }
        }
    }

    pub(super) fn answered(
        &mut self,
        at: usize,
        answer: Result<Vec<Outcome>, StoreError>,
    ) -> Result<(), End> {
        let name = self.subscriptions[at].name;
        match answer {
            // A later upload must not overtake one that was not stored.
            Ok(_) | Err(StoreError::QuotaExceeded) if self.over_quota.contains(&name) => {}
            Ok(outcomes) => {
                self.line.log.refusals().changes_refused(refused_codes(&outcomes), Some(name));
                self.subscriptions[at].answered(outcomes);
            }
            Err(StoreError::QuotaExceeded) => {
                let upload = self.subscriptions[at].oldest_unanswered();
                self.refuse_space(&Refusal::OverQuota, name, upload.as_ref());
                self.over_quota.push(name);
            }
            Err(StoreError::NoAccess) => {
                let upload = self.subscriptions[at].oldest_unanswered();
                self.end(at, &Refusal::NotFound, upload.as_ref());
            }
            // A later upload must not overtake one that was not stored.
            Err(error) => return Err(End::internal(&error)),
        }
        Ok(())
    }

    /// What the others of a space are to see of this client. It need not have asked for what is in the space.
    async fn presence(&mut self, space: Space, state: Option<Bytes>) -> Result<(), End> {
        let Some(state) = state else {
            if let Some(at) = self.find(space) {
                self.subscriptions[at].present = None;
            }
            return Ok(());
        };
        let Some(at) = self.place_for(space, None).await? else { return Ok(()) };
        // A copy: the frame that it is a part of may be much larger.
        let state = Bytes::copy_from_slice(&state);
        let shown = Shown { user: self.line.identity.user.0, client_id: self.client.id.clone(), state };
        let held = &mut self.subscriptions[at];
        if let Some(present) = &held.present {
            present.show(shown);
            return Ok(());
        }
        held.present = held.seat.live.present(shown);
        if held.present.is_none() {
            self.refuse(Code::PresenceFull, "as many clients as may show something already", Some(space));
        }
        Ok(())
    }

    /// One page, without a subscription.
    async fn poll(&mut self, poll: Poll) -> Result<(), End> {
        let Poll { space, cursor, limit } = poll;
        match self.open(self.ask(space, plain::Filter::default()), came(cursor.as_deref())).await {
            Ok((mut seat, reset)) => {
                if let Some(reason) = reset {
                    self.line.outbox.push(encode_reset(space, reason));
                }
                let limit = limit.unwrap_or(MAX_PAGE_ROWS as u32).clamp(1, MAX_POLL_CHANGES) as usize;
                let (delivery, more) = match seat.pull(self.state, limit).await {
                    Ok(page) => page,
                    Err(Refusal::Store(error)) => return Err(End::internal(&error)),
                    Err(refusal) => {
                        self.refuse_space(&refusal, space, None);
                        return Ok(());
                    }
                };
                let cursor = seat.cursor().to_text(lattice_protocol::Spelling::default());
                let Self { line, client, .. } = self;
                changes_frames(space, &delivery.entries, client.format, &cursor, more, &mut |frame| {
                    line.outbox.push(frame);
                });
                Ok(())
            }
            Err(Refusal::Store(error)) => Err(End::internal(&error)),
            Err(refusal) => {
                self.refuse_space(&refusal, space, None);
                Ok(())
            }
        }
    }

    async fn auth(&mut self, token: &str) {
        match self.line.renew(self.state, SecretString::from(token)).await {
            Ok(expires_in_s) => self.line.outbox.push(encode_auth(expires_in_s)),
            Err(error) => {
                let code = match error {
                    AuthError::TokenExpired => Code::TokenExpired,
                    AuthError::SessionRevoked => Code::SessionRevoked,
                    AuthError::TokenInvalid => Code::TokenInvalid,
                    AuthError::PermissionDenied => Code::PermissionDenied,
                    AuthError::ProviderUnavailable => Code::ProviderUnavailable,
                    _ => Code::Internal,
                };
                self.refuse(code, &error.to_string(), None);
            }
        }
    }
}

/// A client that names no cursor is new: it is told to drop what it holds. So is one whose cursor leads nowhere.
pub(in crate::sync) fn came(cursor: Option<&str>) -> Came {
    cursor.map_or(Came::New, |cursor| Came::Checkpoint(cursor.to_owned()))
}

/// Opens a seat for a client that is told when its stream starts over.
pub(in crate::sync) async fn open(
    state: &crate::sync::SyncState,
    origin: std::sync::Arc<lattice_store::spaces::Origin>,
    ask: Ask,
    came: Came,
) -> Result<(Seat, Option<ResetReason>), Refusal> {
    let fresh = !matches!(came, Came::Checkpoint(_));
    let _turn = state.admission.page().await?;
    let (seat, lost) = Seat::open(state, std::sync::Arc::clone(&origin), ask.clone(), came).await?;
    match lost {
        None => Ok((seat, fresh.then_some(ResetReason::NoCursor))),
        Some(_) => {
            let (seat, _) = Seat::open(state, origin, ask, Came::New).await?;
            Ok((seat, Some(ResetReason::UnknownCursor)))
        }
    }
}

/// A role as the dialect names it.
pub(in crate::sync) fn role(role: lattice_engine::Role) -> plain::Role {
    match role {
        lattice_engine::Role::Owner => plain::Role::Owner,
        lattice_engine::Role::Editor => plain::Role::Editor,
        lattice_engine::Role::Viewer => plain::Role::Viewer,
    }
}

/// What people are told of a change that was refused after it had been read.
pub(in crate::sync) fn sentence(code: Code) -> &'static str {
    match code {
        Code::Forbidden => "the policy does not let your role do this",
        Code::NotCreator => "the policy permits this only on rows that you created",
        Code::TableNotAllowed => "the policy does not name the table, and permits no others",
        Code::TooManyDeletes => "the upload deletes more rows than the policy permits",
        Code::SpaceArchived => "the space is archived and takes no changes",
        Code::RefusedBefore => "the change was refused when it was received first",
        Code::LinkIncomplete => "a link row names both ends",
        Code::LinkImmutable => "the ends of a link row do not change",
        Code::SpaceFull => "the space takes no more changes",
        _ => "the change was refused",
    }
}
