//! The platform's time limits.

use std::time::Duration;

use crate::configuration::{Configuration, Initialization};

/// Each as documented for Lambda unless it is said otherwise; tests scale them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeLimits {
    /// Of an on-demand init, 10 s. One that takes longer is ended, and repeated within the first
    /// invocation (AWS docs "Lambda execution environment lifecycle").
    pub init: Duration,
    /// Of the restore from a snapshot, 10 s (AWS docs "Lambda execution environment lifecycle").
    pub restore: Duration,
    /// Of a shutdown with an external extension, 2 s; the same page.
    pub shutdown: Duration,
    /// Of a shutdown with internal extensions only, 500 ms.
    pub internal_shutdown: Duration,
    /// What of a shutdown the runtime may use before it is killed and extensions hear of it: 300 ms
    /// as documented; AWS's daemon allows 600 ms (`runtimeDeadlineShare` in the emulator).
    pub runtime_shutdown: Duration,
}

impl TimeLimits {
    pub const LAMBDA: Self = Self {
        init: Duration::from_secs(10),
        restore: Duration::from_secs(10),
        shutdown: Duration::from_secs(2),
        internal_shutdown: Duration::from_millis(500),
        runtime_shutdown: Duration::from_millis(300),
    };

    /// Shorter with a factor below 1.
    ///
    /// # Panics
    ///
    /// When the factor is negative or not finite.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self {
            init: self.init.mul_f64(factor),
            restore: self.restore.mul_f64(factor),
            shutdown: self.shutdown.mul_f64(factor),
            internal_shutdown: self.internal_shutdown.mul_f64(factor),
            runtime_shutdown: self.runtime_shutdown.mul_f64(factor),
        }
    }

    /// Of an init that nobody waits for, 130 s or the function's timeout if that is longer; of one
    /// on demand, less.
    pub(crate) fn of_init(&self, configuration: &Configuration) -> Duration {
        match configuration.initialization {
            Initialization::OnDemand => self.init,
            _ => (self.init * 13).max(configuration.timeout),
        }
    }
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self::LAMBDA
    }
}
