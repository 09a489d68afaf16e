//! The sender thread: takes what the collector accepted, in order, and posts it to the remote.
//!
//! Invariants: it is the only one that talks to the remote, one report at a time; what it could not
//! send it keeps, in order; and every payload it took is settled exactly once.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender as ChannelSender};

use crate::deadline::Deadline;
use crate::ledger::{Loss, Outcome};
use crate::payload::Payload;
use crate::remote::{Delivery, Remote};

/// The longest one attempt may take; at SHUTDOWN its deadline is nearer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the sender waits, once it has nothing left at SHUTDOWN, for a report that is still on
/// its way through the collector: the runtime has ended by then, but its last bytes may be unread.
const LATE_REPORTS: Duration = Duration::from_millis(50);

/// Everything the sender can be told, in one queue, so that no command overtakes a report that was
/// accepted before it.
#[derive(Debug)]
pub enum Message {
    Payload(Payload),
    /// An invocation starts: time for another try at what is left from before.
    Invoke,
    /// Send what is left by the deadline, then say so by dropping `settled`.
    Shutdown {
        deadline: Deadline,
        settled: ChannelSender<()>,
    },
}

#[derive(Debug)]
pub struct Sender {
    inbox: Receiver<Message>,
    remote: Remote,
    /// Accepted, not sent yet; oldest first.
    backlog: VecDeque<Payload>,
    /// What the last attempt failed with, so that an outage is one line, not one for each report.
    outage: Option<String>,
}

impl Sender {
    pub fn new(inbox: Receiver<Message>, remote: Remote) -> Self {
        Self { inbox, remote, backlog: VecDeque::new(), outage: None }
    }

    /// The life of the sender thread: until SHUTDOWN. A panic costs the report in hand, which the
    /// ledger counts, and nothing else.
    pub fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {}
    }

    fn serve(&mut self) {
        while let Ok(message) = self.inbox.recv() {
            match message {
                Message::Payload(payload) => self.backlog.push_back(payload),
                Message::Invoke => {}
                Message::Shutdown { deadline, settled } => {
                    self.finish(deadline);
                    drop(settled);
                    return;
                }
            }
            while self.send_oldest(Deadline::after(ATTEMPT_TIMEOUT, Instant::now())) {}
        }
    }

    /// Sends the oldest report. False if there is none, or if it has to stay.
    fn send_oldest(&mut self, deadline: Deadline) -> bool {
        let Some(payload) = self.backlog.pop_front() else { return false };
        let bytes = payload.body.len();
        match self.remote.post(&payload, deadline) {
            Delivery::Delivered => {
                self.end_outage();
                log::debug!("delivered {bytes} bytes to {}", payload.route.path());
                payload.settle(Outcome::Delivered);
                true
            }
            Delivery::Dropped(loss, why) => {
                self.end_outage();
                log::warn!("dropped a report of {bytes} bytes: the remote does not take it, {why}");
                payload.settle(Outcome::Dropped(loss));
                true
            }
            Delivery::Retry(why) => {
                self.backlog.push_front(payload);
                self.note_outage(why);
                false
            }
        }
    }

    fn finish(&mut self, deadline: Deadline) {
        loop {
            let left = deadline.remaining(Instant::now());
            if left.is_zero() {
                break;
            }
            if self.backlog.is_empty() {
                match self.inbox.recv_timeout(left.min(LATE_REPORTS)) {
                    Ok(Message::Payload(payload)) => self.backlog.push_back(payload),
                    Ok(Message::Invoke | Message::Shutdown { .. }) => {}
                    Err(_) => break,
                }
            } else if !self.send_oldest(deadline) {
                break;
            }
        }
        let late = self.inbox.try_iter().filter_map(|message| match message {
            Message::Payload(payload) => Some(payload),
            Message::Invoke | Message::Shutdown { .. } => None,
        });
        for payload in self.backlog.drain(..).chain(late) {
            payload.settle(Outcome::Dropped(Loss::Unsent));
        }
    }

    fn note_outage(&mut self, why: String) {
        if self.outage.as_ref() != Some(&why) {
            log::warn!("cannot deliver to the remote: {why}; reports are kept and tried again");
            self.outage = Some(why);
        }
    }

    fn end_outage(&mut self) {
        if self.outage.take().is_some() {
            log::warn!("the remote is back");
        }
    }
}
