//! Work under way, by when it began: what has taken too long is stuck, and whoever asks whether the server is ready is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Work of one kind that is under way.
#[derive(Default)]
pub struct Work(Mutex<Pieces>);

#[derive(Default)]
struct Pieces {
    next: u64,
    /// In the order in which they began.
    began: BTreeMap<u64, Instant>,
}

/// A piece of work. It is done when this is dropped.
pub struct Piece {
    work: Arc<Work>,
    no: u64,
}

impl Work {
    /// A piece begins.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Piece {
        self.begin_at(Instant::now())
    }

    pub(crate) fn begin_at(self: &Arc<Self>, began: Instant) -> Piece {
        let mut pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let no = pieces.next;
        pieces.next += 1;
        pieces.began.insert(no, began);
        drop(pieces);
        Piece { work: Arc::clone(self), no }
    }

    /// For how long the oldest piece has been under way.
    #[must_use]
    pub fn oldest(&self) -> Duration {
        let pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.began.first_key_value().map_or(Duration::ZERO, |(_, began)| began.elapsed())
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.work.0.lock().unwrap_or_else(PoisonError::into_inner).began.remove(&self.no);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_piece_counts() {
        let (work, now) = (Arc::new(Work::default()), Instant::now());
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds)).expect("a time");
        assert_eq!(work.oldest(), Duration::ZERO);
        let (first, second) = (work.begin_at(ago(20)), work.begin_at(ago(10)));
        assert!(work.oldest() >= Duration::from_secs(20));
        drop(first);
        assert!((10..20).contains(&work.oldest().as_secs()));
        drop(second);
        assert_eq!(work.oldest(), Duration::ZERO);
    }
}
