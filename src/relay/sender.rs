//! The sender thread. It takes accepted reports from the queue, in order, and posts them to the remote when
//! the strategy requires it.
//!
//! Invariants:
//! * Only this thread sends to the remote, one request at a time.
//! * Undelivered reports stay in the backlog, in order (quarantined ones last), up to this remote's quota.
//! * Each report from the queue is settled exactly once.

#[cfg(test)]
mod properties;
#[cfg(test)]
mod script;
mod shutdown;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::failpoint;
use crate::lambda::deadline::Deadline;
use crate::net::freeze::TimeLimit;
use crate::payload::ledger::{Loss, Outcome};
use crate::payload::payload::Payload;
use crate::payload::quota::Quota;
use crate::relay::backlog::{Backlog, Batch};
use crate::relay::edge::{Edge, Live};
use crate::relay::exporter::{Attempt, Exporter, Terms, Wake};
use crate::relay::flush::Policy;
use crate::relay::invocation_end::InvocationEnd;
use crate::relay::queue::{Message, Waited};
use crate::relay::wakeup::Waker;

/// The pause after a panic. Without it, a panic that repeats at once would be a busy loop.
const AFTER_PANIC: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Sender<E = Live> {
    edge: E,
    policy: Policy,
    quota: Quota,
    backlog: Backlog,
    exporter: Exporter,
    end: InvocationEnd,
    last: Option<Last>,
}

/// The final flush before the process ends.
#[derive(Debug)]
struct Last {
    deadline: Deadline,
    /// Dropped when the flush has finished.
    _settled: Waker,
}

/// The sender's next step.
enum Step {
    Take(Message),
    Send,
    End,
}

impl<E: Edge> Sender<E> {
    pub fn new(edge: E, exporter: Exporter, policy: Policy, quota: Quota) -> Self {
        let (backlog, end) = (Backlog::default(), InvocationEnd::default());
        Self { edge, policy, quota, backlog, exporter, end, last: None }
    }

    /// Runs the sender thread until SHUTDOWN. A panic loses the current batch, and the ledger counts it. A
    /// panic during the final flush restarts the flush once. A second one there loses all remaining reports.
    pub fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
            self.edge.pause(AFTER_PANIC);
        }
    }

    fn serve(&mut self) {
        if let Some(Last { deadline, _settled }) = self.last.take() {
            return self.flush_all(deadline);
        }
        loop {
            if self.end.is_over() && self.has_nothing_to_do() {
                self.end.acknowledge();
            }
            let step = self.next_step();
            failpoint::hit("sender.step");
            match step {
                Step::Take(Message::Payload(payload)) => self.keep(payload),
                Step::Take(Message::Traffic(traffic)) => self.policy.traffic = traffic,
                Step::Take(Message::Flush(request)) => self.end.hold(request, self.edge.now()),
                Step::Take(Message::RuntimeDone { request_id, .. }) => {
                    self.end.runtime_done(request_id, self.edge.now());
                }
                Step::Take(Message::Shutdown { deadline, noticed, settled }) => {
                    drop(noticed);
                    self.last = Some(Last { deadline, _settled: settled });
                    self.flush_all(deadline);
                    self.last = None;
                    return;
                }
                Step::Send => self.send(),
                Step::End => return,
            }
        }
    }

    /// Waits for a message, or until a batch is due. A queued message comes first, because a command must not
    /// wait for attempts.
    fn next_step(&mut self) -> Step {
        let Wake { at, at_bytes } = self.exporter.next_wake(&self.backlog, self.terms());
        match self.edge.wait(at, at_bytes) {
            Waited::Message(message) => Step::Take(message),
            Waited::TimeIsUp => Step::Send,
            Waited::End => Step::End,
        }
    }

    fn terms(&self) -> Terms {
        let (policy, buffer) = (self.policy, self.quota.size());
        Terms { policy, buffer, is_held: self.end.is_held() }
    }

    /// Whether all reports from before the invocation's end are settled, or must wait for a failing remote.
    fn has_nothing_to_do(&self) -> bool {
        match self.backlog.oldest() {
            Some(oldest) => {
                self.end.came_after(oldest) || !self.exporter.is_worth_waiting_for(self.edge.now())
            }
            None => self.edge.is_queue_empty(),
        }
    }

    fn keep(&mut self, payload: Payload) {
        failpoint::hit("sender.kept");
        self.end.reported(
            payload.body(),
            payload.route().final_report_max(),
            payload.received_at(),
        );
        let (cost, terms) = (payload.cost(), self.terms());
        if self.exporter.is_too_large_to_wait(cost, &self.backlog, terms) {
            payload.settle(Outcome::Dropped(Loss::Evicted));
            return;
        }
        self.backlog.push(payload);
        self.exporter.make_room(&mut self.backlog, terms);
    }

    /// Makes one attempt with the due batch.
    fn send(&mut self) {
        let (terms, now) = (self.terms(), self.edge.now());
        if let Some(batch) = self.exporter.take(&mut self.backlog, Some(terms), now) {
            failpoint::hit("sender.taken");
            if self.exporter.is_unhealthy() {
                self.end.acknowledge();
            }
            // An attempt may begin even at the end of an invocation, because it goes on after a freeze.
            let longest = self.exporter.longest_attempt(&batch, terms.policy.strategy);
            self.attempt(batch, TimeLimit::ExcludingFreezes(longest));
        }
        self.exporter.make_room(&mut self.backlog, terms);
    }

    fn attempt(&mut self, batch: Batch, limit: TimeLimit) -> Attempt {
        let delivery = self.edge.post(&batch.request(), limit);
        failpoint::hit("sender.posted");
        self.exporter.on_delivery(batch, delivery, &mut self.backlog, self.edge.moment())
    }
}
