//! One space on one connection: what the user may do in it, what is shown, what is under way.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use lattice_engine::{
    Checkpoint, Delivery, Outcome, PullData, PullRequest, Resume, Role, Seq, Shown, SpaceId, Start, Stream,
    View, WriterId,
};
use lattice_protocol::plain::Filter;
use lattice_protocol::{Code, EntryId, Incoming, Outgoing};
use lattice_store::StoreError;
use lattice_store::accounts::UserId;
use lattice_store::directory::{SchemaRule, Selector, SpaceAccess, SpaceKind};
use lattice_store::spaces::{Origin, Space, Upload, UploadAnswer};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::admission::Overloaded;
use super::{SyncState, audited};
use crate::hub::{LiveSpace, Signal};
use crate::work::Piece;

/// Frames of one client that wait for their commit, whatever their size. Clients have two windows in flight.
const MAX_UPLOADS_IN_FLIGHT: usize = 8;
/// Small frames of one client that wait for their commit: whoever sends single changes one after the other gets them into one
/// group, and to everybody who listens in one write.
const MAX_SMALL_UPLOADS_IN_FLIGHT: usize = 128;
/// What small frames that wait may share of the memory for uploads, in KiB.
const MAX_SMALL_UPLOADS_KIB: usize = 256;
/// Verdicts of one client that wait for its stream. The socket is not read above it.
const MAX_PENDING_VERDICTS: usize = 4_000;
/// Rows of one page.
pub(super) const MAX_PAGE_ROWS: usize = 1_000;
/// Reads of one page, before a connection is given up that is overtaken by changes of rights each time.
const MAX_READS: usize = 100;
/// Bytes of stored rows in one page.
const MAX_PAGE_BYTES: usize = 512 << 10;

/// What a client comes with.
#[derive(Clone, Debug)]
pub(super) enum Came {
    /// With nothing: it is new.
    New,
    /// Without a checkpoint, though it may hold something from earlier.
    Lost,
    /// With the id of what it was sent last.
    Checkpoint(String),
}

/// Which space is asked for, and how.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) selector: Selector,
    pub(super) filter: Option<Arc<Filter>>,
    /// The version of the app's schema that the client declares.
    pub(super) schema_version: Option<u64>,
    /// It speaks the JSON dialect.
    pub(super) plain: bool,
}

/// Why a space cannot be used.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// There is no such space, or the user may not see it: nobody is told which.
    NotFound,
    /// The space asks for another version of the schema.
    Schema { rule: SchemaRule, declared: Option<u64> },
    /// What the client may see has changed too often while it was connected.
    Moved,
    /// The server has too much to do.
    Overloaded(Overloaded),
    /// The space or its owner holds as much as they may.
    OverQuota,
    /// The store failed.
    Store(StoreError),
}

impl Refusal {
    /// The stable code.
    pub(super) fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::SpaceNotFound,
            Self::Schema { .. } => Code::SchemaVersion,
            Self::Moved => Code::AccessChanged,
            Self::Overloaded(_) => Code::Overloaded,
            Self::OverQuota => Code::QuotaExceeded,
            Self::Store(_) => Code::Internal,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such space"),
            Self::Schema { rule, declared } => {
                match rule {
                    SchemaRule::Exact(version) => write!(f, "the space asks for schema version {version}")?,
                    SchemaRule::Minimum(version) => {
                        write!(f, "the space asks for schema version {version} or later")?;
                    }
                }
                match declared {
                    Some(version) => write!(f, ", the client declares {version}"),
                    None => f.write_str(", the client declares none"),
                }
            }
            Self::Moved => f.write_str("what may be seen has changed; connect again"),
            Self::Overloaded(Overloaded { retry_after_s }) => {
                write!(f, "the server has too much to do; connect again in {retry_after_s} s")
            }
            Self::OverQuota => {
                f.write_str("the quota of the space or of its owner is used up; nothing was stored")
            }
            Self::Store(_) => f.write_str("the server failed; connect again"),
        }
    }
}

impl From<Overloaded> for Refusal {
    fn from(overloaded: Overloaded) -> Self {
        Self::Overloaded(overloaded)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoAccess => Self::NotFound,
            StoreError::QuotaExceeded => Self::OverQuota,
            error => Self::Store(error),
        }
    }
}

/// Uploads that wait for their commit, oldest first.
#[derive(Default)]
pub(super) struct Uploads(VecDeque<InFlight>);

struct InFlight {
    answer: Answer,
    _underway: Piece,
    /// Its part of the memory for uploads.
    bytes: OwnedSemaphorePermit,
}

/// What became of an upload.
enum Answer {
    /// It is not known yet.
    Awaited(UploadAnswer),
    /// It was waited for, and nobody has asked for it since.
    Known(Result<Vec<Outcome>, StoreError>),
}

impl Uploads {
    /// Waits until all are answered, and keeps the answers for [`Uploads::poll`].
    async fn settle(&mut self) {
        for upload in &mut self.0 {
            if let Answer::Awaited(answer) = &mut upload.answer {
                upload.answer = Answer::Known(answer.await.unwrap_or(Err(StoreError::Closed)));
            }
        }
    }

    /// The answer to the oldest upload; pending for ever when there is none. Its part of the memory is given back.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Outcome>, StoreError>> {
        let Some(upload) = self.0.front_mut() else { return Poll::Pending };
        if let Answer::Awaited(answer) = &mut upload.answer {
            let answer = std::task::ready!(Pin::new(answer).poll(cx));
            upload.answer = Answer::Known(answer.unwrap_or(Err(StoreError::Closed)));
        }
        let answer = match self.0.pop_front().map(|upload| upload.answer) {
            Some(Answer::Known(answer)) => answer,
            _ => return Poll::Pending,
        };
        // A burst is over: an idle socket owns no queue.
        if self.0.is_empty() && self.0.capacity() > MAX_UPLOADS_IN_FLIGHT {
            self.0 = VecDeque::new();
        }
        Poll::Ready(answer)
    }

    fn has_room(&self) -> bool {
        let count = self.0.len();
        count < MAX_UPLOADS_IN_FLIGHT
            || (count < MAX_SMALL_UPLOADS_IN_FLIGHT
                && self.0.iter().map(|upload| upload.bytes.num_permits()).sum::<usize>()
                    < MAX_SMALL_UPLOADS_KIB)
    }
}

/// A space on a connection, or for one request.
pub(super) struct Seat {
    pub(super) space: Arc<Space>,
    pub(super) role: Role,
    pub(super) live: Arc<LiveSpace>,
    pub(super) signal: watch::Receiver<Signal>,
    pub(super) stream: Stream,
    user: UserId,
    filter: Option<Arc<Filter>>,
    schema_version: Option<u64>,
    plain: bool,
    origin: Arc<Origin>,
    pub(super) uploads: Uploads,
    /// The version of the directory at the last look at access.
    version: u64,
}

impl Seat {
    /// Takes a place in a space. The text is that of a checkpoint which could not be resolved: the full state follows then.
    pub(super) async fn open(
        state: &SyncState,
        origin: Arc<Origin>,
        ask: Ask,
        came: Came,
    ) -> Result<(Self, Option<String>), Refusal> {
        let user = UserId(origin.user);
        let version = state.directory.version();
        let access = state.directory.access(user, ask.selector).await?.ok_or(Refusal::NotFound);
        let access = access.map_err(|refusal| audited::refused(state, &origin, ask.selector, refusal))?;
        admit(access.schema, ask.schema_version)
            .map_err(|refusal| audited::refused(state, &origin, ask.selector, refusal))?;
        // Joined before anything is read: what is committed from now on is signalled.
        let live = state.hub.join(access.space.id);
        let signal = live.subscribe();
        let view = view_of(&access, user, ask.filter.clone(), ask.schema_version);
        let (start, lost) = start(state, &access, user, view, came).await?;
        let seat = Self {
            stream: Stream::start(origin.writer, start),
            space: access.space,
            role: access.role,
            live,
            signal,
            user,
            filter: ask.filter,
            schema_version: ask.schema_version,
            plain: ask.plain,
            origin,
            uploads: Uploads::default(),
            version,
        };
        Ok((seat, lost))
    }

    /// Whether access may have changed since it was looked at last.
    pub(super) fn is_behind(&self, state: &SyncState) -> bool {
        state.directory.version() != self.version
    }

    /// Looks whether access has changed since it was looked at last, and moves to another view if it has. The refusal says
    /// why the space cannot be used any more.
    pub(super) async fn recheck(&mut self, state: &SyncState) -> Result<(), Refusal> {
        if self.is_behind(state) { self.look(state).await } else { Ok(()) }
    }

    /// Shows other rows from now on.
    pub(super) async fn filter_anew(
        &mut self,
        state: &SyncState,
        filter: Option<Arc<Filter>>,
    ) -> Result<(), Refusal> {
        self.filter = filter;
        self.look(state).await
    }

    async fn look(&mut self, state: &SyncState) -> Result<(), Refusal> {
        let version = state.directory.version();
        let access = state.directory.access(self.user, Selector::Id(self.space.id)).await?;
        let access = access.ok_or(Refusal::NotFound)?;
        admit(access.schema, self.schema_version)?;
        let view = view_of(&access, self.user, self.filter.clone(), self.schema_version);
        // Whoever sees everything is not answered with current values. What was uploaded so must be stored before another view
        // is read, or it would be neither answered nor taken back where that does not show it.
        if view.id() != self.stream.view().id() {
            self.uploads.settle().await;
        }
        // Also one that is still the same: whatever has changed has ended it.
        remember(state, &access, self.user, &view).await?;
        if !self.stream.change_view(self.user.0, view, nonce(state)) {
            return Err(Refusal::Moved);
        }
        (self.version, self.role) = (version, access.role);
        Ok(())
    }

    /// Whether more may be read from the client.
    pub(super) fn has_room(&self) -> bool {
        self.uploads.has_room() && self.stream.pending() < MAX_PENDING_VERDICTS
    }

    /// Whether nothing that the client sent is unanswered.
    pub(super) fn is_settled(&self) -> bool {
        self.uploads.0.is_empty() && self.stream.pending() == 0
    }

    /// Hands changes to the store. `permit` is their part of the memory that all uploads share.
    pub(super) async fn upload(
        &mut self,
        state: &SyncState,
        incoming: Vec<Incoming>,
        bytes: usize,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), StoreError> {
        let upload = Upload {
            space: Arc::clone(&self.space),
            origin: Arc::clone(&self.origin),
            incoming,
            plain: self.plain,
            echoes: self.stream.echoes(),
            bytes,
        };
        let underway = state.uploads.begin();
        let answer = state.store.upload(upload).await?;
        let answer = Answer::Awaited(answer);
        self.uploads.0.push_back(InFlight { answer, _underway: underway, bytes: permit });
        Ok(())
    }

    /// Reads what is next, and what is to be corrected, in one snapshot. `true` when more is left.
    pub(super) async fn pull(
        &mut self,
        state: &SyncState,
        max_rows: usize,
    ) -> Result<(Delivery, bool), Refusal> {
        let (request, data) =
            self.read_in_view(state, |stream| stream.pull_request(max_rows, MAX_PAGE_BYTES)).await?;
        let more = data.more;
        Ok((self.stream.pulled(&request, data, &self.space.minter), more))
    }

    /// Reads what is to be corrected and nothing else.
    pub(super) async fn pull_corrections(&mut self, state: &SyncState) -> Result<Delivery, Refusal> {
        let (request, data) = self
            .read_in_view(state, |stream| stream.corrections_request(MAX_PAGE_ROWS, MAX_PAGE_BYTES))
            .await?;
        Ok(self.stream.corrected(&request, data, &self.space.minter))
    }

    /// Reads in a snapshot in which nothing had changed that decides the view: the version is raised before such a change is
    /// committed and once more after it. Rows that were created after rights had changed must not be shown in a view of
    /// before.
    async fn read_in_view(
        &mut self,
        state: &SyncState,
        request: impl Fn(&mut Stream) -> PullRequest,
    ) -> Result<(PullRequest, PullData), Refusal> {
        for _ in 0..MAX_READS {
            self.recheck(state).await?;
            let request = request(&mut self.stream);
            let turn = state.admission.page().await?;
            let (underway, known) = (state.pulls.begin(), self.signal.borrow().head);
            let data = state.store.pull(&self.space, &request).await?;
            drop((turn, underway));
            self.live.found(known, data.head);
            if !self.is_behind(state) {
                return Ok((request, data));
            }
        }
        Err(Refusal::Moved)
    }

    /// What is to be sent before anything else in a view that the client comes to from another: an entry that does nothing
    /// but claim where that begins.
    pub(super) fn announcement(&mut self) -> Option<Outgoing> {
        self.stream.announcement(&self.space.minter)
    }

    /// The id that claims what has been sent: a cursor.
    pub(super) fn cursor(&self) -> EntryId {
        self.stream.cursor_id(&self.space.minter)
    }
}

/// Who stands behind a connection, as a writer of its own.
pub(super) fn new_writer(state: &SyncState, origin: &Origin) -> Arc<Origin> {
    let mut writer = [0; 16];
    state.random.fill(&mut writer);
    Arc::new(Origin { writer: WriterId(writer), opened_us: state.clock.now_us(), ..origin.clone() })
}

fn admit(rule: Option<SchemaRule>, declared: Option<u64>) -> Result<(), Refusal> {
    match rule {
        Some(rule) if !declared.is_some_and(|version| rule.admits(version)) => {
            Err(Refusal::Schema { rule, declared })
        }
        _ => Ok(()),
    }
}

fn view_of(
    access: &SpaceAccess,
    user: UserId,
    filter: Option<Arc<Filter>>,
    schema_version: Option<u64>,
) -> Arc<View> {
    let private = access.kind == SpaceKind::Private;
    let view = View::new(&access.policy, access.role, user.0, private, filter);
    Arc::new(view.with_schema(schema_version))
}

fn nonce(state: &SyncState) -> u64 {
    let mut bytes = [0; 8];
    state.random.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Remembers a view before anything of it is sent. That its owner sees everything in a private space goes without saying, but
/// not for which versions of an app.
async fn remember(
    state: &SyncState,
    access: &SpaceAccess,
    user: UserId,
    view: &View,
) -> Result<(), StoreError> {
    if access.kind == SpaceKind::Private && *view == View::everything() {
        return Ok(());
    }
    let remembered = state.directory.remember_view(&access.space, user, view.id(), view.definition()).await?;
    if !remembered {
        tracing::warn!(space = ?access.space.id, "a view is too large to be remembered");
    }
    Ok(())
}

/// The views that the user was shown before.
async fn remembered(
    state: &SyncState,
    access: &SpaceAccess,
    user: UserId,
    head: Seq,
) -> Result<Vec<Shown>, StoreError> {
    let views = state.directory.views(&access.space, user).await?;
    let mut shown: Vec<Shown> = views
        .into_iter()
        .filter_map(|held| {
            let view = Arc::new(View::parse(&held.definition)?);
            Some(Shown { view, until: held.until.unwrap_or(head) })
        })
        .collect();
    if access.kind == SpaceKind::Private {
        shown.push(Shown { view: Arc::new(View::everything()), until: head });
    }
    Ok(shown)
}

async fn start(
    state: &SyncState,
    access: &SpaceAccess,
    user: UserId,
    view: Arc<View>,
    came: Came,
) -> Result<(Start, Option<String>), StoreError> {
    let space = &access.space;
    let (checkpoint, text) = match came {
        Came::New => (Checkpoint::New, None),
        Came::Lost => (Checkpoint::Lost, None),
        Came::Checkpoint(text) => match EntryId::parse(&text) {
            Some((id, _)) => {
                let receipt = if id.is_minted() { None } else { state.store.receipt(space, id).await? };
                (Checkpoint::Id { id, seq: receipt.map(|receipt| receipt.seq) }, Some(text))
            }
            // What was never an id is as unknown as an id that is not known.
            None => (Checkpoint::Id { id: EntryId([0; 16]), seq: None }, Some(text)),
        },
    };
    let head = state.store.head(space).await?.seq;
    let nonce = nonce(state);
    // Also in an own space that is shown as a whole: it may have had a policy, or filters, before.
    let remembered = remembered(state, access, user, head).await?;
    remember(state, access, user, &view).await?;
    let resume = Resume { minter: &space.minter, head, view, user: user.0, remembered: &remembered, nonce };
    let (start, lost) = resume.start(checkpoint);
    Ok((start, text.filter(|_| lost)))
}

/// Names a space as the JSON dialect does.
pub(super) fn selector(space: lattice_protocol::plain::Space) -> Selector {
    match space {
        lattice_protocol::plain::Space::Me => Selector::Me,
        lattice_protocol::plain::Space::Id(id) => Selector::Id(SpaceId(id)),
    }
}
