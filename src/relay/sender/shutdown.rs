//! The final flush at SHUTDOWN. The sender sends the remaining reports by the deadline, in as few requests as
//! possible. Reports that are still left count as lost.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::Sender;
use crate::failpoint;
use crate::lambda::deadline::Deadline;
use crate::net::freeze::TimeLimit;
use crate::payload::ledger::{Loss, Outcome};
use crate::relay::backlog::Batch;
use crate::relay::edge::Edge;
use crate::relay::exporter::Attempt;
use crate::relay::queue::{Message, Waited};

/// How long the sender, with nothing left to send, waits for a report that the collector is still reading.
/// The runtime has already ended ("Lambda execution environment lifecycle"). So its last bytes have arrived,
/// but may be unread.
const LATE_REPORTS: Duration = Duration::from_millis(50);

/// How many rounds in a row may end without an accepted or refused report. Then the flush stops. One failure
/// proves little, and no later attempt follows.
const LAST_ROUNDS: u32 = 5;

/// After this many failures of single reports in a row, the round ends. One report may be the reason of its
/// failure. If all of them fail, the remote is the reason.
const FAILURES_MAX: usize = 3;

/// Divisor: if reports may be the reason of the failures, the pause between two rounds is at most the
/// remaining time divided by this. Other reports wait meanwhile.
const PAUSE_SHARE: u32 = 8;

/// The pause before the next round, if the back-off requires none.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

impl<E: Edge> Sender<E> {
    /// Sends all reports at once, regardless of earlier failures. Starts another round if the back-off's pause
    /// ends before the deadline. After a long outage, the pause is too long for that.
    pub(super) fn flush_all(&mut self, deadline: Deadline) {
        failpoint::hit("sender.end");
        self.exporter.isolate_at_once();
        self.edge.disable_interrupt();
        if self.exporter.is_backing_off() {
            self.edge.reconnect();
        }
        let mut rounds = LAST_ROUNDS;
        while let Some(Round { was_answered, fails_for_all }) = self.try_all(deadline) {
            rounds = if was_answered { LAST_ROUNDS } else { rounds - 1 };
            if rounds == 0 || !self.wait_for_a_round(deadline, fails_for_all) {
                break;
            }
        }
        self.take_queued();
        for payload in self.backlog.drain() {
            payload.settle(Outcome::Dropped(Loss::Unsent));
        }
    }

    /// Runs a round: sends one batch after the other, until the remote fails for any request or for all
    /// remaining reports. `None` if no report or no time is left.
    fn try_all(&mut self, deadline: Deadline) -> Option<Round> {
        let limit = TimeLimit::WallClock(deadline.instant());
        let (mut was_answered, mut in_a_row) = (false, 0);
        loop {
            let batch = self.next_or_late(deadline)?;
            failpoint::hit("sender.last");
            let Attempt::Failed { was_alone, fails_for_all } = self.attempt(batch, limit) else {
                (was_answered, in_a_row) = (true, 0);
                continue;
            };
            in_a_row += usize::from(was_alone);
            let have_all_failed =
                self.backlog.oldest().is_none() && in_a_row >= self.backlog.quarantined();
            if fails_for_all || in_a_row >= FAILURES_MAX || have_all_failed {
                return Some(Round { was_answered, fails_for_all });
            }
        }
    }

    /// Waits for the next round. False if no time is left for it.
    fn wait_for_a_round(&mut self, deadline: Deadline, fails_for_all: bool) -> bool {
        let now = self.edge.now();
        let until = self.exporter.backoff_until().filter(|until| *until > now);
        let until = until.unwrap_or(now + ROUND_PAUSE);
        let share = deadline.remaining(now) / PAUSE_SHARE;
        let until = if fails_for_all { until } else { until.min(now + share) };
        if until >= deadline.instant() {
            return false;
        }
        while let Some(message) = self.message_until(until) {
            self.take_late(message);
        }
        true
    }

    /// The next batch to send before the deadline. Waits shortly for late reports.
    fn next_or_late(&mut self, deadline: Deadline) -> Option<Batch> {
        self.take_queued();
        let now = self.edge.now();
        let left = deadline.remaining(now);
        if left.is_zero() {
            return None;
        }
        let until = now + left.min(LATE_REPORTS);
        loop {
            let now = self.edge.now();
            if let Some(batch) = self.exporter.take(&mut self.backlog, None, now) {
                return Some(batch);
            }
            let late = self.message_until(until)?;
            self.take_late(late);
        }
    }

    /// The next message, if one arrives until this time.
    fn message_until(&mut self, until: Instant) -> Option<Message> {
        match self.edge.wait(Some(until), 0) {
            Waited::Message(message) => Some(message),
            Waited::TimeIsUp | Waited::End => None,
        }
    }

    fn take_queued(&mut self) {
        while let Some(message) = self.edge.try_recv() {
            self.take_late(message);
        }
    }

    fn take_late(&mut self, message: Message) {
        match message {
            Message::Payload(payload) => self.backlog.push(payload),
            Message::Traffic(_)
            | Message::Flush(_)
            | Message::RuntimeDone { .. }
            | Message::Shutdown { .. } => {}
        }
    }
}

/// The result of a round.
struct Round {
    /// Whether the remote accepted or refused any report.
    was_answered: bool,
    /// Whether the round ended because the remote fails for any request.
    fails_for_all: bool,
}
