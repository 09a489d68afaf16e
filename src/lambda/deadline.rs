//! A deadline, converted once from the platform's epoch milliseconds to the monotonic clock.

use std::time::{Duration, Instant, SystemTime};

/// An instant of the monotonic clock. So a change of the wall clock does not move the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// Converts `deadlineMs` of an event, in milliseconds since the epoch ("Using the Lambda extensions API",
    /// Next). A time in the past becomes now. A time more than `at_most` away becomes `at_most` away. The
    /// latter happens if the wall clock is set after the platform reads it.
    pub fn from_epoch_ms(deadline_ms: u64, at_most: Duration, now: Now) -> Self {
        let deadline = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(deadline_ms));
        let left = deadline.and_then(|it| it.duration_since(now.wall).ok()).unwrap_or_default();
        Self(now.monotonic + left.min(at_most))
    }

    pub fn after(length: Duration, now: Instant) -> Self {
        Self(now + length)
    }

    /// An earlier deadline, which leaves `margin` for the work after it.
    pub fn earlier_by(self, margin: Duration) -> Self {
        Self(self.0.checked_sub(margin).unwrap_or(self.0))
    }

    /// The time until the deadline. Zero if it has passed.
    pub fn remaining(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    pub fn instant(self) -> Instant {
        self.0
    }
}

/// Both clocks, read at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub wall: SystemTime,
    pub monotonic: Instant,
}

impl Now {
    pub fn read() -> Self {
        Self { wall: SystemTime::now(), monotonic: Instant::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_795_431_347_484;
    const AT_MOST: Duration = Duration::from_secs(2);

    fn now() -> Now {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(NOW_MS);
        Now { wall, monotonic: Instant::now() }
    }

    #[track_caller]
    fn check(deadline_ms: u64, left_ms: u64) {
        let now = now();
        let deadline = Deadline::from_epoch_ms(deadline_ms, AT_MOST, now);
        assert_eq!(deadline.remaining(now.monotonic), Duration::from_millis(left_ms));
    }

    #[test]
    fn epoch_milliseconds_become_the_remaining_time_up_to_the_limit() {
        check(NOW_MS + 1_400, 1_400);
        check(NOW_MS, 0);
        check(NOW_MS - 1, 0);
        check(0, 0);
        check(NOW_MS + 3_600_000, 2_000);
        check(u64::MAX, 2_000);
    }

    #[test]
    fn a_margin_makes_a_deadline_earlier() {
        let now = now();
        let deadline =
            Deadline::after(AT_MOST, now.monotonic).earlier_by(Duration::from_millis(100));
        assert_eq!(deadline.remaining(now.monotonic), Duration::from_millis(1_900));
        assert_eq!(deadline.remaining(now.monotonic + AT_MOST), Duration::ZERO);
    }
}
