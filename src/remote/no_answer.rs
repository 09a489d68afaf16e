//! An attempt without an answer. Decides whether a second attempt may follow at once.

use std::time::{Duration, Instant};

use ureq::Timeout;
use ureq::http::StatusCode;

use crate::net::freeze::{LATE, TimeLimit};

/// The part of an attempt's time for its connection, as a fraction: look-up, TCP, proxy and TLS together. The
/// request has at least one second in any case.
const CONNECT_SHARE: (u32, u32) = (3, 4);

/// Why an attempt got no answer.
pub struct NoAnswer {
    pub error: ureq::Error,
    /// Whether a part of the request was sent.
    pub had_it: bool,
    /// The status of the answer, if ureq cannot parse the rest.
    pub status: Option<StatusCode>,
}

impl NoAnswer {
    /// Whether a second attempt may follow. None is needed if the remote sent a status. After a time-out, time
    /// may be left only with [`TimeLimit::WallClock`].
    pub fn leaves_time(&self, limit: TimeLimit) -> bool {
        let is_before_the_end =
            matches!(limit, TimeLimit::WallClock(until) if Instant::now() < until);
        let has_time = !matches!(self.error, ureq::Error::Timeout(_)) || is_before_the_end;
        self.status.is_none() && has_time
    }

    /// Whether a freeze certainly used up the time to connect. ureq's own limits of connecting do not
    /// stop during a freeze.
    pub fn is_of_a_freeze(&self, limit: TimeLimit, began: Instant) -> bool {
        let TimeLimit::ExcludingFreezes(limit) = limit else { return false };
        let is_late = began.elapsed() > connecting(limit) + LATE;
        let is_connecting =
            matches!(self.error, ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect));
        is_connecting && is_late
    }
}

/// The time limit of connecting, for an attempt with this limit.
pub fn connecting(attempt: Duration) -> Duration {
    let (share, whole) = CONNECT_SHARE;
    attempt / whole * share
}
