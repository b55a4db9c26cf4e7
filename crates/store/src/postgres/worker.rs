//! Workers: each takes what waits into one transaction, again and again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;
use lattice_engine::SpaceId;

use super::Version;
use super::error::PgError;
use super::group::{self, KnownWriters, Stored};
use super::queue::{Job, Queue};
use super::quotas::Configured;
use super::transaction::{Held, Pauses, limited};
use crate::StoreError;
use crate::spaces::{CommitSink, Committed};
use crate::time::{Clock, Random};

/// How long an upload is tried while the database is away. Its sender waits; then its connection ends, and the client comes
/// again with everything that was not acknowledged.
const MAX_UPLOAD_TIME: Duration = Duration::from_secs(60);
/// Writers that are remembered as stored; forgetting one costs an insert that does nothing.
const MAX_KNOWN_WRITERS: usize = 100_000;

/// What a worker works with.
pub(super) struct Worker {
    pub(super) queue: Arc<Queue>,
    pub(super) pool: Pool,
    pub(super) max_skew_us: i64,
    pub(super) quotas: Arc<Configured>,
    pub(super) sink: Arc<dyn CommitSink>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) version: Arc<Version>,
}

impl Worker {
    /// Works until the queue is closed and empty.
    pub(super) async fn run(self) {
        let mut known_writers = KnownWriters::new();
        while let Some(jobs) = self.queue.take().await {
            let spaces: HashSet<SpaceId> = jobs.iter().map(|job| job.upload.space.id).collect();
            if known_writers.len() > MAX_KNOWN_WRITERS {
                known_writers.clear();
            }
            self.store_all(jobs, &mut known_writers).await;
            self.queue.done(spaces.into_iter());
        }
        self.pool.close();
    }

    /// Stores uploads together; one by one where that fails for a reason that another try does not help against.
    async fn store_all(&self, jobs: Vec<Job>, known_writers: &mut KnownWriters) {
        match self.store_again(&jobs, known_writers).await {
            Ok(stored) => self.tell(jobs, stored, known_writers),
            Err(error) if jobs.len() > 1 && !error.is_transient() => {
                tracing::warn!(%error, uploads = jobs.len(), "a transaction failed; its uploads are stored one by one");
                for job in jobs {
                    match self.store_again(std::slice::from_ref(&job), known_writers).await {
                        Ok(stored) => self.tell(vec![job], stored, known_writers),
                        Err(error) => fail(vec![job], error),
                    }
                }
            }
            Err(error) => fail(jobs, error),
        }
    }

    /// Tries until it succeeds, or trying has lasted too long. What was committed by a try whose answer was lost is known by
    /// the ids of its changes.
    async fn store_again(&self, jobs: &[Job], known_writers: &KnownWriters) -> Result<Stored, PgError> {
        let mut pauses = Pauses::for_at_most(MAX_UPLOAD_TIME);
        loop {
            let error = match self.store_once(jobs, known_writers).await {
                Ok(stored) => return Ok(stored),
                Err(error) => error,
            };
            if !error.is_transient() || !pauses.wait(&*self.random).await {
                return Err(error);
            }
            tracing::warn!(%error, uploads = jobs.len(), "uploads could not be stored; it is tried again");
        }
    }

    async fn store_once(&self, jobs: &[Job], known_writers: &KnownWriters) -> Result<Stored, PgError> {
        let held = Held::get(&self.pool).await?;
        let now_us = || self.clock.now_us();
        let settings = group::Settings { max_skew_us: self.max_skew_us, quotas: &self.quotas };
        let stored = limited(group::store(held.connection()?, jobs, known_writers, settings, now_us)).await?;
        held.give_back();
        Ok(stored)
    }

    /// The commit is durable: others are told, then the senders. A sender that is woken by its answer finds the hint there
    /// already, and is not woken a second time.
    fn tell(&self, jobs: Vec<Job>, stored: Stored, known_writers: &mut KnownWriters) {
        self.version.seen(stored.version);
        let mut answers = Vec::with_capacity(jobs.len());
        for (job, result) in jobs.into_iter().zip(stored.results) {
            let result = result.map(|effects| {
                known_writers.insert((job.upload.space.id, job.upload.origin.writer.0));
                self.sink.committed(Committed {
                    space: job.upload.space.id,
                    writer: job.upload.origin.writer,
                    before: effects.before,
                    head: effects.head.seq,
                    visible: effects.visible,
                });
                effects.outcomes
            });
            answers.push((job.answer, result));
        }
        self.sink.group_done();
        for (answer, result) in answers {
            // Whoever waited may be gone; the upload is stored all the same.
            let _ = answer.send(result);
        }
    }
}

fn fail(jobs: Vec<Job>, error: PgError) {
    tracing::error!(%error, uploads = jobs.len(), "uploads could not be stored");
    let error = match error.into_store() {
        // Nobody may be told that nothing was stored; they ask again, by the ids of their changes.
        StoreError::Uncertain => StoreError::Unavailable("the answer to a commit was lost".to_owned()),
        error => error,
    };
    for job in jobs {
        let _ = job.answer.send(Err(error.clone()));
    }
}
