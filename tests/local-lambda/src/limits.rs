//! The platform's time limits.

use std::time::Duration;

use crate::configuration::{Configuration, Initialization};
use crate::extension::Kind;

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
    /// What of a shutdown with an external extension the runtime may use before it is killed and
    /// extensions hear of it: 300 ms as documented; AWS's daemon allows 600 ms
    /// (`runtimeDeadlineShare` in the emulator).
    pub runtime_shutdown: Duration,
}

/// How long one shutdown may take.
#[derive(Debug, Clone, Copy)]
pub struct ShutdownBudget {
    pub whole: Duration,
    /// The runtime's share, at the end of which it is killed. Without time it is killed at once,
    /// and learns of nothing.
    pub runtime: Duration,
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

    /// Of a shutdown with extensions of these kinds. Internal ones end with the runtime, so it has
    /// all of the time when there are no others (AWS docs "Using the Lambda Extensions API").
    pub(crate) fn of_shutdown(&self, kinds: &[Kind]) -> ShutdownBudget {
        let (whole, runtime) = if kinds.contains(&Kind::External) {
            (self.shutdown, self.runtime_shutdown.min(self.shutdown))
        } else if kinds.contains(&Kind::Internal) {
            (self.internal_shutdown, self.internal_shutdown)
        } else {
            (Duration::ZERO, Duration::ZERO)
        };
        ShutdownBudget { whole, runtime }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_has_all_of_a_shutdown_that_no_external_extension_waits_for() {
        let ms = |kinds: &[Kind]| {
            let budget = TimeLimits::LAMBDA.of_shutdown(kinds);
            (budget.whole.as_millis(), budget.runtime.as_millis())
        };
        assert_eq!(ms(&[]), (0, 0));
        assert_eq!(ms(&[Kind::Internal]), (500, 500));
        assert_eq!(ms(&[Kind::Internal, Kind::External]), (2000, 300));
    }
}
