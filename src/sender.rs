//! The sender thread: takes what the collector accepted, in order, and posts it to the remote.
//!
//! Invariants: it is the only one that talks to the remote, one report at a time; what it could not
//! send it keeps, in order; and every payload it took is settled exactly once.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender as ChannelSender, TryRecvError};

use crate::deadline::Deadline;
use crate::ledger::{Loss, Outcome};
use crate::outage::Outage;
use crate::patience::Limit;
use crate::payload::Payload;
use crate::remote::{Delivery, Remote};

/// The longest one attempt may take; at SHUTDOWN its deadline is nearer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the sender waits, once it has nothing left at SHUTDOWN, for a report that is still on
/// its way through the collector. The runtime has ended by then ("Lambda execution environment
/// lifecycle"), so that its last bytes are here, but they may be unread.
const LATE_REPORTS: Duration = Duration::from_millis(50);

/// Everything the sender can be told, in one queue, so that no command overtakes a report that was
/// accepted before it.
#[derive(Debug)]
pub enum Message {
    Payload(Payload),
    /// An invocation starts: time for another try at what is left from before.
    Invoke,
    /// Send what is left by the deadline. `noticed` is dropped when that begins, `settled` when it
    /// is done.
    Shutdown {
        deadline: Deadline,
        noticed: ChannelSender<()>,
        settled: ChannelSender<()>,
    },
}

#[derive(Debug)]
pub struct Sender {
    inbox: Receiver<Message>,
    remote: Remote,
    /// Accepted, not sent yet; oldest first.
    backlog: VecDeque<Payload>,
    outage: Outage,
}

impl Sender {
    pub fn new(inbox: Receiver<Message>, remote: Remote) -> Self {
        Self { inbox, remote, backlog: VecDeque::new(), outage: Outage::default() }
    }

    /// The life of the sender thread: until SHUTDOWN. A panic costs the report in hand, which the
    /// ledger counts, and during the last tries all that are left.
    pub fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {}
    }

    fn serve(&mut self) {
        let mut may_send = false;
        loop {
            // Everything that is there is taken first: a command must not wait behind attempts.
            let message = if may_send && !self.backlog.is_empty() {
                self.inbox.try_recv()
            } else {
                self.inbox.recv().map_err(Into::into)
            };
            match message {
                Ok(Message::Payload(payload)) => {
                    self.backlog.push_back(payload);
                    may_send = true;
                }
                Ok(Message::Invoke) => may_send = true,
                Ok(Message::Shutdown { deadline, noticed, settled }) => {
                    drop(noticed);
                    self.finish(deadline);
                    drop(settled);
                    return;
                }
                Err(TryRecvError::Empty) => may_send = self.send_oldest(),
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    /// Sends the oldest report. False if there is none, or if it has to stay.
    fn send_oldest(&mut self) -> bool {
        let Some(payload) = self.backlog.pop_front() else { return false };
        match self.attempt(payload, Limit::Running(Instant::now() + ATTEMPT_TIMEOUT)) {
            Attempt::Settled => true,
            Attempt::Refused(payload) | Attempt::Unreachable(payload) => {
                self.backlog.push_front(payload);
                false
            }
        }
    }

    /// The last try at everything: once for each report, and none more when the remote can't be
    /// reached.
    fn finish(&mut self, deadline: Deadline) {
        self.remote.disarm();
        if self.outage.is_on() {
            self.remote.reconnect();
        }
        let mut unsent = Vec::new();
        while let Some(payload) = self.oldest_or_late(deadline) {
            match self.attempt(payload, Limit::Final(deadline.instant())) {
                Attempt::Settled => {}
                Attempt::Refused(payload) => unsent.push(payload),
                Attempt::Unreachable(payload) => {
                    unsent.push(payload);
                    break;
                }
            }
        }
        let late = self.inbox.try_iter().filter_map(|message| match message {
            Message::Payload(payload) => Some(payload),
            Message::Invoke | Message::Shutdown { .. } => None,
        });
        for payload in unsent.into_iter().chain(self.backlog.drain(..)).chain(late) {
            payload.settle(Outcome::Dropped(Loss::Unsent));
        }
    }

    /// The next report to send before the deadline, if there still comes one.
    fn oldest_or_late(&mut self, deadline: Deadline) -> Option<Payload> {
        let left = deadline.remaining(Instant::now());
        if left.is_zero() {
            return None;
        }
        self.backlog.pop_front().or_else(|| match self.inbox.recv_timeout(left.min(LATE_REPORTS)) {
            Ok(Message::Payload(payload)) => Some(payload),
            Ok(Message::Invoke | Message::Shutdown { .. }) | Err(_) => None,
        })
    }

    fn attempt(&mut self, payload: Payload, limit: Limit) -> Attempt {
        let bytes = payload.body.len();
        match self.remote.post(&payload, limit) {
            Delivery::Delivered => {
                self.end_outage();
                log::debug!("delivered {bytes} bytes to {}", payload.route.path());
                payload.settle(Outcome::Delivered);
                Attempt::Settled
            }
            Delivery::Dropped(loss, status) => {
                self.end_outage();
                log::warn!("dropped a report of {bytes} bytes: the remote answered {status}");
                payload.settle(Outcome::Dropped(loss));
                Attempt::Settled
            }
            Delivery::Retry(status) => {
                self.note_outage(&format!("it answered {status}"));
                Attempt::Refused(payload)
            }
            Delivery::Unreachable(why) => {
                self.note_outage(&why);
                Attempt::Unreachable(payload)
            }
        }
    }

    fn note_outage(&mut self, why: &str) {
        let is_news = self.outage.begins(Instant::now());
        let level = if is_news { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "cannot deliver to the remote: {why}; reports are kept and tried again");
    }

    fn end_outage(&mut self) {
        if self.outage.ends() {
            log::warn!("the remote is back");
        }
    }
}

/// What became of a report in one attempt.
enum Attempt {
    Settled,
    /// The remote did not take it now; it may take another one.
    Refused(Payload),
    Unreachable(Payload),
}
