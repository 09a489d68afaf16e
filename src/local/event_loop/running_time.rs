//! Time without freezes. A frozen process has frozen clients, so the time of a freeze counts for no deadline.

use std::ops::Add;
use std::time::Duration;

/// The longest wait for events while any deadline is set. A round of the loop counts as this much at most, so a
/// freeze adds at most this much too.
pub const WAIT_MAX: Duration = Duration::from_secs(1);

/// How long the event loop has run with a deadline set. It stands still without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunningTime(Duration);

impl RunningTime {
    /// The time limit of the next wait for events. `None` without a deadline.
    pub fn wait_until(self, deadline: Option<Self>) -> Option<Duration> {
        deadline.map(|it| it.0.saturating_sub(self.0).min(WAIT_MAX))
    }

    /// Adds a round of the loop: its work, and its wait.
    pub fn pass(&mut self, round: Duration) {
        self.0 += round.min(WAIT_MAX);
    }
}

impl Add<Duration> for RunningTime {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_freeze_adds_at_most_the_longest_wait() {
        let mut now = RunningTime::default();
        let deadline = now + SECOND * 10;
        assert_eq!(now.wait_until(Some(deadline)), Some(WAIT_MAX));
        now.pass(SECOND * 300);
        assert_eq!(now, RunningTime::default() + WAIT_MAX);
        now.pass(SECOND / 2);
        assert_eq!(now, RunningTime::default() + WAIT_MAX + SECOND / 2);
    }

    #[test]
    fn a_wait_ends_at_the_deadline_and_without_one_never() {
        let now = RunningTime::default();
        assert_eq!(now.wait_until(Some(now + SECOND / 3)), Some(SECOND / 3));
        assert_eq!(now.wait_until(Some(now)), Some(Duration::ZERO));
        assert_eq!(now.wait_until(None), None);
    }
}
