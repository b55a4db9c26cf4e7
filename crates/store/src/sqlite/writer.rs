//! The one thread that writes. It takes everything that waits into one transaction, flushes once, and answers all.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use lattice_engine::{Effects, Outcome};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::group::{Group, in_savepoint};
use super::open::OpenError;
use super::starts::Starts;
use super::wal::Checkpointer;
use crate::StoreError;
use crate::spaces::{CommitSink, Committed, Upload, UploadAnswer};
use crate::time::Clock;

/// Most jobs of one group. More wait for the next one, which keeps the latency of each bounded.
const MAX_GROUP_JOBS: usize = 512;
/// A group takes no further job once its frames have this many bytes.
const MAX_GROUP_BYTES: usize = 8 << 20;

/// What the writer does for somebody: first inside the transaction, then, with what became of that, after the commit.
pub(super) trait Job: Send {
    fn bytes(&self) -> usize {
        0
    }
    fn run(&mut self, transaction: &Transaction<'_>, group: &mut Group, now_us: i64);
    /// Tells others of what is durable now; called only when it is.
    fn tell(&mut self, _: &dyn CommitSink) {}
    /// Answers whoever waits.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
    /// Whether the writer is to end after this job.
    fn is_last(&self) -> bool {
        false
    }
}

pub(super) fn spawn(
    mut connection: Connection,
    path: &Path,
    mut group: Group,
    mut starts: Starts,
    sink: Arc<dyn CommitSink>,
    clock: Arc<dyn Clock>,
    mut waiting: mpsc::Receiver<Box<dyn Job>>,
) -> Result<JoinHandle<()>, OpenError> {
    let checkpointer = Checkpointer::spawn(path)?;
    let shown = path.display().to_string();
    let run = move || {
        let mut jobs: Vec<Box<dyn Job>> = Vec::new();
        let mut last = false;
        while !last {
            let Some(first) = waiting.blocking_recv() else { break };
            let mut bytes = first.bytes();
            last = first.is_last();
            jobs.push(first);
            while !last && jobs.len() < MAX_GROUP_JOBS && bytes < MAX_GROUP_BYTES {
                let Ok(job) = waiting.try_recv() else { break };
                bytes += job.bytes();
                last = job.is_last();
                jobs.push(job);
            }
            let committed = run_group(&mut connection, &mut group, &mut jobs, clock.now_us());
            if let Err(error) = &committed {
                tracing::error!(%error, jobs = jobs.len(), "a commit failed; nothing of it was stored");
            }
            // Before anybody hears of it: a copy that lacks what was acknowledged is noticed, also after a crash of this moment.
            starts.committed(group.committed_block());
            // Only now, that the commit is durable, may anything leave: hints, then answers. A sender that is woken by its
            // answer finds the hint there already, and is not woken a second time.
            if committed.is_ok() {
                jobs.iter_mut().for_each(|job| job.tell(&*sink));
                sink.group_done();
            }
            jobs.drain(..).for_each(|job| job.answer(committed.clone()));
            checkpointer.after_commit(&connection);
        }
        waiting.close();
        checkpointer.stop();
    };
    std::thread::Builder::new()
        .name("lattice-writer".into())
        .spawn(run)
        .map_err(|error| OpenError::Unusable { path: shown, reason: error.to_string() })
}

fn run_group(
    connection: &mut Connection,
    group: &mut Group,
    jobs: &mut [Box<dyn Job>],
    now_us: i64,
) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    group.begin(&transaction)?;
    for job in jobs {
        job.run(&transaction, group, now_us);
    }
    let stored = group.flush(&transaction).and_then(|()| Ok(transaction.commit()?));
    group.ended(stored.is_ok());
    stored
}

/// An upload.
pub(super) struct UploadJob {
    upload: Upload,
    result: Result<Effects, StoreError>,
    answer: oneshot::Sender<Result<Vec<Outcome>, StoreError>>,
}

impl UploadJob {
    pub(super) fn new(upload: Upload) -> (Self, UploadAnswer) {
        let (answer, receiver) = oneshot::channel();
        (Self { upload, result: Err(StoreError::Closed), answer }, receiver)
    }
}

impl Job for UploadJob {
    fn bytes(&self) -> usize {
        self.upload.bytes
    }

    fn run(&mut self, transaction: &Transaction<'_>, group: &mut Group, now_us: i64) {
        self.result = group.upload(transaction, &mut self.upload, now_us);
        // Losing access is nobody's failure, nor is a quota; the sender is told.
        if let Err(error) = &self.result
            && !matches!(error, StoreError::NoAccess | StoreError::QuotaExceeded)
        {
            tracing::error!(%error, space = ?self.upload.space.id, "an upload failed; nothing of it was stored");
        }
    }

    fn tell(&mut self, sink: &dyn CommitSink) {
        if let Ok(effects) = &mut self.result {
            sink.committed(Committed {
                space: self.upload.space.id,
                writer: self.upload.origin.writer,
                before: effects.before,
                head: effects.head.seq,
                visible: std::mem::take(&mut effects.visible),
            });
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        // Whoever waited may be gone; the upload is stored all the same.
        let _ = self.answer.send(committed.and(self.result).map(|effects| effects.outcomes));
    }
}

/// Any other write.
pub(super) struct Call<T, F> {
    work: Option<F>,
    result: Result<T, StoreError>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Call<T, F>
where
    F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send,
    T: Send,
{
    pub(super) fn new(work: F) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (answer, receiver) = oneshot::channel();
        (Self { work: Some(work), result: Err(StoreError::Closed), answer }, receiver)
    }
}

impl<T, F> Job for Call<T, F>
where
    F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, transaction: &Transaction<'_>, group: &mut Group, _: i64) {
        if let Some(work) = self.work.take() {
            self.result = in_savepoint(transaction, || {
                let result = work(transaction)?;
                group.access_written(transaction)?;
                Ok(result)
            });
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let _ = self.answer.send(committed.and(self.result));
    }
}

/// The last job: the writer ends after it.
pub(super) struct Stop<J>(pub(super) J);

impl<J: Job> Job for Stop<J> {
    fn run(&mut self, transaction: &Transaction<'_>, group: &mut Group, now_us: i64) {
        self.0.run(transaction, group, now_us);
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        Box::new(self.0).answer(committed);
    }

    fn is_last(&self) -> bool {
        true
    }
}
