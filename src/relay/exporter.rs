//! Chooses the reports of the next request, and draws the consequences of its outcome: settled, split, kept for
//! a retry, quarantined, or a key refused. It sends nothing itself. Time, jitter and the outcome are arguments.
//!
//! Invariant: when the outcome of an attempt is known, its batch is settled or in the backlog again.

#[cfg(test)]
pub mod tests;
mod wake;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ureq::http::StatusCode;

use crate::failpoint;
use crate::payload::ledger::Loss;
use crate::payload::route::Route;
use crate::relay::backlog::{Backlog, Batch};
use crate::relay::edge::Moment;
use crate::relay::flush::Strategy;
use crate::relay::log_limit::{LogLimiter, OutageLog};
use crate::relay::refusals::{Refusals, Refused, Verdict};
use crate::relay::remote_lines;
use crate::remote::backoff::Backoff;
use crate::remote::delivery::{Delivery, Failure};
use crate::remote::destination::Destination;
use crate::remote::withheld::Withheld;

pub use self::wake::{Terms, Wake};

/// Time limit of an attempt. It doubles after each failure, up to [`ATTEMPT_DOUBLINGS_MAX`] times. With a
/// fixed limit, a slow remote would store each retry of a request that timed out. At SHUTDOWN the deadline is
/// the limit instead.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// How many times the limit may double.
const ATTEMPT_DOUBLINGS_MAX: u32 = 2;

/// After this many failures in a row, batches are halved at each retry, and single reports are quarantined.
const ISOLATE_AFTER_FAILURES: u32 = 4;

/// Describes the consequence of a 401 or 403 to a single report, for the log. The key is in doubt, or refused.
const KEY_IN_DOUBT: &str =
    "it is dropped, and the next report goes alone, to find out whether the key is refused";
const KEY_REFUSED: &str = "reports with this key are dropped for 5 minutes";

/// A held invocation waits for a next attempt within this time. A later attempt, or one at a remote that does
/// not answer, would cost too much billed time.
const WORTH_WAITING_FOR: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Exporter {
    destination: Arc<Destination>,
    /// Headers of SDKs with keys that are not forwarded to the remote.
    withheld: Withheld,
    backoff: Backoff,
    /// The back-off of quarantined reports. Their failures show nothing about other reports, which the remote
    /// accepts.
    quarantine_backoff: Backoff,
    /// Failing if the last attempt got no answer, or the last two attempts failed.
    health: RemoteHealth,
    /// Limits the next request, and decides about refused reports.
    refusals: Refusals,
    /// Whether the first failure already isolates reports, because no time is left for more failures.
    isolates_at_once: bool,
    outage: OutageLog,
    /// Limits the lines about dropped reports.
    drops: LogLimiter,
    /// Limits the lines about keys in doubt.
    doubts: LogLimiter,
    /// Limits the lines about refused keys, for each signal. A client may use another key for each report.
    refused_keys: [LogLimiter; Route::OTLP.len()],
    /// Limits the lines about rejected items in accepted reports.
    rejections: LogLimiter,
}

/// The result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The remote accepted or refused the request.
    Answered,
    /// The reports are in the backlog again.
    Failed {
        /// Whether the request had one report.
        was_alone: bool,
        /// Whether any request would fail now, because the remote is unreachable or requests a pause.
        fails_for_all: bool,
    },
}

/// Whether the remote is failing, so that no invocation should wait for it. The sender sets this flag. Other
/// threads read it, because the sender may be busy with an attempt.
#[derive(Clone, Debug, Default)]
pub struct RemoteHealth(Arc<AtomicBool>);

impl RemoteHealth {
    pub fn set_failing(&self, is_failing: bool) {
        self.0.store(is_failing, Ordering::Relaxed);
    }

    pub fn is_failing(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Exporter {
    pub fn to(destination: Arc<Destination>, withheld: Withheld, health: RemoteHealth) -> Self {
        Self {
            refusals: Refusals::of(destination.protocol.limits()),
            destination,
            withheld,
            backoff: Backoff::default(),
            quarantine_backoff: Backoff::of_quarantine(),
            health,
            isolates_at_once: false,
            outage: OutageLog::default(),
            drops: LogLimiter::default(),
            doubts: LogLimiter::default(),
            refused_keys: Default::default(),
            rejections: LogLimiter::default(),
        }
    }

    /// Whether a pause after a failure is on. Failures that may be due to a quarantined report do not count.
    pub fn is_backing_off(&self) -> bool {
        self.backoff.is_on()
    }

    /// The end of the back-off's pause, if the last attempt failed.
    pub fn backoff_until(&self) -> Option<Instant> {
        self.backoff.until()
    }

    /// Whether no invocation should wait for the remote.
    pub fn is_unhealthy(&self) -> bool {
        self.health.is_failing()
    }

    /// Whether the next attempt is near and likely to end soon, so that a held invocation waits for it.
    pub fn is_worth_waiting_for(&self, now: Instant) -> bool {
        let is_near = self.backoff.until().is_none_or(|until| until <= now + WORTH_WAITING_FOR);
        is_near && !self.health.is_failing()
    }

    /// Makes the first failure of a single report quarantine it.
    pub fn isolate_at_once(&mut self) {
        self.isolates_at_once = true;
    }

    /// Takes the batch to send now, if one is due by these terms. Without terms, any batch is due.
    /// Quarantined reports come last. Drops reports with a refused key.
    pub fn take(&self, backlog: &mut Backlog, terms: Option<Terms>, now: Instant) -> Option<Batch> {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        loop {
            let (is_first_due, is_quarantined_due) = terms.map_or((true, true), |terms| {
                let quarantined = self.due_quarantined(backlog, terms);
                (is_due(self.due_waiting(backlog, terms)), is_due(quarantined))
            });
            let first = if is_first_due { self.refusals.take(backlog, now) } else { None };
            let batch = match first {
                None if is_quarantined_due => self.refusals.take_quarantined(backlog),
                first => first,
            };
            if let Some(batch) = self.unless_key_is_refused(batch?, backlog, now) {
                return Some(batch);
            }
        }
    }

    fn unless_key_is_refused(
        &self,
        batch: Batch,
        backlog: &mut Backlog,
        now: Instant,
    ) -> Option<Batch> {
        let (route, key) = (batch.route(), batch.headers().authorization.as_ref());
        if !self.refusals.refuses_key(route, key, now) {
            return Some(batch);
        }
        backlog.settle(batch, Some(Loss::Unauthorized));
        None
    }

    /// Time limit of an attempt with this batch. It does not double if the attempt's time may be billed.
    pub fn longest_attempt(&self, batch: &Batch, strategy: Strategy) -> Duration {
        let backoff = if batch.is_quarantined() { &self.quarantine_backoff } else { &self.backoff };
        let may_be_billed = strategy == Strategy::End && !self.health.is_failing();
        let doublings =
            if may_be_billed { 0 } else { backoff.failures().min(ATTEMPT_DOUBLINGS_MAX) };
        ATTEMPT_TIMEOUT * 2_u32.pow(doublings)
    }

    /// Settles a batch by the outcome of its attempt, or puts back the reports that the remote may still
    /// accept.
    pub fn on_delivery(
        &mut self,
        batch: Batch,
        delivery: Delivery,
        backlog: &mut Backlog,
        at: Moment,
    ) -> Attempt {
        match delivery {
            Delivery::Delivered { rejected_items } => {
                self.answered(batch.route());
                self.delivered(batch, backlog, rejected_items, at);
                Attempt::Answered
            }
            Delivery::Dropped(loss, status) => {
                self.answered(batch.route());
                self.refused(batch, backlog, (loss, status), at.now);
                Attempt::Answered
            }
            Delivery::Failed(failure) => {
                self.failed(&batch, &failure, at);
                let Failure { may_be_poison, after, .. } = failure;
                let was_alone = batch.reports() == 1;
                self.take_back(batch, may_be_poison, backlog);
                Attempt::Failed { was_alone, fails_for_all: !may_be_poison || after.is_some() }
            }
        }
    }

    /// Keeps the reports of a failed attempt. After several failures, a batch is halved, and a single report is
    /// quarantined if it may be the reason.
    fn take_back(&mut self, batch: Batch, may_be_poison: bool, backlog: &mut Backlog) {
        let is_isolating = self.isolates_at_once || self.is_isolating();
        if !may_be_poison || !(is_isolating || batch.is_quarantined()) {
            return backlog.put_back(batch);
        }
        if batch.reports() == 1 {
            return backlog.quarantine(batch);
        }
        // Each accepted request doubles the size again.
        self.refusals.halve_batch_size(batch.reports());
        remote_lines::failed_together(&self.destination, batch.reports());
        backlog.put_back(batch);
    }

    /// Whether the remote, or a gateway before it, may be failing because of a report.
    fn is_isolating(&self) -> bool {
        self.backoff.failures() >= ISOLATE_AFTER_FAILURES
    }

    /// Handles a request that the remote refused for good. The remote may still accept a part of it.
    #[cold]
    fn refused(
        &mut self,
        mut batch: Batch,
        backlog: &mut Backlog,
        (loss, status): (Loss, StatusCode),
        now: Instant,
    ) {
        let is_divisible = loss == Loss::TooLarge && batch.is_divisible();
        let request = Refused {
            route: batch.route(),
            key: batch.headers().authorization.as_ref(),
            status,
            loss,
            reports: batch.reports(),
            bytes: batch.body().length(),
            is_divisible,
        };
        let (verdict, destination) = (self.refusals.refused(&request, now), &self.destination);
        let signal = batch.route().signal().map_or(0, |it| it as usize);
        let key_line = match verdict {
            Verdict::Split => {
                remote_lines::refused_together(destination, &batch, status);
                return backlog.put_back(batch);
            }
            Verdict::Drop if loss != Loss::Unauthorized => None,
            Verdict::Drop => Some((self.doubts.level(now), KEY_IN_DOUBT)),
            Verdict::DropKey => Some((self.refused_keys[signal].level(now), KEY_REFUSED)),
        };
        if let Some(line) = key_line {
            remote_lines::refused_key(line, destination, &self.withheld, &batch, status);
        } else {
            let level = self.drops.level(now);
            remote_lines::dropped(level, destination, &batch, loss, status);
        }
        backlog.settle(batch, Some(loss));
    }

    fn delivered(
        &mut self,
        batch: Batch,
        backlog: &mut Backlog,
        rejected_items: u64,
        Moment { now, wall, .. }: Moment,
    ) {
        failpoint::hit("sender.delivered");
        if batch.account().note_delivery(wall) {
            remote_lines::first_delivery(&self.destination, &batch, now);
        }
        remote_lines::delivered(&self.destination, &batch);
        if rejected_items > 0 {
            self.rejected(&batch, rejected_items, now);
        }
        let key = batch.headers().authorization.as_ref();
        self.refusals.delivered(batch.route(), key, now);
        let was_quarantined = batch.is_quarantined();
        backlog.settle(batch, None);
        if was_quarantined {
            // The remote accepts a quarantined report, so the remote itself was the reason of the failures.
            self.quarantine_backoff.ended();
            self.refusals.widen();
            backlog.release_quarantined();
        }
    }

    /// Counts and logs items that the remote rejected in an accepted batch. They are not retried, because the
    /// remote would reject them again.
    #[cold]
    fn rejected(&mut self, batch: &Batch, items: u64, now: Instant) {
        batch.account().reject_items(items);
        let level = self.rejections.level(now);
        remote_lines::rejected(level, &self.destination, batch, items);
    }

    #[cold]
    fn failed(&mut self, batch: &Batch, failure: &Failure, Moment { now, jitter, .. }: Moment) {
        failpoint::hit("sender.failed");
        let Failure { why, after, .. } = failure;
        if batch.is_quarantined() && failure.may_be_poison && !self.backoff.is_on() {
            self.quarantine_backoff.failed(now, *after, jitter);
            remote_lines::failed_again(&self.destination, batch.route(), why);
            return;
        }
        self.backoff.failed(now, *after, jitter);
        self.health.set_failing(!failure.is_answered || self.backoff.failures() > 1);
        let level = if self.outage.begins(now) { log::Level::Warn } else { log::Level::Debug };
        remote_lines::failed(level, &self.destination, batch.route(), why);
    }

    fn answered(&mut self, route: Route) {
        if self.is_isolating() {
            // The remote may have been the reason, and not the quarantined reports.
            self.quarantine_backoff.interrupted();
        }
        self.backoff.ended();
        self.health.set_failing(false);
        if self.outage.ends() {
            remote_lines::is_back(&self.destination, route);
        }
    }
}
