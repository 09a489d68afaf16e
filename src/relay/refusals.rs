//! Decides what happens to the reports of a refused request, so that one bad report does not cost its
//! neighbours. Pure: the time is an argument.
//!
//! Invariants:
//! * A report that was refused alone is never sent again.
//! * A remote that refuses everything costs only a few requests more than one that accepts everything.

mod circuit_breaker;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use ureq::http::{HeaderValue, StatusCode};

use crate::payload::ledger::Loss;
use crate::payload::limits::RequestLimits;
use crate::payload::route::Route;
use crate::relay::backlog::{Backlog, Batch};

use self::circuit_breaker::KeyCircuitBreaker;

/// If the remote refuses a request of fewer bytes as too large, smaller requests would not help.
const TOO_LARGE_MIN: usize = 4 * 1024;

/// When this many reports in a row were refused alone, the reason is the remote or its path, and
/// refused requests are no longer split.
const REFUSED_ALONE_MAX: u32 = 4;

/// A path that refuses everything gets a single report this often, as a test.
const TEST_EVERY: Duration = Duration::from_secs(60);

/// The limits of a request, the keys that the remote refuses, and the paths that refuse everything.
#[derive(Debug)]
pub struct Refusals {
    /// The protocol's limits of one request.
    limits: RequestLimits,
    /// The limits of the next request: the protocol's, or lower ones after a refusal.
    current: RequestLimits,
    keys: KeyCircuitBreaker,
    paths: Vec<Path>,
}

/// A request that the remote has refused for good.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    pub route: Route,
    pub key: Option<&'a HeaderValue>,
    pub status: StatusCode,
    pub loss: Loss,
    pub reports: usize,
    pub bytes: usize,
    /// Whether the request has several items, which could be sent in smaller requests.
    pub is_divisible: bool,
}

/// What to do with a refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its reports are sent again, in smaller requests.
    Split,
    /// Its reports are lost.
    Drop,
    /// Its reports are lost, and nothing is sent with this key for some time.
    DropKey,
}

/// A route on which single reports were refused since the remote last accepted a request there.
#[derive(Debug)]
struct Path {
    route: Route,
    refused_alone: u32,
    /// When splitting is tried again.
    test_at: Instant,
    /// Whether the next request of this route has one report only.
    is_tested: bool,
}

impl Refusals {
    pub fn of(limits: RequestLimits) -> Self {
        Self { limits, current: limits, keys: KeyCircuitBreaker::default(), paths: Vec::new() }
    }

    /// Takes the next batch. While a key or a path is tested, the batch is the smallest report.
    pub fn take(&self, backlog: &mut Backlog, now: Instant) -> Option<Batch> {
        let (route, headers) = backlog.next()?;
        let key = headers.authorization.as_ref();
        if self.is_tested(route, key, now) {
            backlog.take_smallest(self.current)
        } else {
            backlog.take(self.current)
        }
    }

    /// Takes the next quarantined report.
    pub fn take_quarantined(&self, backlog: &mut Backlog) -> Option<Batch> {
        backlog.take_quarantined(self.current)
    }

    /// Whether nothing may be sent with this key now.
    pub fn refuses_key(&self, route: Route, key: Option<&HeaderValue>, now: Instant) -> bool {
        self.keys.is_open(route.signal(), key, now)
    }

    /// Halves the size of the next requests, because one with this many reports failed.
    pub fn halve_batch_size(&mut self, reports: usize) {
        self.current.reports = (reports / 2).max(1);
    }

    /// Resets the number of reports in a request to the protocol's limit.
    pub fn widen(&mut self) {
        self.current.reports = self.limits.reports;
    }

    /// Records that the remote accepted a request.
    pub fn delivered(&mut self, route: Route, key: Option<&HeaderValue>, now: Instant) {
        let was_tested = self.is_tested(route, key, now);
        self.keys.delivered(route.signal(), key, now);
        self.paths.retain(|path| path.route != route);
        if was_tested {
            // A single report does not prove that larger requests are accepted.
            return;
        }
        self.current.reports = (self.current.reports * 2).min(self.limits.reports);
        // The size grows slowly, because it may have been the reason of a refusal.
        self.current.bytes = (self.current.bytes + self.current.bytes / 8).min(self.limits.bytes);
    }

    pub fn refused(&mut self, request: &Refused<'_>, now: Instant) -> Verdict {
        let verdict = match request.loss {
            Loss::Unauthorized => self.keys.refused(request, now),
            _ if self.can_shrink(request, now) => {
                self.current.bytes = request.bytes / 2;
                return Verdict::Split;
            }
            // The report's own size is the reason of the refusal.
            Loss::TooLarge if request.reports == 1 && request.bytes > TOO_LARGE_MIN => {
                Verdict::Drop
            }
            _ => self.refused_by_path(request, now),
        };
        match verdict {
            Verdict::Split => self.halve_batch_size(request.reports),
            Verdict::DropKey => self.current = self.limits,
            Verdict::Drop => {}
        }
        verdict
    }

    fn can_shrink(&self, request: &Refused<'_>, now: Instant) -> bool {
        let is_futile = || self.path(request.route).is_some_and(|it| it.is_futile(now));
        request.loss == Loss::TooLarge
            && request.bytes > TOO_LARGE_MIN
            && request.is_divisible
            && !is_futile()
    }

    fn refused_by_path(&mut self, request: &Refused<'_>, now: Instant) -> Verdict {
        let known = self.paths.iter().position(|path| path.route == request.route);
        let index = known.unwrap_or_else(|| {
            self.paths.push(Path::of(request.route, now));
            self.paths.len() - 1
        });
        let path = &mut self.paths[index];
        if request.reports > 1 {
            return path.refused_several(now);
        }
        path.refused_alone(now);
        if path.refuses_all() {
            // Smaller requests were refused too, so their size is not the reason.
            self.current = self.limits;
        }
        Verdict::Drop
    }

    fn is_tested(&self, route: Route, key: Option<&HeaderValue>, now: Instant) -> bool {
        let is_path_tested = self.path(route).is_some_and(|path| path.is_tested);
        is_path_tested || self.keys.is_tested(route.signal(), key, now)
    }

    fn path(&self, route: Route) -> Option<&Path> {
        self.paths.iter().find(|path| path.route == route)
    }
}

impl Path {
    fn of(route: Route, now: Instant) -> Self {
        Self { route, refused_alone: 0, test_at: now, is_tested: false }
    }

    fn refuses_all(&self) -> bool {
        self.refused_alone >= REFUSED_ALONE_MAX
    }

    /// Whether splitting a request would only cost requests.
    fn is_futile(&self, now: Instant) -> bool {
        self.refuses_all() && now < self.test_at
    }

    fn refused_several(&mut self, now: Instant) -> Verdict {
        if self.is_futile(now) {
            return Verdict::Drop;
        }
        self.is_tested = self.refuses_all();
        Verdict::Split
    }

    fn refused_alone(&mut self, now: Instant) {
        let was_test = self.refuses_all();
        self.refused_alone = self.refused_alone.saturating_add(1);
        self.is_tested = false;
        // All reports that were refused alone may have been bad. So the next refused request of several reports
        // is tested at once, and further ones only at intervals.
        self.test_at = if was_test { now + TEST_EVERY } else { now };
    }
}
