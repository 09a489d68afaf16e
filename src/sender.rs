//! The sender thread: takes what the collector accepted, in order, and posts it to the remote when
//! the strategy says so.
//!
//! Invariants: it is the only one that talks to the remote, one request at a time; what it could not
//! send it keeps, in order, up to its share of the buffer; and every payload it took is settled
//! exactly once.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender as ChannelSender, TryRecvError};
use ureq::http::StatusCode;

use crate::backlog::{Backlog, Batch};
use crate::backoff::{Backoff, Chance};
use crate::circuit::Circuit;
use crate::deadline::Deadline;
use crate::end::End;
use crate::extensions_api::RequestId;
use crate::flush::{Strategy, Traffic};
use crate::hold::Held;
use crate::items::Most;
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

/// So often everything that is left is tried at SHUTDOWN, as far as the back-off leaves time: one
/// answer, or one connection that is reset, says little, and there is no later.
const LAST_ROUNDS: u32 = 5;

/// Before what was refused is tried once more although the remote takes other reports.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// What of the buffer may wait for a remote that is down; beyond that the oldest reports go. The
/// rest is room for what comes during an attempt.
const BACKLOG_SHARE: (usize, usize) = (3, 4);

/// Everything the sender can be told, in one queue, so that no command overtakes a report that was
/// accepted before it.
#[derive(Debug)]
pub enum Message {
    Payload(Payload),
    /// Invocations come in another rhythm from now on.
    Traffic(Traffic),
    /// An invocation has begun that lasts until all of it is sent.
    Held(Held),
    /// The runtime is done with this one: nothing of it will come any more.
    RuntimeDone(RequestId),
    /// Send what is left by the deadline. `noticed` is dropped when that begins, `settled` when it
    /// is done.
    Shutdown {
        deadline: Deadline,
        noticed: ChannelSender<()>,
        settled: ChannelSender<()>,
    },
}

/// When to send, and how much may wait.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub strategy: Strategy,
    /// Of the first invocations.
    pub traffic: Traffic,
    /// Bytes.
    pub buffer: usize,
}

#[derive(Debug)]
pub struct Sender {
    inbox: Receiver<Message>,
    remote: Remote,
    policy: Policy,
    /// What one request may hold: what the remote takes, or less since it refused that.
    most: Most,
    backlog: Backlog,
    backoff: Backoff,
    circuit: Circuit,
    outage: Outage,
    end: End,
}

/// What the sender does next.
enum Step {
    Take(Message),
    Send,
    End,
}

impl Sender {
    pub fn new(inbox: Receiver<Message>, remote: Remote, policy: Policy) -> Self {
        Self {
            inbox,
            remote,
            policy,
            most: Most::REMOTE,
            backlog: Backlog::default(),
            backoff: Backoff::default(),
            circuit: Circuit::default(),
            outage: Outage::default(),
            end: End::default(),
        }
    }

    /// The life of the sender thread: until SHUTDOWN. A panic costs what is in hand, which the
    /// ledger counts, and during the last tries all that is left.
    pub fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {}
    }

    fn serve(&mut self) {
        loop {
            if self.end.has_come() && self.has_nothing_to_do() {
                self.end.release();
            }
            match self.next_step() {
                Step::Take(Message::Payload(payload)) => self.keep(payload),
                Step::Take(Message::Traffic(traffic)) => self.policy.traffic = traffic,
                Step::Take(Message::Held(held)) => self.end.hold(held, Instant::now()),
                Step::Take(Message::RuntimeDone(request_id)) => {
                    self.end.runtime_done(request_id, Instant::now());
                }
                Step::Take(Message::Shutdown { deadline, noticed, settled }) => {
                    drop(noticed);
                    self.finish(deadline);
                    drop(settled);
                    return;
                }
                // As long in the last moments of an invocation: the send goes on after the freeze.
                Step::Send => self.send(Limit::Running(Instant::now() + ATTEMPT_TIMEOUT)),
                Step::End => return,
            }
        }
    }

    /// Waits for a message, or until something is to be sent. What has come is taken first: a
    /// command must not wait behind attempts.
    fn next_step(&self) -> Step {
        match self.inbox.try_recv() {
            Ok(message) => return Step::Take(message),
            Err(TryRecvError::Disconnected) => return Step::End,
            Err(TryRecvError::Empty) => {}
        }
        let Some(due) = self.due() else {
            return self.inbox.recv().map_or(Step::End, Step::Take);
        };
        match self.inbox.recv_deadline(due) {
            Ok(message) => Step::Take(message),
            Err(RecvTimeoutError::Timeout) => Step::Send,
            Err(RecvTimeoutError::Disconnected) => Step::End,
        }
    }

    /// When to send next, if there is anything to send.
    fn due(&self) -> Option<Instant> {
        let Policy { strategy, traffic, .. } = self.policy;
        let due = strategy.due(traffic, self.backlog.oldest()?, self.backlog.held());
        Some(self.backoff.until().map_or(due, |until| due.max(until)))
    }

    /// Whether everything that came before the end of the invocation is settled, or has to wait for
    /// a remote that fails.
    fn has_nothing_to_do(&self) -> bool {
        match self.backlog.oldest() {
            Some(oldest) => self.backoff.is_on() || self.end.was_before(oldest),
            None => self.inbox.is_empty(),
        }
    }

    fn keep(&mut self, payload: Payload) {
        let now = Instant::now();
        self.end.reported(&payload.body, now);
        self.backlog.push(payload, now);
        if self.backoff.is_on() {
            let (share, whole) = BACKLOG_SHARE;
            self.backlog.evict_down_to(self.policy.buffer / whole * share);
        }
    }

    /// One attempt at what is oldest.
    fn send(&mut self, limit: Limit) {
        let Some(batch) = self.backlog.take(self.most) else { return };
        if let Err(Kept::Refused(batch) | Kept::Unreachable(batch)) = self.attempt(batch, limit) {
            self.backlog.put_back(batch);
        }
    }

    /// The last tries at everything: at once, whatever was the matter before, and again while the
    /// back-off ends before the deadline. After a long outage it does not.
    fn finish(&mut self, deadline: Deadline) {
        self.remote.disarm();
        if self.backoff.is_on() {
            self.remote.reconnect();
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

    /// Each batch once, until the remote can't be reached. What it did not take is left.
    fn try_all(&mut self, deadline: Deadline) {
        let mut refused = Vec::new();
        while let Some(batch) = self.oldest_or_late(deadline) {
            match self.attempt(batch, Limit::Final(deadline.instant())) {
                Ok(()) => {}
                Err(Kept::Refused(batch)) => refused.push(batch),
                Err(Kept::Unreachable(batch)) => {
                    self.backlog.put_back(batch);
                    break;
                }
            }
        }
        for batch in refused.into_iter().rev() {
            self.backlog.put_back(batch);
        }
    }

    /// False if there is no time for another round.
    fn wait_for_a_round(&mut self, deadline: Deadline) -> bool {
        let until = self.backoff.until().unwrap_or_else(|| Instant::now() + ROUND_PAUSE);
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
        self.backlog.take(self.most)
    }

    fn take_what_has_come(&mut self) {
        while let Ok(message) = self.inbox.try_recv() {
            self.take_late(message);
        }
    }

    fn take_late(&mut self, message: Message) {
        match message {
            Message::Payload(payload) => self.backlog.push(payload, Instant::now()),
            Message::Traffic(_)
            | Message::Held(_)
            | Message::RuntimeDone(_)
            | Message::Shutdown { .. } => {}
        }
    }

    /// Sends a batch, or gives it back.
    fn attempt(&mut self, batch: Batch, limit: Limit) -> Result<(), Kept> {
        let key = batch.headers().authorization.as_ref();
        if self.circuit.is_open(key, Instant::now()) {
            self.backlog.settle(batch, Some(Loss::Unauthorized));
            return Ok(());
        }
        match self.remote.post(&batch, limit) {
            Delivery::Delivered => {
                self.end_outage();
                log::debug!("delivered {} reports in one request", batch.reports());
                self.backlog.settle(batch, None);
                Ok(())
            }
            Delivery::Dropped(loss, status) => {
                self.end_outage();
                self.refused(batch, loss, status);
                Ok(())
            }
            Delivery::Retry { status, after } => {
                self.note_outage(&format!("it answered {status}"), after);
                Err(Kept::Refused(batch))
            }
            Delivery::Unreachable(why) => {
                self.note_outage(&why, None);
                Err(Kept::Unreachable(batch))
            }
        }
    }

    /// The remote will not take this, ever; perhaps it takes a part of it.
    fn refused(&mut self, mut batch: Batch, loss: Loss, status: StatusCode) {
        match loss {
            Loss::TooLarge if batch.is_divisible() => {
                self.most.bytes = batch.body().length() / 2;
                log::debug!(
                    "a request was too large; none of over {} bytes follows",
                    self.most.bytes
                );
                self.backlog.put_back(batch);
            }
            Loss::Rejected if batch.reports() > 1 => {
                log::debug!("{} reports were refused together: {status}", batch.reports());
                self.backlog.put_back_apart(batch);
            }
            Loss::Unauthorized => {
                self.circuit.open(batch.headers().authorization.as_ref(), Instant::now());
                log::warn!(
                    "the remote refused the key of {} reports: {status}; reports with this key are \
                     dropped for five minutes",
                    batch.reports()
                );
                self.backlog.settle(batch, Some(loss));
            }
            loss => {
                let bytes = batch.body().length();
                log::warn!("dropped a report of {bytes} bytes: the remote answered {status}");
                self.backlog.settle(batch, Some(loss));
            }
        }
    }

    fn note_outage(&mut self, why: &str, retry_after: Option<Duration>) {
        let now = Instant::now();
        self.backoff.failed(now, retry_after, chance());
        let is_news = self.outage.begins(now);
        let level = if is_news { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "cannot deliver to the remote: {why}; reports are kept and tried again");
    }

    fn end_outage(&mut self) {
        self.backoff.ended();
        if self.outage.ends() {
            log::warn!("the remote is back");
        }
    }
}

/// A batch that the remote did not take now.
enum Kept {
    /// It may take another one.
    Refused(Batch),
    Unreachable(Batch),
}

/// From the system's source of randomness, once a thread, and the clock: two environments that were
/// restored from one snapshot must not draw the same.
fn chance() -> Chance {
    let hash = RandomState::new().hash_one(SystemTime::now());
    let upper = u32::try_from(hash >> 32).expect("32 bits are left");
    Chance(f64::from(upper) / f64::from(u32::MAX))
}
