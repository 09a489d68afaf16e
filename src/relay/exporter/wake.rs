//! When the next batch is due, by strategy and back-off together; and which reports are dropped for lack of
//! room.

use std::time::Instant;

use super::Exporter;
use crate::relay::backlog::Backlog;
use crate::relay::flush::Policy;

/// Divisor: while the remote fails, a report larger than the backlog's limit divided by this is dropped if
/// other reports wait.
const LARGE_SHARE: usize = 2;

/// The part of the quota that may wait for a failing remote, as a fraction. Beyond it, the oldest reports are
/// dropped. The rest is room for reports that arrive during an attempt.
const BACKLOG_SHARE: (usize, usize) = (3, 4);

/// Conditions that decide when to send, in addition to the backlog and the remote.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub policy: Policy,
    /// This remote's quota of the buffer, in bytes.
    pub buffer: usize,
    /// Whether an invocation is held until its reports are sent.
    pub is_held: bool,
}

/// When to check the backlog again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// The next time, if there is one.
    pub at: Option<Instant>,
    /// The bytes of the quota in use from which a new report requires a check.
    pub at_bytes: usize,
}

impl Terms {
    fn backlog_max(&self) -> usize {
        let (share, whole) = BACKLOG_SHARE;
        self.buffer / whole * share
    }
}

impl Exporter {
    pub fn next_wake(&self, backlog: &Backlog, terms: Terms) -> Wake {
        let waiting = self.due_waiting(backlog, terms);
        let at = waiting.into_iter().chain(self.due_quarantined(backlog, terms)).min();
        Wake { at, at_bytes: self.wake_at_bytes(backlog, terms) }
    }

    /// Whether a report of this many bytes must be dropped, because the remote fails, and many waiting
    /// reports would have to be dropped for it.
    pub fn is_too_large_to_wait(&self, bytes: usize, backlog: &Backlog, terms: Terms) -> bool {
        let is_large = bytes > terms.backlog_max() / LARGE_SHARE;
        self.backoff.is_on() && is_large && !backlog.is_empty()
    }

    /// Drops the oldest reports beyond the backlog's limit while the remote fails. Otherwise drops only
    /// quarantined ones. So a full buffer does not refuse all new reports.
    pub fn make_room(&self, backlog: &mut Backlog, terms: Terms) {
        backlog.evict_down_to(terms.backlog_max(), !self.backoff.is_on());
    }

    /// The bytes of the quota in use from which one more report changes the next step.
    fn wake_at_bytes(&self, backlog: &Backlog, terms: Terms) -> usize {
        let Policy { strategy, traffic } = terms.policy;
        if backlog.oldest().is_none() || terms.is_held {
            0
        } else if self.backoff.is_on() {
            // Below this, no report must be dropped: neither the oldest ones nor one that is too large to wait.
            terms.backlog_max() / LARGE_SHARE
        } else {
            strategy.gathers(traffic, terms.buffer).map_or(0, |(_, below)| below)
        }
    }

    pub(super) fn due_waiting(&self, backlog: &Backlog, terms: Terms) -> Option<Instant> {
        let Policy { strategy, traffic } = terms.policy;
        let (oldest, held) = (backlog.oldest()?, backlog.held_waiting());
        let due = strategy.due(traffic, oldest, held, terms.buffer);
        Some(self.backoff.until().map_or(due, |until| due.max(until)))
    }

    /// When the next quarantined report is due. None is due while an invocation is held.
    pub(super) fn due_quarantined(&self, backlog: &Backlog, terms: Terms) -> Option<Instant> {
        let accepted = backlog.next_quarantined().filter(|_| !terms.is_held)?;
        let until = self.backoff.until().max(self.quarantine_backoff.until());
        Some(until.unwrap_or(accepted))
    }
}
