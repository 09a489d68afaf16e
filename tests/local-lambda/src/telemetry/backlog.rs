//! The events that wait for one subscriber. It uses neither sockets nor a clock: the time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Limit of the waiting events. Beyond it the oldest are dropped, and the next batch reports their number.
/// Lambda's limit is not documented. This one is eight of the largest batches.
const BYTES_MAX: usize = 8 * 1024 * 1024;

pub struct Backlog {
    limits: Limits,
    entries: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    lost: Lost,
}

/// The limits of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub items: usize,
    pub bytes: usize,
    /// The time since the first event of the batch.
    pub timeout: Duration,
}

/// Events that were dropped since the last report about drops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    pub records: usize,
    pub bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ripeness {
    /// Only a batch that is full or whose time is over.
    Batch,
    /// Any events, at once.
    Anything,
}

impl Backlog {
    pub fn new(limits: Limits) -> Self {
        Self { limits, entries: VecDeque::new(), bytes: 0, lost: Lost::default() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds an event. It may displace the oldest events, but is never dropped itself.
    pub fn push(&mut self, entry: Vec<u8>, now: Instant) {
        self.bytes += entry.len();
        self.entries.push_back((now, entry));
        while self.bytes > BYTES_MAX && self.entries.len() > 1 {
            let Some((_, oldest)) = self.entries.pop_front() else { break };
            self.bytes -= oldest.len();
            self.lost.records += 1;
            self.lost.bytes += oldest.len();
        }
    }

    /// When the next batch is due if no other event comes. In the past if the batch is full.
    pub fn due(&self) -> Option<Instant> {
        let (first, _) = self.entries.front()?;
        let full = self.entries.len() >= self.limits.items || self.bytes >= self.limits.bytes;
        Some(if full { *first } else { *first + self.limits.timeout })
    }

    /// The next batch if it is ripe. Never empty. It ends with the event that reaches a limit.
    pub fn take(&mut self, now: Instant, ripeness: Ripeness) -> Option<Vec<Vec<u8>>> {
        let due = self.due()?;
        if ripeness == Ripeness::Batch && now < due {
            return None;
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < self.limits.items && bytes < self.limits.bytes {
            let Some((_, entry)) = self.entries.pop_front() else { break };
            bytes += entry.len();
            batch.push(entry);
        }
        self.bytes -= bytes;
        Some(batch)
    }

    /// The events that were dropped since the last call, if any.
    pub fn take_lost(&mut self) -> Option<Lost> {
        let lost = std::mem::take(&mut self.lost);
        (lost.records > 0).then_some(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);
    const LIMITS: Limits = Limits { items: 3, bytes: 10, timeout: TIMEOUT };

    fn sizes(batch: Option<Vec<Vec<u8>>>) -> Option<Vec<usize>> {
        batch.map(|batch| batch.iter().map(Vec::len).collect())
    }

    #[track_caller]
    fn check_batches(entries: &[usize], expected: &[&[usize]]) {
        let now = Instant::now();
        let mut backlog = Backlog::new(LIMITS);
        for size in entries {
            backlog.push(vec![b'x'; *size], now);
        }
        for batch in expected {
            assert_eq!(sizes(backlog.take(now, Ripeness::Batch)).as_deref(), Some(*batch));
        }
        assert_eq!(backlog.take(now, Ripeness::Batch), None);
    }

    #[test]
    fn a_batch_ends_with_the_event_that_reaches_a_limit() {
        check_batches(&[1, 1], &[]);
        check_batches(&[1, 1, 1], &[&[1, 1, 1]]);
        check_batches(&[1, 1, 1, 1], &[&[1, 1, 1]]);
        check_batches(&[9, 1], &[&[9, 1]]);
        check_batches(&[9, 9], &[&[9, 9]]);
        check_batches(&[20, 1, 1, 1], &[&[20], &[1, 1, 1]]);
    }

    #[test]
    fn a_batch_is_due_its_timeout_after_its_first_event() {
        let now = Instant::now();
        let mut backlog = Backlog::new(LIMITS);
        assert_eq!(backlog.due(), None);
        backlog.push(vec![1], now);
        backlog.push(vec![2], now + TIMEOUT / 2);
        assert_eq!(backlog.due(), Some(now + TIMEOUT));
        let just_before = now + TIMEOUT * 999 / 1_000;
        assert_eq!(backlog.take(just_before, Ripeness::Batch), None);
        assert_eq!(sizes(backlog.take(now + TIMEOUT, Ripeness::Batch)), Some(vec![1, 1]));
        assert_eq!(backlog.due(), None);
    }

    #[test]
    fn what_is_not_ripe_can_be_taken_all_the_same() {
        let now = Instant::now();
        let mut backlog = Backlog::new(LIMITS);
        assert_eq!(backlog.take(now, Ripeness::Anything), None);
        backlog.push(vec![1], now);
        assert_eq!(sizes(backlog.take(now, Ripeness::Anything)), Some(vec![1]));
    }

    #[test]
    fn above_the_limit_the_oldest_go_and_are_counted_once() {
        let now = Instant::now();
        let mut backlog = Backlog::new(LIMITS);
        backlog.push(vec![0; 5], now);
        backlog.push(vec![1; 6], now);
        backlog.push(vec![2; BYTES_MAX - 6], now);
        assert_eq!(backlog.take_lost(), Some(Lost { records: 1, bytes: 5 }), "6 and 2 just fit");
        assert_eq!(backlog.take_lost(), None);
        backlog.push(vec![3; BYTES_MAX + 1], now);
        assert_eq!(backlog.take_lost(), Some(Lost { records: 2, bytes: BYTES_MAX }));
        assert_eq!(sizes(backlog.take(now, Ripeness::Batch)), Some(vec![BYTES_MAX + 1]));
    }
}
