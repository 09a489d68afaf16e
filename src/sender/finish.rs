//! SHUTDOWN: what is left is sent by the deadline, in as few requests as possible; the rest is counted
//! as lost.

use std::time::{Duration, Instant};

use super::{Message, Sender};
use crate::backlog::Batch;
use crate::deadline::Deadline;
use crate::ledger::{Loss, Outcome};
use crate::patience::Limit;

/// How long the sender waits, once it has nothing left at SHUTDOWN, for a report that is still on
/// its way through the collector. The runtime has ended by then ("Lambda execution environment
/// lifecycle"), so that its last bytes are here, but they may be unread.
const LATE_REPORTS: Duration = Duration::from_millis(50);

/// So many rounds without anything delivered are made at most, as far as the back-off leaves time:
/// one answer, or one connection that is reset, says little, and there is no later.
const LAST_ROUNDS: u32 = 5;

/// A round ends when so many requests in a row fail: one may be at fault by itself, all of them
/// are the remote's.
const FAILURES_MAX: usize = 3;

/// Before what was refused is tried once more although the remote takes other reports.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

impl Sender {
    /// The last tries at everything: at once, whatever was the matter before, and again while the
    /// back-off ends before the deadline. After a long outage it does not.
    pub(super) fn finish(&mut self, deadline: Deadline) {
        self.courier.remote.disarm();
        if self.courier.backoff.is_on() {
            self.courier.remote.reconnect();
        }
        let mut rounds = LAST_ROUNDS;
        while rounds > 0 {
            match self.try_all(deadline) {
                Round::Done => break,
                Round::Delivered => rounds = LAST_ROUNDS,
                Round::InVain => rounds -= 1,
            }
            if !self.wait_for_a_round(deadline) {
                break;
            }
        }
        self.take_what_has_come();
        for payload in self.backlog.drain() {
            payload.settle(Outcome::Dropped(Loss::Unsent));
        }
    }

    /// One after the other, until all that is left has failed, or the remote fails whatever it is
    /// sent.
    fn try_all(&mut self, deadline: Deadline) -> Round {
        let (limit, mut failures, mut end) = (Limit::Final(deadline.instant()), 0, Round::InVain);
        while let Some(batch) = self.next_or_late(deadline) {
            let Err(kept) = self.courier.attempt(batch, &mut self.backlog, limit) else {
                (failures, end) = (0, Round::Delivered);
                continue;
            };
            failures += 1;
            let is_the_remotes = !kept.is_suspect || failures >= FAILURES_MAX;
            self.take_back(kept, true);
            let all_failed = self.backlog.oldest().is_none() && failures >= self.backlog.apart();
            if is_the_remotes || all_failed {
                return end;
            }
        }
        Round::Done
    }

    /// False if there is no time for another round.
    fn wait_for_a_round(&mut self, deadline: Deadline) -> bool {
        let now = Instant::now();
        let until = self.courier.backoff.until().filter(|until| *until > now);
        let until = until.unwrap_or(now + ROUND_PAUSE);
        if until >= deadline.instant() {
            return false;
        }
        while let Ok(message) = self.inbox.recv_deadline(until) {
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
            let late = self.inbox.recv_deadline(until).ok()?;
            self.take_late(late);
        }
        let most = self.courier.most;
        self.backlog.take(most).or_else(|| self.backlog.take_apart(most))
    }

    fn take_what_has_come(&mut self) {
        while let Ok(message) = self.inbox.try_recv() {
            self.take_late(message);
        }
    }

    fn take_late(&mut self, message: Message) {
        match message {
            Message::Payload(payload) => self.backlog.push(payload),
            Message::Traffic(_)
            | Message::Held(_)
            | Message::RuntimeDone(_)
            | Message::Shutdown { .. } => {}
        }
    }
}

/// How a round ended.
enum Round {
    /// Nothing is left, or no time.
    Done,
    /// With failures, but not only with them.
    Delivered,
    InVain,
}
