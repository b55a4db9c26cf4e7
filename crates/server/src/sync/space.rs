//! What the server keeps for a space session, and how its requests are carried out.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use lattice_engine::{Outcome, PullRequest, Seq, SpaceId, Verdict, View, WriterId};
use lattice_protocol::{Code, EntryId, FrameError, Incoming, plain};
use lattice_session::{
    Answer, Entered, Hint, LostCheckpoint, MAX_COMMITS_PER_SEND, Opening, Progress, Refusal, RememberedView,
    Request, SpaceAccess, SpaceSession, UploadFailure, UploadTerms,
};
use lattice_store::StoreError;
use lattice_store::accounts::{SessionId, UserId};
use lattice_store::directory::{self, Selector, SpaceKind, ViewMemory};
use lattice_store::spaces::{Origin, Space, Upload, UploadAnswer};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::unstorable::Device;
use super::{SyncState, audited};
use crate::hub::{CommitFrame, LiveSpace, Signal};
use crate::work::Piece;

/// Room that the queue of an idle session may keep.
const MAX_IDLE_UPLOADS: usize = 8;
/// Frames above this size are decoded on a thread that may block.
const MAX_INLINE_DECODE_BYTES: usize = 1 << 20;

/// What the server keeps for a space session.
pub(super) struct SpaceLink {
    space: Arc<Space>,
    pub(super) live: Arc<LiveSpace>,
    pub(super) signal: watch::Receiver<Signal>,
    /// What the signal said of access at the last look.
    access_seen: u64,
    origin: Arc<Origin>,
    pub(super) uploads: Uploads,
}

/// Uploads that wait for their commit, oldest first.
#[derive(Default)]
pub(super) struct Uploads(VecDeque<InFlight>);

struct InFlight {
    answer: UploadAnswer,
    _underway: Piece,
    /// Its part of the memory for uploads.
    _bytes: OwnedSemaphorePermit,
}

impl Uploads {
    /// What became of the oldest upload; pending for ever when there is none. Its part of the memory is given back.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Outcome>, UploadFailure>> {
        let Some(upload) = self.0.front_mut() else { return Poll::Pending };
        let answer = std::task::ready!(Pin::new(&mut upload.answer).poll(cx));
        self.0.pop_front();
        // A burst is over: an idle socket owns no queue.
        if self.0.is_empty() && self.0.capacity() > MAX_IDLE_UPLOADS {
            self.0 = VecDeque::new();
        }
        Poll::Ready(answer.unwrap_or(Err(StoreError::Closed)).map_err(|error| failure(&error)))
    }
}

/// Why an upload was not stored; a failure of the store is logged.
fn failure(error: &StoreError) -> UploadFailure {
    match error {
        StoreError::NoAccess => UploadFailure::NoAccess,
        StoreError::QuotaExceeded => UploadFailure::OverQuota,
        error => {
            tracing::error!(%error, "an upload could not be stored");
            UploadFailure::Store
        }
    }
}

/// Why a space cannot be read; a failure of the store is logged.
fn refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::NoAccess => Refusal::NotFound,
        error => {
            tracing::error!(%error, "a space could not be read");
            Refusal::Store
        }
    }
}

impl SpaceLink {
    /// The space's public id.
    pub(super) fn id(&self) -> SpaceId {
        self.space.id
    }

    /// Whose connection it is, and of which space.
    pub(super) fn device(&self) -> Device {
        let Origin { writer, user, session, .. } = *self.origin;
        Device { connection: writer, user: UserId(user), session: SessionId(session), space: self.space.id }
    }

    /// What is known without asking the store. Whether what anybody may do in the space has changed since the last call.
    pub(super) fn hint(&mut self, state: &SyncState) -> (Hint, bool) {
        let signal = *self.signal.borrow_and_update();
        let moved = std::mem::replace(&mut self.access_seen, signal.access) != signal.access;
        (Hint { head: signal.head, version: state.directory.version(), presence: false }, moved)
    }

    /// Hands changes to the store. `permit` is their part of the memory that all uploads share.
    pub(super) async fn upload(
        &mut self,
        state: &SyncState,
        upload: NewUpload,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), StoreError> {
        let NewUpload { incoming, plain, terms, bytes } = upload;
        let (space, origin) = (Arc::clone(&self.space), Arc::clone(&self.origin));
        let underway = state.uploads.begin();
        let UploadTerms { echoes, read_only, applied } = terms;
        let upload = Upload { space, origin, incoming, plain, echoes, read_only, applied, bytes };
        let answer = state.store.upload(upload).await?;
        self.uploads.0.push_back(InFlight { answer, _underway: underway, _bytes: permit });
        Ok(())
    }

    /// Carries out a request of the session other than [`Request::Enter`].
    pub(super) async fn answer(&self, state: &SyncState, request: Request) -> Answer {
        let answer = match request {
            Request::Access => self.access(state).await,
            Request::Remember { view } => self.remember(state, &view).await,
            Request::Pull(request) => return self.pull(state, &request).await,
            Request::Enter { .. } => Ok(Answer::Refused(Refusal::Store)),
        };
        answer.unwrap_or_else(|error| Answer::Refused(refusal(&error)))
    }

    async fn access(&self, state: &SyncState) -> Result<Answer, StoreError> {
        let version = state.directory.version();
        let user = UserId(self.origin.user);
        let access = state.directory.access(user, Selector::Id(self.space.id)).await?;
        Ok(Answer::Access { access: access.as_ref().map(access_of), version, nonce: nonce(state) })
    }

    async fn remember(&self, state: &SyncState, view: &View) -> Result<Answer, StoreError> {
        let user = UserId(self.origin.user);
        let memory = state.directory.remember_view(&self.space, user, view.id(), view.definition()).await?;
        Ok(match memory {
            ViewMemory::Remembered => Answer::Remembered,
            ViewMemory::Outdated => Answer::Outdated,
            ViewMemory::TooLarge => {
                tracing::warn!(space = ?self.space.id, "a view is too large to be remembered");
                Answer::Remembered
            }
        })
    }

    async fn pull(&self, state: &SyncState, request: &PullRequest) -> Answer {
        let permit = match state.admission.page().await {
            Ok(permit) => permit,
            Err(overloaded) => return Answer::Refused(overloaded.into()),
        };
        let (underway, known) = (state.pulls.begin(), self.signal.borrow().head);
        let data = match state.store.pull(&self.space, request).await {
            Ok(data) => data,
            Err(error) => return Answer::Refused(refusal(&error)),
        };
        drop((permit, underway));
        self.live.found(known, data.head);
        Answer::Pulled { data, version: state.directory.version() }
    }

    /// Commits that are kept here after a seq, as `written` finds them written; `None` when not all are, or not so. And the
    /// version of access, read after them.
    pub(super) fn recent<Frame>(
        &self,
        state: &SyncState,
        (after, writer): (Seq, WriterId),
        written: impl Fn(&CommitFrame) -> Option<Option<Frame>>,
    ) -> (Option<(Seq, Vec<Frame>)>, u64) {
        let kept = self.live.recent(after, writer, MAX_COMMITS_PER_SEND);
        let found = kept.and_then(|(reached, frames)| {
            let frames = frames.iter().map(|frame| written(frame)).collect::<Option<Vec<_>>>()?;
            Some((reached, frames.into_iter().flatten().collect()))
        });
        (found, state.directory.version())
    }
}

/// Changes that are handed to the store.
pub(super) struct NewUpload {
    pub(super) incoming: Vec<Incoming>,
    /// They came in the JSON dialect.
    pub(super) plain: bool,
    pub(super) terms: UploadTerms,
    /// Size of their frame.
    pub(super) bytes: usize,
}

/// Reads what a session starts from, for `origin` as a writer. `None` when there is no such space, or the user may not see it.
pub(super) async fn enter(
    state: &SyncState,
    origin: Arc<Origin>,
    selector: Selector,
    receipt_of: Option<EntryId>,
) -> Result<Option<(SpaceLink, Box<Entered>)>, Refusal> {
    read_entry(state, origin, selector, receipt_of).await.map_err(|error| refusal(&error))
}

async fn read_entry(
    state: &SyncState,
    origin: Arc<Origin>,
    selector: Selector,
    receipt_of: Option<EntryId>,
) -> Result<Option<(SpaceLink, Box<Entered>)>, StoreError> {
    let user = UserId(origin.user);
    let version = state.directory.version();
    let Some(access) = state.directory.access(user, selector).await? else { return Ok(None) };
    let space = Arc::clone(&access.space);
    // Joined before anything is read: what is committed from now on is signalled.
    let live = state.hub.join(space.id);
    let signal = live.subscribe();
    let receipt = match receipt_of {
        Some(id) => state.store.receipt(&space, id).await?,
        None => None,
    };
    let head = state.store.head(&space).await?.seq;
    let views = state.directory.views(&space, user).await?;
    let entered = Entered {
        access: access_of(&access),
        version,
        space: space.id,
        minter: space.minter.clone(),
        receipt: receipt.map(|receipt| receipt.seq),
        head,
        restored_since_us: state.store.restored_since_us(),
        views: views
            .into_iter()
            .map(|view| RememberedView { id: view.id, definition: view.definition, until: view.until })
            .collect(),
        writer: origin.writer,
        nonce: nonce(state),
    };
    let access_seen = signal.borrow().access;
    let link = SpaceLink { space, live, signal, access_seen, origin, uploads: Uploads::default() };
    Ok(Some((link, Box::new(entered))))
}

/// A space session that has begun.
pub(super) struct Opened {
    pub(super) link: SpaceLink,
    pub(super) session: Box<SpaceSession>,
    /// A checkpoint that could not be resolved.
    pub(super) lost: Option<LostCheckpoint>,
}

impl Opened {
    /// Says of a checkpoint that is not known which change is the newest. A client that may not see everything is not told the
    /// id of what it may not see.
    pub(super) async fn name_newest_accepted(&mut self, state: &SyncState) -> Result<(), Refusal> {
        if let Some(lost) = self.lost.as_mut().filter(|_| !self.session.view().is_restricted()) {
            let newest = state.store.newest_accepted(&self.link.space).await;
            let newest = newest.map_err(|error| refusal(&error))?;
            lost.newest_accepted = newest.map(|(id, spelling)| id.to_text(spelling));
        }
        Ok(())
    }
}

/// Begins a space session for one connection or request.
pub(super) async fn open(
    state: &SyncState,
    origin: &Origin,
    selector: Selector,
    mut opening: Opening,
) -> Result<Opened, Refusal> {
    let mut link = None;
    loop {
        let Some(request) = opening.request() else { return Err(Refusal::Store) };
        let answer = match (request, &link) {
            (Request::Enter { receipt_of }, _) => {
                match enter(state, new_writer(state, origin), selector, receipt_of).await {
                    Ok(Some((entered, from))) => {
                        link = Some(entered);
                        Answer::Entered(Some(from))
                    }
                    Ok(None) => Answer::Entered(None),
                    Err(refusal) => Answer::Refused(refusal),
                }
            }
            (request, Some(link)) => link.answer(state, request).await,
            (_, None) => Answer::Refused(Refusal::Store),
        };
        match opening.answer(answer) {
            Ok(Progress::Continues(next)) => opening = next,
            Ok(Progress::Opened(session, lost)) => {
                let Some(link) = link else { return Err(Refusal::Store) };
                return Ok(Opened { link, session, lost });
            }
            Err(refusal @ (Refusal::NotFound | Refusal::Schema { .. })) => {
                return Err(audited::refused(state, origin, selector, refusal));
            }
            Err(refusal) => return Err(refusal),
        }
    }
}

fn access_of(access: &directory::SpaceAccess) -> SpaceAccess {
    SpaceAccess {
        role: access.role,
        policy: Arc::clone(&access.policy),
        private: access.kind == SpaceKind::Private,
        schema: access.schema,
    }
}

/// Who stands behind a connection, as a writer of its own.
pub(super) fn new_writer(state: &SyncState, origin: &Origin) -> Arc<Origin> {
    let mut writer = [0; 16];
    state.random.fill(&mut writer);
    Arc::new(Origin { writer: WriterId(writer), opened_us: state.clock.now_us(), ..origin.clone() })
}

fn nonce(state: &SyncState) -> u64 {
    let mut bytes = [0; 8];
    state.random.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Names a space as the JSON dialect does.
pub(super) fn selector(space: plain::Space) -> Selector {
    match space {
        plain::Space::Me => Selector::Me,
        plain::Space::Id(id) => Selector::Id(SpaceId(id)),
    }
}

/// Why changes were refused.
pub(super) fn refused_codes(outcomes: &[Outcome]) -> impl Iterator<Item = Code> {
    outcomes.iter().filter_map(|outcome| match outcome.verdict {
        Verdict::Rejected(code) => Some(code),
        _ => None,
    })
}

/// Decodes a frame; a large one where it does not hold up other sockets.
pub(super) async fn off_thread<T: Send + 'static>(
    payload: Bytes,
    decode: impl FnOnce(&Bytes) -> Result<T, FrameError> + Send + 'static,
) -> Result<T, FrameError> {
    if payload.len() <= MAX_INLINE_DECODE_BYTES {
        return decode(&payload);
    }
    let decoding = tokio::task::spawn_blocking(move || decode(&payload));
    decoding.await.unwrap_or_else(|_| Err(FrameError::new(Code::Internal, "the frame could not be decoded")))
}
