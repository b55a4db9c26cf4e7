//! The recent commits of a space, for connections that are live: contiguous, bounded, and never needed for correctness.

use alloc::collections::VecDeque;

use crate::types::{Seq, WriterId};

/// One commit.
#[derive(Clone, Debug)]
pub struct Commit<T> {
    /// The head before it.
    pub before: Seq,
    /// The head with it.
    pub head: Seq,
    /// Who wrote it, and so is not sent it.
    pub writer: WriterId,
    /// What the others are sent.
    pub payload: T,
    cost: usize,
}

/// A ring of commits.
#[derive(Debug)]
pub struct Ring<T> {
    commits: VecDeque<Commit<T>>,
    cost: usize,
    max_cost: usize,
    max_commits: usize,
}

impl<T> Ring<T> {
    /// An empty ring that holds commits of at most `max_cost` in all (in the unit of [`Ring::push`]) and `max_commits`.
    #[must_use]
    pub fn new(max_cost: usize, max_commits: usize) -> Self {
        Self { commits: VecDeque::new(), cost: 0, max_cost, max_commits }
    }

    /// Adds a commit whose durability is certain. A commit that does not follow the last one empties the ring first:
    /// what is missing is read from the store.
    pub fn push(&mut self, before: Seq, head: Seq, writer: WriterId, payload: T, cost: usize) {
        if self.commits.back().is_some_and(|last| last.head != before) {
            self.commits.clear();
            self.cost = 0;
        }
        self.commits.push_back(Commit { before, head, writer, payload, cost });
        self.cost += cost;
        while self.commits.len() > self.max_commits || (self.cost > self.max_cost && self.commits.len() > 1) {
            self.cost -= self.commits.pop_front().map_or(0, |old| old.cost);
        }
    }

    /// Forgets all but the last `count` commits.
    pub fn keep_last(&mut self, count: usize) {
        while self.commits.len() > count {
            self.cost -= self.commits.pop_front().map_or(0, |old| old.cost);
        }
    }

    /// The commits after `position`, oldest first; `None` when the ring does not reach back to it.
    #[must_use]
    pub fn after(&self, position: Seq) -> Option<impl Iterator<Item = &Commit<T>>> {
        let at = self.commits.partition_point(|commit| commit.head <= position);
        let covered = self.commits.get(at).is_none_or(|next| next.before == position);
        let reaches = at > 0 || self.commits.front().is_some_and(|first| first.before == position);
        (covered && reaches).then(|| self.commits.range(at..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const A: WriterId = WriterId([1; 16]);

    fn heads(ring: &Ring<()>, position: Seq) -> Option<Vec<Seq>> {
        ring.after(position).map(|commits| commits.map(|commit| commit.head).collect())
    }

    #[test]
    fn it_answers_only_for_positions_that_it_reaches_back_to() {
        let mut ring = Ring::new(100, 10);
        assert_eq!(heads(&ring, 0), None);
        ring.push(3, 5, A, (), 1);
        ring.push(5, 6, A, (), 1);
        assert_eq!(heads(&ring, 3), Some([5, 6].into()));
        assert_eq!(heads(&ring, 5), Some([6].into()));
        assert_eq!(heads(&ring, 6), Some([].into()));
        assert_eq!(heads(&ring, 4), None, "inside a commit");
        assert_eq!(heads(&ring, 2), None, "before the ring");
    }

    #[test]
    fn a_gap_and_the_limits_forget_what_is_old() {
        let mut ring = Ring::new(10, 2);
        ring.push(0, 1, A, (), 4);
        ring.push(2, 3, A, (), 4);
        assert_eq!(heads(&ring, 0), None);
        assert_eq!(heads(&ring, 2), Some([3].into()));
        ring.push(3, 4, A, (), 4);
        ring.push(4, 5, A, (), 9);
        assert_eq!(heads(&ring, 3), None, "too costly together");
        assert_eq!(heads(&ring, 4), Some([5].into()));
    }
}
