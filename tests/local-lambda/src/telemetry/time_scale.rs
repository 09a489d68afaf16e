//! How fast the waits of the platform go by, so that tests need not sit them out.

use std::time::Duration;

/// Deadlines of what others do are not scaled: they are as slow as ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeScale(u32);

impl TimeScale {
    /// As on Lambda.
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
