//! Time without freezes. A frozen process has frozen clients, so the time of a freeze counts for no deadline.

use std::ops::Add;
use std::time::Duration;

/// The longest wait for events while any deadline is set. So a freeze adds at most this much.
pub const WAIT_MAX: Duration = Duration::from_secs(1);

/// How long the event loop has waited for events with a deadline set. It stands still without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Running(Duration);

impl Running {
    /// The time limit of the next wait for events. `None` without a deadline.
    pub fn wait_until(self, deadline: Option<Self>) -> Option<Duration> {
        deadline.map(|it| it.0.saturating_sub(self.0).min(WAIT_MAX))
    }

    /// Adds a wait. If it took longer than asked, a freeze made it longer.
    pub fn waited(&mut self, asked: Option<Duration>, took: Duration) {
        self.0 += asked.unwrap_or_default().min(took);
    }
}

impl Add<Duration> for Running {
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
        let mut now = Running::default();
        let deadline = now + SECOND * 10;
        let mut waits = 0;
        while let Some(asked) = now.wait_until(Some(deadline)).filter(|it| !it.is_zero()) {
            now.waited(Some(asked), SECOND * 300);
            waits += 1;
        }
        assert_eq!((now, waits), (deadline, 10));
    }

    #[test]
    fn without_a_deadline_the_time_stands_still() {
        let mut now = Running::default();
        assert_eq!(now.wait_until(None), None);
        now.waited(None, SECOND * 300);
        assert_eq!(now, Running::default());
        now.waited(Some(SECOND), SECOND / 2);
        assert_eq!(now, Running::default() + SECOND / 2);
    }
}
