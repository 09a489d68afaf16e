//! What stands between the backlog and the remote: how much goes into a request, with which keys,
//! how soon after a failure, and what is said of it.
//!
//! Invariant: a batch is settled, or given back, or is in the backlog again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant, SystemTime};

use ureq::http::StatusCode;

use crate::backlog::{Backlog, Batch};
use crate::backoff::{Backoff, Chance};
use crate::circuit::Circuit;
use crate::fault;
use crate::hold::Trouble;
use crate::items::Most;
use crate::ledger::Loss;
use crate::logging;
use crate::outage::Outage;
use crate::patience::Limit;
use crate::remote::{Delivery, Failure, Remote};
use crate::seldom::Seldom;

/// A remote that calls less than this too large, in bytes, means something else, which requests
/// that are smaller still would not help.
const TOO_LARGE_MIN: usize = 4 * 1024;

/// From so many failures in a row on, what went together goes in ever smaller requests, and what
/// went alone after all others.
const DOUBTS_FROM: u32 = 4;

/// While an invocation is held, a next attempt that comes so soon is waited for. Later ones, and
/// those at a remote that does not answer, cost more billed time than they are worth.
const WORTH_WAITING_FOR: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Courier {
    pub remote: Remote,
    pub backoff: Backoff,
    /// After failures over reports that are apart while the remote takes others: they say nothing of
    /// what those may expect.
    pub backoff_apart: Backoff,
    /// While an invocation should wait for nothing: the last attempt was not answered, or the one
    /// before it failed too.
    pub trouble: Trouble,
    /// What one request may hold: what the remote takes, or less since it refused that.
    pub most: Most,
    circuit: Circuit,
    outage: Outage,
    /// What is said of reports that are dropped.
    drops: Seldom,
    /// What is said of items that it rejected of those that it took.
    rejections: Seldom,
}

/// A batch that the remote did not take now.
#[derive(Debug)]
pub struct Kept {
    pub batch: Batch,
    /// The remote may have tripped over this very one.
    pub is_suspect: bool,
    /// The remote would fail now whatever it is sent: it can't be reached, or asks for a pause.
    pub is_the_remotes: bool,
}

impl Courier {
    pub fn to(remote: Remote, trouble: Trouble) -> Self {
        Self {
            most: remote.dialect().most(),
            remote,
            backoff: Backoff::default(),
            backoff_apart: Backoff::apart(),
            trouble,
            circuit: Circuit::default(),
            outage: Outage::default(),
            drops: Seldom::default(),
            rejections: Seldom::default(),
        }
    }

    /// Whether the next attempt is so near, and so likely to end soon, that it is worth billed time.
    pub fn is_worth_waiting_for(&self, now: Instant) -> bool {
        let is_near = self.backoff.until().is_none_or(|until| until <= now + WORTH_WAITING_FOR);
        is_near && !self.trouble.is_there()
    }

    /// Whether the remote, or what stands before it, may trip over what it is sent.
    pub fn has_doubts(&self) -> bool {
        self.backoff.failures() >= DOUBTS_FROM
    }

    /// Has the next requests hold half as many reports as this one, of several: what the remote fails
    /// over may be in one of them. Each request that it takes doubles that again.
    pub fn narrow(&mut self, batch: &Batch) {
        self.most.reports = (batch.reports() / 2).max(1);
        logging::debug!("no request of more than {} reports follows", self.most.reports);
    }

    /// Sends a batch, and settles it; what of it may still be taken goes back to the backlog.
    ///
    /// # Errors
    /// The batch, where the remote did not take it now.
    pub fn attempt(
        &mut self,
        batch: Batch,
        backlog: &mut Backlog,
        limit: Limit,
    ) -> Result<(), Kept> {
        let (signal, key) = (batch.route().signal(), batch.headers().authorization.as_ref());
        if self.circuit.is_open(signal, key, Instant::now()) {
            backlog.settle(batch, Some(Loss::Unauthorized));
            return Ok(());
        }
        let delivery = self.remote.post(&batch, limit);
        fault::point("sender.posted");
        match delivery {
            Delivery::Delivered { rejected_items } => {
                self.answered();
                self.delivered(batch, backlog, rejected_items);
            }
            Delivery::Dropped(loss, status) => {
                self.answered();
                self.refused(batch, backlog, loss, status);
            }
            Delivery::Failed(failure) => {
                self.failed(&batch, &failure);
                let Failure { is_suspect, after, .. } = failure;
                return Err(Kept {
                    batch,
                    is_suspect,
                    is_the_remotes: !is_suspect || after.is_some(),
                });
            }
        }
        Ok(())
    }

    /// The remote will not take this, ever; perhaps it takes a part of it.
    fn refused(&mut self, mut batch: Batch, backlog: &mut Backlog, loss: Loss, status: StatusCode) {
        match loss {
            Loss::TooLarge if batch.body().length() > TOO_LARGE_MIN && batch.is_divisible() => {
                self.most.bytes = batch.body().length() / 2;
                logging::debug!(
                    "a request was too large; none of over {} bytes follows",
                    self.most.bytes
                );
                backlog.put_back(batch);
            }
            Loss::TooLarge | Loss::Rejected
                if batch.reports() > 1 && self.remote.dialect().may_blame_one(status) =>
            {
                logging::debug!("{} reports were refused together: {status}", batch.reports());
                self.narrow(&batch);
                backlog.put_back(batch);
            }
            Loss::Unauthorized => {
                let (signal, key) = (batch.route().signal(), &batch.headers().authorization);
                self.circuit.open(signal, key.as_ref(), Instant::now());
                logging::warn!(
                    "{} refused the key of {} reports: {status}; reports with this key are dropped \
                     for five minutes",
                    self.name(),
                    batch.reports()
                );
                backlog.settle(batch, Some(loss));
            }
            loss => {
                self.dropped(&batch, status);
                backlog.settle(batch, Some(loss));
            }
        }
    }

    fn dropped(&mut self, batch: &Batch, status: StatusCode) {
        let what = match batch.reports() {
            1 => "a report".to_owned(),
            several => format!("{several} reports together"),
        };
        let (bytes, path) = (batch.body().length(), batch.route().path());
        let level = self.drops.level(Instant::now());
        logging::at!(
            level,
            "dropped {what}, {bytes} bytes for {path}: {} answered {status}",
            self.name()
        );
    }

    fn delivered(&mut self, batch: Batch, backlog: &mut Backlog, rejected_items: u64) {
        fault::point("sender.delivered");
        logging::debug!("delivered {} reports in one request", batch.reports());
        if rejected_items > 0 {
            self.rejected(&batch, rejected_items);
        }
        let dialects = self.remote.dialect().most();
        // Slowly back to what the remote may have refused for another reason.
        let most = self.most.bytes + self.most.bytes / 8;
        self.most.bytes = most.min(dialects.bytes);
        self.most.reports = (self.most.reports * 2).min(dialects.reports);
        let was_apart = batch.is_apart();
        backlog.settle(batch, None);
        if was_apart {
            // It was the remote that failed, over whatever it was sent.
            self.backoff_apart.ended();
            self.most.reports = dialects.reports;
            backlog.reunite();
        }
    }

    /// It took a batch but for some of its items. Sent again, they would be rejected again.
    fn rejected(&mut self, batch: &Batch, items: u64) {
        batch.account().reject_items(items);
        let level = self.rejections.level(Instant::now());
        logging::at!(level, "{} rejected {items} items of what it took", self.name());
    }

    /// How the remote is called in the log.
    fn name(&self) -> &'static str {
        self.remote.dialect().remote()
    }

    fn failed(&mut self, batch: &Batch, failure: &Failure) {
        fault::point("sender.failed");
        let (now, Failure { why, after, .. }) = (Instant::now(), failure);
        if batch.is_apart() && failure.is_suspect && !self.backoff.is_on() {
            self.backoff_apart.failed(now, *after, chance());
            logging::debug!("cannot deliver a report that failed before: {why}");
            return;
        }
        self.backoff.failed(now, *after, chance());
        self.trouble.set(!failure.is_answered || self.backoff.failures() > 1);
        let level = if self.outage.begins(now) { log::Level::Warn } else { log::Level::Debug };
        logging::at!(
            level,
            "cannot deliver to {}: {why}; reports are kept and tried again",
            self.name()
        );
    }

    fn answered(&mut self) {
        if self.has_doubts() {
            // Perhaps it was the remote all the time, and no single report.
            self.backoff_apart.ended();
        }
        self.backoff.ended();
        self.trouble.set(false);
        if self.outage.ends() {
            logging::warn!("{} is back", self.name());
        }
    }
}

/// From the system's source of randomness, once a thread, and the clock: two environments that were
/// restored from one snapshot must not draw the same.
fn chance() -> Chance {
    let hash = RandomState::new().hash_one(SystemTime::now());
    let upper = u32::try_from(hash >> 32).expect("32 bits are left");
    Chance(f64::from(upper) / f64::from(u32::MAX))
}
