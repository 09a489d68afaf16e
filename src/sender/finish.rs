//! SHUTDOWN: what is left is sent by the deadline, in as few requests as possible; the rest is counted
//! as lost.

use std::time::{Duration, Instant};

use super::{Message, Sender};
use crate::backlog::Batch;
use crate::courier::Kept;
use crate::deadline::Deadline;
use crate::ledger::{Loss, Outcome};
use crate::patience::Limit;

/// How long the sender waits, once it has nothing left at SHUTDOWN, for a report that is still on
/// its way through the collector. The runtime has ended by then ("Lambda execution environment
/// lifecycle"), so that its last bytes are here, but they may be unread.
const LATE_REPORTS: Duration = Duration::from_millis(50);

/// So often everything that is left is tried at SHUTDOWN, as far as the back-off leaves time: one
/// answer, or one connection that is reset, says little, and there is no later.
const LAST_ROUNDS: u32 = 5;

/// A round ends when so many requests in a row fail: one may be at fault by itself, all of them
/// are the remote's.
const FAILURES_MAX: u32 = 3;

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
        for _ in 0..LAST_ROUNDS {
            self.try_all(deadline);
            if self.backlog.is_empty() || !self.wait_for_a_round(deadline) {
                break;
            }
        }
        self.take_what_has_come();
        for payload in self.backlog.drain() {
            payload.settle(Outcome::Dropped(Loss::Unsent));
        }
    }

    /// Each batch once, until it fails whatever it is sent. What it did not take is left.
    fn try_all(&mut self, deadline: Deadline) {
        let (limit, mut kept) = (Limit::Final(deadline.instant()), Vec::new());
        let mut failures = 0;
        while let Some(batch) = self.oldest_or_late(deadline) {
            match self.courier.attempt(batch, &mut self.backlog, limit) {
                Ok(()) => failures = 0,
                Err(Kept::Suspect(batch)) if batch.reports() > 1 => {
                    self.backlog.put_back_apart(batch);
                }
                Err(Kept::Suspect(batch)) => kept.push(batch),
                Err(Kept::Refused(batch) | Kept::Unreachable(batch)) => {
                    self.courier.narrow(&batch);
                    kept.push(batch);
                    failures += 1;
                    if failures >= FAILURES_MAX {
                        break;
                    }
                }
            }
        }
        for batch in kept.into_iter().rev() {
            self.backlog.put_back(batch);
        }
    }

    /// False if there is no time for another round.
    fn wait_for_a_round(&mut self, deadline: Deadline) -> bool {
        let until = self.courier.backoff.until().unwrap_or_else(|| Instant::now() + ROUND_PAUSE);
        if until >= deadline.instant() {
            return false;
        }
        while let Ok(message) = self.inbox.recv_deadline(until) {
            self.take_late(message);
        }
        true
    }

    /// The next batch to send before the deadline, if there still comes one.
    fn oldest_or_late(&mut self, deadline: Deadline) -> Option<Batch> {
        self.take_what_has_come();
        let left = deadline.remaining(Instant::now());
        if left.is_zero() {
            return None;
        }
        if self.backlog.is_empty() {
            let late = self.inbox.recv_timeout(left.min(LATE_REPORTS)).ok()?;
            self.take_late(late);
            self.take_what_has_come();
        }
        self.backlog.take(self.courier.most)
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
