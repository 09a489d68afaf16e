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
use crate::budget::Budget;
use crate::circuit::Circuit;
use crate::deadline::Deadline;
use crate::end::End;
use crate::extensions_api::RequestId;
use crate::flush::{Strategy, Traffic};
use crate::hold::Held;
use crate::items::Most;
use crate::ledger::{Loss, Outcome};
use crate::outage::{Outage, Seldom};
use crate::patience::Limit;
use crate::payload::Payload;
use crate::remote::{Delivery, Remote};

/// The longest the first attempt may take, and after failures twice and four times as long: a remote
/// that is that slow takes what it is sent, again and again. At SHUTDOWN its deadline is nearer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_DOUBLINGS_MAX: u32 = 2;

/// From so many failures in a row on, a remote that says 500 may trip over what it is sent: reports
/// that went together then go alone, and one that goes alone lets others go first.
const SUSPECT_FROM: u32 = 4;

/// A remote that calls less than this too large, in bytes, means something else, which requests
/// that are smaller still would not help.
const TOO_LARGE_MIN: usize = 16 * 1024;

/// While an invocation is held, a next attempt that comes so soon is waited for. Later ones cost
/// more billed time than they are worth.
const HELD_FOR_RETRY: Duration = Duration::from_millis(500);

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
}

#[derive(Debug)]
pub struct Sender {
    inbox: Receiver<Message>,
    remote: Remote,
    policy: Policy,
    budget: Budget,
    /// What one request may hold: what the remote takes, or less since it refused that.
    most: Most,
    backlog: Backlog,
    backoff: Backoff,
    circuit: Circuit,
    outage: Outage,
    /// What is said of reports that are dropped.
    drops: Seldom,
    end: End,
}

/// What the sender does next.
enum Step {
    Take(Message),
    Send,
    End,
}

impl Sender {
    pub fn new(inbox: Receiver<Message>, remote: Remote, policy: Policy, budget: Budget) -> Self {
        Self {
            inbox,
            remote,
            policy,
            budget,
            most: Most::REMOTE,
            backlog: Backlog::default(),
            backoff: Backoff::default(),
            circuit: Circuit::default(),
            outage: Outage::default(),
            drops: Seldom::default(),
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
                Step::Take(Message::Held(held)) => self.end.hold(held),
                Step::Take(Message::RuntimeDone(request_id)) => self.end.runtime_done(request_id),
                Step::Take(Message::Shutdown { deadline, noticed, settled }) => {
                    drop(noticed);
                    self.finish(deadline);
                    drop(settled);
                    return;
                }
                Step::Send => self.send(),
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
        let Policy { strategy, traffic } = self.policy;
        let (held, buffer) = (self.backlog.held(), self.budget.size());
        let due = strategy.due(traffic, self.backlog.oldest()?, held, buffer);
        Some(self.backoff.until().map_or(due, |until| due.max(until)))
    }

    /// Whether everything that came is settled, and nothing is coming in; or it has to wait for a
    /// remote that fails.
    fn has_nothing_to_do(&self) -> bool {
        let soon = Instant::now() + HELD_FOR_RETRY;
        let waits = self.backoff.until().is_some_and(|until| until > soon);
        self.inbox.is_empty() && (waits || self.budget.held() == 0)
    }

    fn keep(&mut self, payload: Payload) {
        self.end.reported(&payload.body);
        if self.backoff.is_on() && payload.permit.bytes() > self.backlog_max() {
            // All others would have to go for it, and then itself.
            payload.settle(Outcome::Dropped(Loss::Evicted));
            return;
        }
        self.backlog.push(payload, Instant::now());
        self.make_room();
    }

    /// While the remote fails: else a full buffer would turn away everything new.
    fn make_room(&mut self) {
        if self.backoff.is_on() {
            self.backlog.evict_down_to(self.backlog_max());
        }
    }

    fn backlog_max(&self) -> usize {
        let (share, whole) = BACKLOG_SHARE;
        self.budget.size() / whole * share
    }

    /// One attempt at what is oldest.
    fn send(&mut self) {
        let Some(batch) = self.backlog.take(self.most) else { return };
        let doublings = self.backoff.failures().min(ATTEMPT_DOUBLINGS_MAX);
        let longest = ATTEMPT_TIMEOUT * 2_u32.pow(doublings);
        // In the last moments of an invocation too: the send goes on after the freeze.
        match self.attempt(batch, Limit::Running(Instant::now() + longest)) {
            Ok(()) => {}
            Err(Kept::Suspect(batch)) if self.backoff.failures() >= SUSPECT_FROM => {
                self.put_suspect(batch);
            }
            Err(Kept::Suspect(batch) | Kept::Refused(batch) | Kept::Unreachable(batch)) => {
                self.backlog.put_back(batch);
            }
        }
        self.make_room();
    }

    fn put_suspect(&mut self, batch: Batch) {
        if batch.reports() > 1 {
            self.backlog.put_back_apart(batch);
        } else {
            self.backlog.put_behind(batch);
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
                Err(Kept::Suspect(batch)) if batch.reports() > 1 => {
                    self.backlog.put_back_apart(batch);
                }
                Err(Kept::Suspect(batch) | Kept::Refused(batch)) => refused.push(batch),
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
                // Slowly back to what the remote may have refused for another reason.
                let most = self.most.bytes + self.most.bytes / 8;
                self.most.bytes = most.min(Most::REMOTE.bytes);
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
                let is_suspect = status == StatusCode::INTERNAL_SERVER_ERROR;
                Err(if is_suspect { Kept::Suspect(batch) } else { Kept::Refused(batch) })
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
            Loss::TooLarge if batch.body().length() > TOO_LARGE_MIN && batch.is_divisible() => {
                self.most.bytes = batch.body().length() / 2;
                log::debug!(
                    "a request was too large; none of over {} bytes follows",
                    self.most.bytes
                );
                self.backlog.put_back(batch);
            }
            Loss::TooLarge | Loss::Rejected if batch.reports() > 1 => {
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
                let level = self.drops.level(Instant::now());
                log::log!(level, "dropped a report of {bytes} bytes: the remote answered {status}");
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
    /// The remote failed, perhaps over this one: servers that trip over a body say 500.
    Suspect(Batch),
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
