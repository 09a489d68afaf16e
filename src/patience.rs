//! How long a request may go on waiting when freezes do not count: pure, the time is an argument.
//!
//! Lambda may stop the process inside any wait, for minutes, while the clock goes on; and what was
//! waited for may have come meanwhile. Invariant: time is over only when this process, running, has
//! waited as long as it may.

use std::time::{Duration, Instant};

/// A wait that ends so much later than it was to, and a pause as long between two, was a freeze.
const LATE: Duration = Duration::from_millis(500);

/// No wait is shorter, so that each has a look at what there is; nor does the system take a shorter
/// limit for a socket.
const WAIT_MIN: Duration = Duration::from_millis(1);

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

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// For what was waited for, or an error.
    Done,
    /// By the system, which does that to freeze a process and in no other case here.
    Interrupted,
    TimedOut,
}

impl Patience {
    /// For a new request.
    pub fn renew(&mut self) {
        *self = Self::default();
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
        until.saturating_duration_since(now).max(WAIT_MIN)
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
            self.frozen += took;
        }
        match (waited, limit) {
            (Waited::Done | Waited::Interrupted, _) => true,
            (Waited::TimedOut, Limit::Running(_)) => was_frozen,
            (Waited::TimedOut, Limit::Final(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const ATTEMPT: Duration = Duration::from_secs(3);
    const FREEZE: Duration = Duration::from_secs(60);

    /// What is left of an attempt after these waits, or `None` if one of them ended it.
    #[track_caller]
    fn check(final_: bool, waits: &[(Duration, Waited)], left: Option<Duration>) {
        let start = Instant::now();
        let until = start + ATTEMPT;
        let limit = if final_ { Limit::Final(until) } else { Limit::Running(until) };
        let (mut patience, mut now) = (Patience::default(), start);
        let goes_on = waits.iter().all(|(took, waited)| {
            patience.resume(now);
            let wait = (patience.left(limit, now), now);
            now += *took;
            patience.goes_on(limit, wait, *waited, now)
        });
        patience.resume(now);
        assert_eq!(goes_on.then(|| patience.left(limit, now)), left, "{waits:?}");
    }

    #[test]
    fn running_time_counts() {
        check(false, &[], Some(ATTEMPT));
        check(false, &[(MS, Waited::Done), (MS * 9, Waited::Done)], Some(MS * 2_990));
        check(false, &[(ATTEMPT, Waited::TimedOut)], None);
        check(false, &[(ATTEMPT + LATE / 2, Waited::TimedOut)], None);
        check(false, &[(ATTEMPT, Waited::Done)], Some(WAIT_MIN));
    }

    #[test]
    fn a_wait_that_a_freeze_fell_into_does_not() {
        check(false, &[(FREEZE, Waited::Interrupted)], Some(ATTEMPT));
        check(false, &[(FREEZE, Waited::TimedOut)], Some(ATTEMPT));
        check(false, &[(FREEZE, Waited::Done)], Some(ATTEMPT));
        check(false, &[(MS * 2_999, Waited::Interrupted)], Some(ATTEMPT));
        let twice = [(MS, Waited::Done), (FREEZE, Waited::Interrupted), (FREEZE, Waited::TimedOut)];
        check(false, &twice, Some(MS * 2_999));
    }

    #[test]
    fn after_a_freeze_there_is_as_much_time_as_before_and_then_it_is_over() {
        check(false, &[(FREEZE, Waited::TimedOut), (ATTEMPT, Waited::TimedOut)], None);
    }

    #[test]
    fn a_freeze_between_two_waits_does_not_count_either() {
        let now = Instant::now();
        let (limit, mut patience) = (Limit::Running(now + ATTEMPT), Patience::default());
        assert!(patience.goes_on(limit, (ATTEMPT, now), Waited::Done, now + MS));
        patience.resume(now + MS + FREEZE);
        assert_eq!(patience.left(limit, now + MS + FREEZE), MS * 2_999);
        patience.renew();
        patience.resume(now + FREEZE * 2);
        assert_eq!(patience.left(limit, now), ATTEMPT, "another request, another count");
    }

    #[test]
    fn nothing_moves_the_end_of_the_sandbox_but_there_is_always_a_last_look() {
        check(true, &[(FREEZE, Waited::Interrupted)], Some(WAIT_MIN));
        check(true, &[(FREEZE, Waited::TimedOut)], None);
        check(true, &[(FREEZE, Waited::Interrupted), (MS, Waited::TimedOut)], None);
    }
}
