//! The part of the machine that an extension may use.

use local_lambda::{Limits, Setup};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Size {
    /// The whole machine
    Full,
    /// The smallest function's part: 7 % of a CPU, and its memory
    #[value(name = "128")]
    Small,
}

/// The smallest memory size on Lambda ("Configure Lambda function memory"). All extensions get this size in
/// their environment.
const MEMORY_MB: u32 = 128;

impl Size {
    pub const ALL: [Self; 2] = [Self::Full, Self::Small];

    pub fn limits(self) -> Limits {
        match self {
            Self::Full => Limits::default(),
            Self::Small => Limits::of_memory_mb(MEMORY_MB),
        }
    }

    pub fn of(self, setup: Setup) -> Setup {
        let setup = setup.memory_mb(MEMORY_MB);
        match self {
            Self::Full => setup,
            Self::Small => setup.confined(),
        }
    }

    /// The name in JSON and in budgets.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Small => "128",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Full => "at full speed",
            Self::Small => "as a function of 128 MB, with 7 % of a CPU",
        }
    }
}
