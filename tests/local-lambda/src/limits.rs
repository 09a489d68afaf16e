//! The platform's time limits.

use std::time::Duration;

use crate::configuration::{Configuration, Initialization};
use crate::extension::Kind;

/// The limits that Lambda documents, except where a field names another source. Tests scale them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeLimits {
    /// Limit of an on-demand init, 10 s. A longer init is ended, and repeated within the first invocation (AWS
    /// docs "Lambda execution environment lifecycle").
    pub init: Duration,
    /// Limit of the restore from a snapshot, 10 s (AWS docs "Lambda execution environment lifecycle").
    pub restore: Duration,
    /// Limit of a shutdown with an external extension, 2 s (AWS docs "Lambda execution environment lifecycle").
    pub shutdown: Duration,
    /// Limit of a shutdown with internal extensions only, 500 ms (same page).
    pub internal_shutdown: Duration,
    /// The runtime's part of a shutdown with an external extension: 300 ms as documented. Then the runtime is
    /// killed, and extensions get SHUTDOWN. AWS's daemon allows 600 ms (`runtimeDeadlineShare` in the
    /// emulator).
    pub runtime_shutdown: Duration,
}

/// The time limits of one shutdown.
#[derive(Debug, Clone, Copy)]
pub struct ShutdownBudget {
    pub whole: Duration,
    /// The runtime's part, after which it is killed. With no time, it is killed at once and gets no signal.
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

    /// Multiplies all limits by this factor.
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

    /// The limits of a shutdown with extensions of these kinds. Internal extensions end with the runtime. So
    /// without external ones, the runtime has all of the time (AWS docs "Using the Lambda Extensions API").
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

    /// The limit of an init. One on demand has the shorter limit. One that no invocation waits for has 130 s,
    /// or the function's timeout if that is longer.
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
