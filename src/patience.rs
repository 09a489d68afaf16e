//! How long a request may go on waiting when freezes do not count: pure, the time is an argument.
//!
//! Lambda may stop the process inside any wait, for minutes, while the clock goes on; and what was
//! waited for may have come meanwhile. Invariant: time is over only when this process, running, has
//! waited as long as it may.

use std::time::{Duration, Instant};

/// A wait that ends so much later than it was to, and a pause as long between two, was a freeze.
pub const LATE: Duration = Duration::from_millis(500);

/// No wait is shorter, so that each has a look at what there is; nor does the system take a shorter
/// limit for a socket.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// No wait is longer, so that a freeze hides no more running time than this.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// What a request may take at least once it has a connection. To get one has limits of its own, and
/// what a freeze took of that is not to be taken from the request.
const REQUEST_MIN: Duration = Duration::from_secs(1);

/// What freezes have taken of one request.
#[derive(Debug, Default)]
pub struct Patience {
    frozen: Duration,
    /// The end of the last wait.
    seen: Option<Instant>,
}

/// Until when to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A freeze moves it.
    Running(Instant),
    /// Nothing does: the sandbox ends.
    Final(Instant),
}

impl Limit {
    /// For a request on a connection that may be dead without a sign: at the end of the sandbox one
    /// half, so that a new one has the other.
    pub fn on_a_kept_connection(self, now: Instant) -> Self {
        match self {
            Self::Running(_) => self,
            Self::Final(until) => Self::Final(now + until.saturating_duration_since(now) / 2),
        }
    }

    /// For a request that a freeze of this length kept from its start.
    pub fn later_by(self, freeze: Duration) -> Self {
        match self {
            Self::Running(until) => Self::Running(until + freeze),
            Self::Final(_) => self,
        }
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// For what was waited for, or an error.
    Done,
    /// With something to read, which may go on to come without an end. (At the end of the sandbox ureq
    /// looks at the time by itself.)
    Came,
    /// By the system, which does that to freeze a process and in no other case here.
    Interrupted,
    TimedOut,
}

impl Patience {
    /// For a new request.
    pub fn renew(&mut self, limit: Limit, now: Instant) {
        *self = Self::default();
        if let Limit::Running(until) = limit {
            self.frozen = (now + REQUEST_MIN).saturating_duration_since(until);
        }
    }

    /// To be told of the start of each step of the request.
    pub fn resume(&mut self, now: Instant) {
        let pause = self.seen.map_or(Duration::ZERO, |it| now.saturating_duration_since(it));
        if pause >= LATE {
            self.frozen += pause;
        }
    }

    /// How long the next wait may be.
    pub fn left(&self, limit: Limit, now: Instant) -> Duration {
        let until = match limit {
            Limit::Running(until) => until + self.frozen,
            Limit::Final(until) => until,
        };
        until.saturating_duration_since(now).clamp(WAIT_MIN, WAIT_MAX)
    }

    /// To be told of each wait that was `asked` for at `started`. False if time is over.
    #[must_use]
    pub fn goes_on(
        &mut self,
        limit: Limit,
        (asked, started): (Duration, Instant),
        waited: Waited,
        now: Instant,
    ) -> bool {
        let took = now.saturating_duration_since(started);
        let was_frozen = waited == Waited::Interrupted || took >= asked + LATE;
        self.seen = Some(now);
        if was_frozen {
            // What it ran before the freeze counts: an attempt that hangs must end all the same.
            self.frozen += took.saturating_sub(asked);
        }
        match (waited, limit) {
            (Waited::Done | Waited::Interrupted, _) | (Waited::Came, Limit::Final(_)) => true,
            // One look late is not too late.
            (Waited::Came, Limit::Running(until)) => {
                was_frozen || now < until + self.frozen + WAIT_MAX
            }
            (Waited::TimedOut, Limit::Running(until)) => was_frozen || now < until + self.frozen,
            (Waited::TimedOut, Limit::Final(until)) => now < until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const ATTEMPT: Duration = Duration::from_secs(3);
    const FREEZE: Duration = Duration::from_secs(60);

    /// How long an attempt goes on after these waits, in which nothing freezes it any more.
    #[track_caller]
    fn check(waits: &[(Duration, Waited)], left: Option<Duration>) {
        let start = Instant::now();
        let limit = Limit::Running(start + ATTEMPT);
        let (mut patience, mut now) = (Patience::default(), start);
        let goes_on =
            waits.iter().all(|(took, waited)| wait(&mut patience, limit, &mut now, *took, *waited));
        let left_at = now;
        let rest = goes_on.then(|| {
            loop {
                let asked = patience.left(limit, now);
                if !wait(&mut patience, limit, &mut now, asked, Waited::TimedOut) {
                    return now - left_at;
                }
            }
        });
        assert_eq!(rest, left, "{waits:?}");
    }

    fn wait(
        patience: &mut Patience,
        limit: Limit,
        now: &mut Instant,
        took: Duration,
        waited: Waited,
    ) -> bool {
        patience.resume(*now);
        let asked = (patience.left(limit, *now), *now);
        *now += took;
        patience.goes_on(limit, asked, waited, *now)
    }

    #[test]
    fn running_time_counts() {
        check(&[], Some(ATTEMPT));
        check(&[(MS, Waited::Done), (MS * 9, Waited::Done)], Some(MS * 2_990));
        check(&[(MS * 200, Waited::Done); 15], Some(WAIT_MIN));
        check(&[(MS * 200, Waited::Done); 20], Some(WAIT_MIN));
        check(&[(MS * 200, Waited::Came); 16], Some(WAIT_MIN));
        check(&[(MS * 200, Waited::Came); 17], None);
        check(&[(WAIT_MAX, Waited::TimedOut); 11], Some(WAIT_MAX));
        check(&[(WAIT_MAX, Waited::TimedOut); 12], None);
        check(&[(WAIT_MAX, Waited::Interrupted); 11], Some(WAIT_MAX));
    }

    #[test]
    fn a_freeze_does_not_but_for_the_wait_that_it_fell_into() {
        for waited in [Waited::Interrupted, Waited::TimedOut, Waited::Done, Waited::Came] {
            check(&[(FREEZE, waited)], Some(MS * 2_750));
            check(&[(MS, Waited::Done), (FREEZE, waited), (FREEZE, waited)], Some(MS * 2_499));
        }
    }

    #[test]
    fn an_attempt_that_is_frozen_again_and_again_ends_all_the_same() {
        check(&[(FREEZE, Waited::Interrupted); 11], Some(WAIT_MAX));
        check(&[(FREEZE, Waited::TimedOut); 12], Some(WAIT_MIN));
    }

    #[test]
    fn a_freeze_between_two_waits_does_not_count_either() {
        let now = Instant::now();
        let (limit, mut patience) = (Limit::Running(now + ATTEMPT), Patience::default());
        assert!(patience.goes_on(limit, (WAIT_MAX, now), Waited::Done, now + MS));
        let thawed = now + MS + FREEZE;
        patience.resume(thawed);
        assert_eq!(patience.frozen, FREEZE);
    }

    #[test]
    fn once_it_has_a_connection_a_request_has_a_time_of_its_own() {
        let now = Instant::now();
        let mut patience = Patience::default();
        for (until, frozen) in [(now + ATTEMPT, Duration::ZERO), (now, REQUEST_MIN)] {
            patience.renew(Limit::Running(until), now);
            assert_eq!(patience.frozen, frozen);
        }
        patience.renew(Limit::Final(now), now);
        assert_eq!(patience.frozen, Duration::ZERO, "the sandbox ends all the same");
    }

    #[test]
    fn nothing_moves_the_end_of_the_sandbox_but_there_is_always_a_last_look() {
        let start = Instant::now();
        let limit = Limit::Final(start + ATTEMPT);
        let (mut patience, mut now) = (Patience::default(), start);
        assert!(wait(&mut patience, limit, &mut now, FREEZE, Waited::Interrupted));
        assert_eq!(patience.left(limit, now), WAIT_MIN);
        assert!(!wait(&mut patience, limit, &mut now, WAIT_MIN, Waited::TimedOut));
    }
}
