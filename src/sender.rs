//! The sender thread: takes what the collector accepted, in order, and posts it to the remote when
//! the strategy says so.
//!
//! Invariants: it is the only one that talks to the remote, one request at a time; what it could not
//! send it keeps, in order but for what the remote fails over again and again, up to its share of
//! the buffer; and every payload it took is settled exactly once.

mod finish;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender as ChannelSender;

use crate::backlog::{Backlog, Batch};
use crate::budget::Permit;
use crate::courier::{Courier, Kept};
use crate::deadline::Deadline;
use crate::end::End;
use crate::extensions_api::RequestId;
use crate::fault;
use crate::flush::{Strategy, Traffic};
use crate::hold::Held;
use crate::ledger::{Loss, Outcome};
use crate::outbox::{Inbox, Waited};
use crate::patience::Limit;
use crate::payload::Payload;
use crate::share::Share;

/// The longest the first attempt may take, and after failures twice and four times as long: a remote
/// that is that slow takes what it is sent, again and again. At SHUTDOWN its deadline is nearer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_DOUBLINGS_MAX: u32 = 2;

/// A report that is larger than this part of what may wait does not wait beside others.
const LARGE_SHARE: usize = 2;

/// The pause after a panic, so that one which takes nothing away is no busy loop.
const AFTER_PANIC: Duration = Duration::from_millis(10);

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
    /// The runtime is done with this one: nothing of it will come any more. The permit is for the
    /// message itself, as anybody could send thousands.
    RuntimeDone {
        request_id: RequestId,
        _permit: Permit,
    },
    /// Reports for another remote have come, and this one's have less room.
    LessRoom,
    /// An agent that reports to another remote is done with this one.
    ReportedElsewhere {
        request_id: RequestId,
    },
    /// Send what is left by the deadline. `noticed` is dropped when that begins, `settled` when it
    /// is done.
    Shutdown {
        deadline: Deadline,
        noticed: ChannelSender<()>,
        settled: ChannelSender<()>,
    },
}

/// When to send.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub strategy: Strategy,
    /// Of the first invocations.
    pub traffic: Traffic,
}

#[derive(Debug)]
pub struct Sender {
    inbox: Inbox,
    policy: Policy,
    share: Share,
    backlog: Backlog,
    courier: Courier,
    end: End,
    last: Option<Last>,
}

/// What is to be done before the process ends.
#[derive(Debug)]
struct Last {
    deadline: Deadline,
    /// Dropped when it is done.
    _settled: ChannelSender<()>,
}

/// What the sender does next.
#[expect(clippy::large_enum_variant, reason = "a report in a box would be an allocation more")]
enum Step {
    Take(Message),
    Send,
    End,
}

impl Sender {
    pub fn new(inbox: Inbox, courier: Courier, policy: Policy, share: Share) -> Self {
        let (backlog, end) = (Backlog::default(), End::default());
        Self { inbox, policy, share, backlog, courier, end, last: None }
    }

    /// The life of the sender thread: until SHUTDOWN. A panic costs what is in hand, which the
    /// ledger counts; a second one during the last tries all that is left.
    pub fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
            thread::park_timeout(AFTER_PANIC);
        }
    }

    fn serve(&mut self) {
        if let Some(Last { deadline, _settled }) = self.last.take() {
            return self.finish(deadline);
        }
        loop {
            if self.end.has_come() && self.has_nothing_to_do() {
                self.end.release();
            }
            let step = self.next_step();
            fault::point("sender.step");
            match step {
                Step::Take(Message::Payload(payload)) => self.keep(payload),
                Step::Take(Message::Traffic(traffic)) => self.policy.traffic = traffic,
                Step::Take(Message::Held(held)) => self.end.hold(held, Instant::now()),
                Step::Take(Message::RuntimeDone { request_id, .. }) => {
                    self.end.runtime_done(request_id, Instant::now());
                }
                Step::Take(Message::LessRoom) => self.make_room(),
                Step::Take(Message::ReportedElsewhere { request_id }) => {
                    self.end.reported_elsewhere(request_id, Instant::now());
                }
                Step::Take(Message::Shutdown { deadline, noticed, settled }) => {
                    drop(noticed);
                    self.last = Some(Last { deadline, _settled: settled });
                    self.finish(deadline);
                    self.last = None;
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
        match self.inbox.wait(self.due(), self.quiet_below()) {
            Waited::Message(message) => Step::Take(message),
            Waited::TimeIsUp => Step::Send,
            Waited::End => Step::End,
        }
    }

    /// How many bytes of the buffer may be taken before one more report changes what is due.
    fn quiet_below(&self) -> usize {
        let Policy { strategy, traffic } = self.policy;
        if self.backlog.oldest().is_none() || self.end.is_held() {
            0
        } else if self.courier.backoff.is_on() {
            // Below it nothing has to go, neither the oldest nor what is too large to wait.
            self.backlog_max() / LARGE_SHARE
        } else {
            strategy.gathers(traffic, self.share.bytes()).map_or(0, |(_, below)| below)
        }
    }

    /// When to send next, if there is anything to send.
    fn due(&self) -> Option<Instant> {
        self.due_waiting().into_iter().chain(self.due_apart()).min()
    }

    fn due_waiting(&self) -> Option<Instant> {
        let Policy { strategy, traffic } = self.policy;
        let (oldest, held) = (self.backlog.oldest()?, self.backlog.held_waiting());
        let due = strategy.due(traffic, oldest, held, self.share.bytes());
        Some(self.courier.backoff.until().map_or(due, |until| due.max(until)))
    }

    /// No invocation is held for those apart.
    fn due_apart(&self) -> Option<Instant> {
        let Courier { backoff, backoff_apart, .. } = &self.courier;
        let until = backoff.until().max(backoff_apart.until());
        let is_wanted = self.backlog.apart() > 0 && !self.end.is_held();
        is_wanted.then(|| until.unwrap_or_else(Instant::now))
    }

    /// Whether everything that came before the end of the invocation is settled, or has to wait for
    /// a remote that fails.
    fn has_nothing_to_do(&self) -> bool {
        match self.backlog.oldest() {
            Some(oldest) => {
                self.end.was_before(oldest) || !self.courier.is_worth_waiting_for(Instant::now())
            }
            None => self.inbox.is_empty(),
        }
    }

    fn keep(&mut self, payload: Payload) {
        fault::point("sender.kept");
        self.end.reported(&payload.body, payload.route.last_word_max(), payload.came);
        let is_large = payload.permit.bytes() > self.backlog_max() / LARGE_SHARE;
        if self.courier.backoff.is_on() && is_large && !self.backlog.is_empty() {
            // Many others would have to go for it.
            payload.settle(Outcome::Dropped(Loss::Evicted));
            return;
        }
        self.backlog.push(payload);
        self.make_room();
    }

    /// While the remote fails, or over those apart: else a full buffer would turn away everything
    /// new.
    fn make_room(&mut self) {
        if self.courier.backoff.is_on() {
            self.backlog.evict_down_to(self.backlog_max());
        } else {
            self.backlog.evict_apart_down_to(self.backlog_max());
        }
    }

    fn backlog_max(&self) -> usize {
        let (share, whole) = BACKLOG_SHARE;
        self.share.bytes() / whole * share
    }

    /// One attempt at what is due; those apart let all others go first.
    fn send(&mut self) {
        let (now, most) = (Instant::now(), self.courier.most);
        let is_due = self.due_waiting().is_some_and(|due| due <= now);
        let batch = if is_due { self.backlog.take(most) } else { self.backlog.take_apart(most) };
        let Some(batch) = batch else { return };
        fault::point("sender.taken");
        if self.courier.trouble.is_there() {
            self.end.release();
        }
        // In the last moments of an invocation too: the send goes on after the freeze.
        let limit = Limit::Running(now + self.longest_attempt(&batch));
        if let Err(kept) = self.courier.attempt(batch, &mut self.backlog, limit) {
            self.take_back(kept, self.courier.has_doubts());
        }
        self.make_room();
    }

    fn longest_attempt(&self, batch: &Batch) -> Duration {
        let Courier { backoff, backoff_apart, trouble, .. } = &self.courier;
        let failures = if batch.is_apart() { backoff_apart } else { backoff }.failures();
        // What is billed, or may become so, is not doubled.
        let may_be_billed = self.policy.strategy == Strategy::End && !trouble.is_there();
        let doublings = if may_be_billed { 0 } else { failures.min(ATTEMPT_DOUBLINGS_MAX) };
        ATTEMPT_TIMEOUT * 2_u32.pow(doublings)
    }

    /// Keeps what the remote did not take for another time; with doubts, so that others do not wait
    /// for it.
    fn take_back(&mut self, kept: Kept, has_doubts: bool) {
        let Kept { batch, is_suspect, .. } = kept;
        let is_doubted = is_suspect && (has_doubts || batch.is_apart());
        if is_doubted && batch.reports() == 1 {
            self.backlog.put_apart(batch);
            return;
        }
        if is_doubted {
            self.courier.narrow(&batch);
        }
        self.backlog.put_back(batch);
    }
}
