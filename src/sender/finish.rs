//! SHUTDOWN: what is left is sent by the deadline, in as few requests as possible; the rest is counted
//! as lost.

use std::time::{Duration, Instant};

use super::{Message, Sender};
use crate::backlog::Batch;
use crate::deadline::Deadline;
use crate::fault;
use crate::ledger::{Loss, Outcome};
use crate::patience::Limit;

/// How long the sender waits, once it has nothing left at SHUTDOWN, for a report that is still on
/// its way through the collector. The runtime has ended by then ("Lambda execution environment
/// lifecycle"), so that its last bytes are here, but they may be unread.
const LATE_REPORTS: Duration = Duration::from_millis(50);

/// So many rounds without anything delivered are made at most, as far as the back-off leaves time:
/// one answer, or one connection that is reset, says little, and there is no later.
const LAST_ROUNDS: u32 = 5;

/// A round ends when so many reports in a row fail alone: one may be at fault by itself, all of
/// them are the remote's.
const FAILURES_MAX: usize = 3;

/// The longest pause between two rounds over reports that may be at fault themselves, of the time
/// that is left: others wait behind them.
const PAUSE_SHARE: u32 = 8;

/// Before what was refused is tried once more although the remote takes other reports.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

impl Sender {
    /// The last tries at everything: at once, whatever was the matter before, and again while the
    /// back-off ends before the deadline. After a long outage it does not.
    pub(super) fn finish(&mut self, deadline: Deadline) {
        fault::point("sender.end");
        self.courier.remote.disarm();
        if self.courier.backoff.is_on() {
            self.courier.remote.reconnect();
        }
        let mut rounds = LAST_ROUNDS;
        while let Some(Round { has_delivered, is_the_remotes }) = self.try_all(deadline) {
            rounds = if has_delivered { LAST_ROUNDS } else { rounds - 1 };
            if rounds == 0 || !self.wait_for_a_round(deadline, is_the_remotes) {
                break;
            }
        }
        self.take_what_has_come();
        for payload in self.backlog.drain() {
            payload.settle(Outcome::Dropped(Loss::Unsent));
        }
    }

    /// One after the other, until the remote fails whatever it is sent, or over all that is left.
    /// `None` if nothing is left, or no time.
    fn try_all(&mut self, deadline: Deadline) -> Option<Round> {
        let limit = Limit::Final(deadline.instant());
        let (mut has_delivered, mut in_a_row) = (false, 0);
        loop {
            let batch = self.next_or_late(deadline)?;
            fault::point("sender.last");
            let Err(kept) = self.courier.attempt(batch, &mut self.backlog, limit) else {
                (has_delivered, in_a_row) = (true, 0);
                continue;
            };
            let is_the_remotes = kept.is_the_remotes;
            in_a_row += usize::from(kept.batch.reports() == 1);
            self.take_back(kept, true);
            let have_all_failed =
                self.backlog.oldest().is_none() && in_a_row >= self.backlog.apart();
            if is_the_remotes || in_a_row >= FAILURES_MAX || have_all_failed {
                return Some(Round { has_delivered, is_the_remotes });
            }
        }
    }

    /// False if there is no time for another round.
    fn wait_for_a_round(&mut self, deadline: Deadline, is_the_remotes: bool) -> bool {
        let now = Instant::now();
        let until = self.courier.backoff.until().filter(|until| *until > now);
        let until = until.unwrap_or(now + ROUND_PAUSE);
        let share = deadline.remaining(now) / PAUSE_SHARE;
        let until = if is_the_remotes { until } else { until.min(now + share) };
        if until >= deadline.instant() {
            return false;
        }
        while let Some(message) = self.inbox.recv_deadline(until) {
            self.take_late(message);
        }
        true
    }

    /// The next batch to send before the deadline, if there still comes one.
    fn next_or_late(&mut self, deadline: Deadline) -> Option<Batch> {
        self.take_what_has_come();
        let left = deadline.remaining(Instant::now());
        if left.is_zero() {
            return None;
        }
        let until = Instant::now() + left.min(LATE_REPORTS);
        while self.backlog.is_empty() {
            let late = self.inbox.recv_deadline(until)?;
            self.take_late(late);
        }
        let most = self.courier.most;
        self.backlog.take(most).or_else(|| self.backlog.take_apart(most))
    }

    fn take_what_has_come(&mut self) {
        while let Some(message) = self.inbox.try_recv() {
            self.take_late(message);
        }
    }

    fn take_late(&mut self, message: Message) {
        match message {
            Message::Payload(payload) => self.backlog.push(payload),
            Message::Traffic(_)
            | Message::Held(_)
            | Message::RuntimeDone { .. }
            | Message::ReportedElsewhere { .. }
            | Message::LessRoom
            | Message::Shutdown { .. } => {}
        }
    }
}

/// How a round ended.
struct Round {
    has_delivered: bool,
    /// Whether it ended by what the remote is to blame for, and no report.
    is_the_remotes: bool,
}
