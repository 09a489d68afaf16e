//! The events that wait for a subscriber, and the next step of its thread.

use std::time::Instant;

use crate::telemetry::backlog::{Backlog, Limits, Lost, Ripeness};

/// The queue. Its events are numbered from 1.
pub struct Queue {
    backlog: Backlog,
    recorded: usize,
    /// All events up to this one are delivered or dropped.
    settled: usize,
    /// Whether the thread has a batch that is not delivered yet.
    under_way: bool,
    /// Events up to this one do not wait until their batch is ripe.
    flushed: usize,
    closing: bool,
}

/// The next step of a subscriber's thread.
pub enum Turn {
    Deliver {
        entries: Vec<Vec<u8>>,
        lost: Option<Lost>,
    },
    /// A new event has changed when the next batch is due.
    LookAgain,
    End,
}

impl Queue {
    pub fn new(limits: Limits) -> Self {
        let backlog = Backlog::new(limits);
        Self { backlog, recorded: 0, settled: 0, under_way: false, flushed: 0, closing: false }
    }

    pub fn push(&mut self, entry: Vec<u8>, now: Instant) {
        self.recorded += 1;
        self.backlog.push(entry, now);
        self.settle();
    }

    pub fn delivered(&mut self) {
        self.under_way = false;
        self.settle();
    }

    /// Makes all recorded events due at once. Returns the number of the last one.
    pub fn flush(&mut self) -> usize {
        self.flushed = self.recorded;
        self.recorded
    }

    /// Whether all events up to this one are delivered or dropped.
    pub fn has_settled(&self, through: usize) -> bool {
        self.settled >= through
    }

    /// When the next batch has to go out.
    pub fn due(&self) -> Option<Instant> {
        self.backlog.due()
    }

    /// The subscriber is gone.
    pub fn close(&mut self) {
        self.closing = true;
    }

    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// The next step. `known_due` is the time for which the thread already waits. `None` if it must go on
    /// waiting.
    pub fn turn(&mut self, known_due: Option<Instant>) -> Option<Turn> {
        if self.closing {
            return Some(Turn::End);
        }
        let ripeness =
            if self.flushed > self.settled { Ripeness::Anything } else { Ripeness::Batch };
        if let Some(entries) = self.backlog.take(Instant::now(), ripeness) {
            self.under_way = true;
            return Some(Turn::Deliver { entries, lost: self.backlog.take_lost() });
        }
        (self.backlog.due() != known_due).then_some(Turn::LookAgain)
    }

    /// If a batch is being delivered, later drops count when it is delivered.
    fn settle(&mut self) {
        if !self.under_way {
            self.settled = self.recorded - self.backlog.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_dropped_behind_a_batch_that_is_under_way_settles_with_it() {
        let now = Instant::now();
        let timeout = Duration::from_secs(60);
        let mut queue = Queue::new(Limits { items: 1, bytes: 1, timeout });
        queue.push(vec![1], now);
        assert!(matches!(queue.turn(None), Some(Turn::Deliver { .. })));
        let most_of_a_backlog = vec![2; 7 * 1024 * 1024];
        queue.push(most_of_a_backlog.clone(), now);
        queue.push(most_of_a_backlog, now);
        assert_eq!((queue.recorded, queue.backlog.len(), queue.settled), (3, 1, 0));
        queue.delivered();
        assert_eq!(queue.settled, 2);
    }
}
