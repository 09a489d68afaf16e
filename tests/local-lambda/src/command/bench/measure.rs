//! The measures: groups of figures that are measured together, and their number of rounds.

use std::io;

use super::contender::Contender;
use super::figure::{self, Group};
use super::samples::Samples;
use super::size::Size;
use super::{added, freezes, idle, invocations, posts, start, wrapped};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Measure {
    /// From exec to register and first next
    Start,
    /// Memory, threads, descriptors and wake-ups while nothing happens; system calls of the start
    Idle,
    /// CPU time and wake-ups of an invocation, memory after 1,000
    Invocations,
    /// How long an agent waits for the answer to a post, and posts per second
    Posts,
    /// How long callers wait and what is billed, with remotes near, far and dead
    Added,
    /// Reports that arrive once, twice or never, with freezes
    Freezes,
    /// The time that wrappers add to the start of a runtime
    Wrapped,
}

impl Measure {
    pub const ALL: [Self; 7] = [
        Self::Start,
        Self::Idle,
        Self::Invocations,
        Self::Posts,
        Self::Added,
        Self::Freezes,
        Self::Wrapped,
    ];

    /// All sizes and measures, in the order of measuring.
    pub fn at_each_size() -> impl Iterator<Item = (Size, Self)> {
        Size::ALL.into_iter().flat_map(|size| Self::ALL.map(|measure| (size, measure)))
    }

    /// The figures of this measure.
    pub fn group(self) -> &'static Group {
        match self {
            Self::Start => &figure::START,
            Self::Idle => &figure::IDLE,
            Self::Invocations => &figure::INVOCATIONS,
            Self::Posts => &figure::POSTS,
            Self::Added => &figure::ADDED,
            Self::Freezes => &figure::FREEZES,
            Self::Wrapped => &figure::WRAPPED,
        }
    }

    /// Whether the measure applies to this contender. Wrappers are no extensions.
    pub fn applies_to(self, contender: &Contender) -> bool {
        match self {
            Self::Wrapped => contender.wraps.is_some(),
            _ => !contender.is_wrapper(),
        }
    }

    /// The number of counted rounds.
    pub fn rounds(self, runs: usize) -> usize {
        match self {
            Self::Start | Self::Invocations | Self::Wrapped => runs,
            Self::Posts => runs.div_ceil(3),
            Self::Idle | Self::Added | Self::Freezes => runs.div_ceil(5),
        }
    }

    /// Measures one contender once. Figures that do not apply are absent.
    ///
    /// # Errors
    ///
    /// When the measurement fails.
    pub fn once(self, contender: &Contender, size: Size) -> io::Result<Samples> {
        match self {
            Self::Start => start::measure(contender, size),
            Self::Idle => idle::measure(contender, size),
            Self::Invocations => invocations::measure(contender, size),
            Self::Posts => posts::measure(contender, size),
            Self::Added => added::measure(contender, size),
            Self::Freezes => freezes::measure(contender, size),
            Self::Wrapped => wrapped::measure(contender, size),
        }
    }
}
