//! Limits the waits of a request's phase without counting freezes. Pure: the time is an argument.
//!
//! Lambda may freeze the process inside any wait, for minutes, while the clock goes on. The awaited bytes may
//! arrive during the freeze.
//!
//! Invariants, checked by the property test below:
//! * A phase ends after its limit of running time and a last wait. A freeze before the phase does not change
//!   that, because each phase has its own [`FreezeClock`].
//! * A phase ends only after a wait that began when the time was over. So the process sees bytes that arrived
//!   during a freeze.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// A wait that lasts this much longer than requested contained a freeze. A pause of this length between two
/// waits was a freeze.
pub const LATE: Duration = Duration::from_millis(500);

/// The shortest wait. The system accepts no time limit of zero for a socket.
pub const WAIT_MIN: Duration = Duration::from_millis(1);

/// The longest wait. So a freeze hides at most this much running time.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// How many waits of a phase may begin when the time is over, if each one receives or sends bytes. That many
/// pieces may have arrived during a freeze too short to notice. The limit stops a remote that never stops
/// sending. Each of these waits lasts [`WAIT_MIN`].
const LATE_CHECKS_MAX: u32 = 100;

/// The time limit of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLimit {
    /// Running time, without freezes.
    ExcludingFreezes(Duration),
    /// A fixed instant, because the execution environment ends then.
    WallClock(Instant),
}

impl TimeLimit {
    /// The limit of a second attempt. `took` is the time of the first attempt, freezes included.
    pub fn after(self, took: Duration) -> Self {
        match self {
            // No attempt runs for that long, so most of this time was a freeze.
            Self::ExcludingFreezes(limit) if took > limit + LATE => self,
            Self::ExcludingFreezes(limit) => Self::ExcludingFreezes(limit.saturating_sub(took)),
            Self::WallClock(_) => self,
        }
    }
}

/// The clock of one phase of a request. The clock stands still during a freeze.
#[derive(Debug)]
pub struct FreezeClock {
    limit: Duration,
    /// The end of the phase if no freeze happens.
    until: Instant,
    is_final: bool,
    /// How much of this phase was frozen.
    frozen: Duration,
    /// The end of the last wait. Before the first wait, the start of the phase.
    waited_until: Instant,
    late_checks: u32,
}

/// The result of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Bytes were read or written, or an error happened.
    Done,
    /// A signal interrupted the wait. In this process only a freeze does that.
    Interrupted,
    TimedOut,
}

impl FreezeClock {
    pub fn start(limit: TimeLimit, now: Instant) -> Self {
        let (until, is_final) = match limit {
            TimeLimit::ExcludingFreezes(limit) => (now + limit, false),
            TimeLimit::WallClock(until) => (until, true),
        };
        Self {
            limit: until.saturating_duration_since(now),
            until,
            is_final,
            frozen: Duration::ZERO,
            waited_until: now,
            late_checks: 0,
        }
    }

    /// Adds this time to the limit.
    pub fn extend(&mut self, time: Duration) {
        self.limit += time;
        self.until += time;
    }

    /// How much of its time the phase has used, without freezes.
    pub fn used(&self, now: Instant) -> Duration {
        self.limit.saturating_sub(self.end().saturating_duration_since(now))
    }

    /// Repeats a step until it succeeds or fails. Returns `None` if the time is over first. The step must wait
    /// no longer than its argument.
    pub fn repeat<R>(
        &mut self,
        now: impl Fn() -> Instant,
        mut step: impl FnMut(Duration) -> io::Result<R>,
    ) -> Option<io::Result<R>> {
        loop {
            let started = now();
            let asked = self.next_wait(started);
            let result = step(asked);
            let waited = Waited::of(&result);
            if !self.has_time((asked, started), waited, now()) {
                return None;
            }
            if waited == Waited::Done {
                return Some(result);
            }
        }
    }

    /// How long the next wait may be.
    pub fn next_wait(&mut self, now: Instant) -> Duration {
        let pause = now.saturating_duration_since(self.waited_until);
        if pause >= LATE {
            self.add_frozen(pause);
        }
        self.end().saturating_duration_since(now).clamp(WAIT_MIN, WAIT_MAX)
    }

    /// Whether the phase may go on after this wait.
    #[must_use]
    pub fn has_time(
        &mut self,
        (asked, started): (Duration, Instant),
        waited: Waited,
        now: Instant,
    ) -> bool {
        let took = now.saturating_duration_since(started);
        self.late_checks += u32::from(started >= self.end());
        let was_frozen = waited == Waited::Interrupted || took >= asked + LATE;
        self.waited_until = now;
        if was_frozen {
            // The requested wait counts as running time. Otherwise an attempt with repeated freezes would
            // never end.
            self.add_frozen(took.saturating_sub(asked));
        }
        match waited {
            Waited::Interrupted => true,
            Waited::TimedOut => was_frozen || now < self.end(),
            Waited::Done => self.late_checks <= LATE_CHECKS_MAX,
        }
    }

    fn end(&self) -> Instant {
        self.until + self.frozen
    }

    fn add_frozen(&mut self, frozen: Duration) {
        if !self.is_final {
            self.frozen += frozen;
        }
    }
}

impl Waited {
    fn of<R>(result: &io::Result<R>) -> Self {
        match result.as_ref().map_err(io::Error::kind) {
            Err(ErrorKind::Interrupted) => Self::Interrupted,
            // `ErrorKind::TimedOut` is different: the connection itself has timed out, which is an error.
            Err(ErrorKind::WouldBlock) => Self::TimedOut,
            _ => Self::Done,
        }
    }
}

#[cfg(test)]
mod tests;
