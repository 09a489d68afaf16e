//! Decides in the shutdown phase whether an attempt may go on. An idle connection may have died unnoticed, and
//! an attempt from before the phase may hang.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crate::net::freeze::WAIT_MIN;
use crate::net::wire::Wire;

/// A remote that accepted bytes within this time counts as alive.
const RECENTLY: Duration = Duration::from_millis(500);

/// When to check a connection. Before the shutdown phase, it is never checked.
#[derive(Debug, Default)]
pub struct Liveness {
    /// Whether the connection has served a request before.
    is_kept: bool,
    check_at: Option<Instant>,
    accepted_at: Option<Instant>,
}

impl Liveness {
    /// For a connection that has served a request before.
    pub fn of_kept() -> Self {
        Self { is_kept: true, ..Self::default() }
    }

    /// Begins a request that must end at `until`. A reused connection is checked after half of that time, so
    /// that a new connection could use the other half.
    pub fn begin(&mut self, now: Instant, until: Instant) {
        if self.is_kept {
            self.check_at = Some(now + until.saturating_duration_since(now) / 2);
        }
    }

    /// Records that the system accepted more bytes of the request.
    pub fn progress(&mut self) {
        if self.check_at.is_some() {
            self.accepted_at = Some(Instant::now());
        }
    }

    /// How long the next wait may be, up to `within`.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] if the attempt must end. An attempt goes on if the remote's system has
    /// acknowledged the request. The remote may process that request, and a retry would deliver it twice.
    pub fn check(&mut self, wire: &Wire, within: Option<Duration>) -> io::Result<Option<Duration>> {
        let spared_until = wire.spared_until();
        let Some(next) = [self.check_at, spared_until].into_iter().flatten().min() else {
            return Ok(within);
        };
        let now = Instant::now();
        if now < next {
            let left = (next - now).max(WAIT_MIN);
            return Ok(within.map(|within| within.min(left)));
        }
        let is_dead = self.check_at.take().is_some_and(|at| at <= now) && !self.is_alive(wire, now);
        if is_dead || spared_until.is_some_and(|until| until <= now) {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(within)
    }

    fn is_alive(&self, wire: &Wire, now: Instant) -> bool {
        let is_recent = |at| now.saturating_duration_since(at) < RECENTLY;
        self.accepted_at.is_some_and(is_recent) || wire.is_acknowledged()
    }
}
