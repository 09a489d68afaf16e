//! CPU time, from the scheduler.

use std::ops::Sub;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    pub all: Duration,
    /// The part that the kernel used, if it is counted.
    pub kernel: Option<Duration>,
}

impl Cpu {
    /// The average of `count` equal steps.
    pub fn of_each(self, count: u32) -> Self {
        Self { all: self.all / count, kernel: self.kernel.map(|it| it / count) }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        let kernel = self.kernel.zip(before.kernel);
        Self {
            all: self.all.saturating_sub(before.all),
            kernel: kernel.map(|(after, before)| after.saturating_sub(before)),
        }
    }
}
