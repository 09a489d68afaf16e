//! Scales the waits of the platform, so that tests take less time.

use std::time::Duration;

/// A divisor of waits. Time limits of other programs are not scaled, because those run at their usual speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeScale(u32);

impl TimeScale {
    /// The times on Lambda.
    pub const REAL: Self = Self(1);

    /// # Panics
    ///
    /// When `times` is 0.
    pub fn times_faster(times: u32) -> Self {
        assert!(times > 0, "0 times as fast is for ever");
        Self(times)
    }

    pub fn of(self, wait: Duration) -> Duration {
        wait / self.0
    }
}
