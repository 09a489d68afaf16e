//! What is measured together, and how often.

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
    /// What an agent waits for a post, and posts per second
    Posts,
    /// What callers wait for and what is billed, with remotes near, far and dead
    Added,
    /// Reports delivered once, twice, never, with freezes
    Freezes,
    /// What wrappers add to the start of a runtime
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

    /// All that can be measured, in the order in which it is.
    pub fn at_each_size() -> impl Iterator<Item = (Size, Self)> {
        Size::ALL.into_iter().flat_map(|size| Self::ALL.map(|measure| (size, measure)))
    }

    /// The figures that come of it.
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

    /// Wrappers are no extensions.
    pub fn applies_to(self, contender: &Contender) -> bool {
        match self {
            Self::Wrapped => contender.wraps.is_some(),
            _ => !contender.is_wrapper(),
        }
    }

    /// Beside the one that is not counted.
    pub fn rounds(self, runs: usize) -> usize {
        match self {
            Self::Start | Self::Invocations | Self::Wrapped => runs,
            Self::Posts => runs.div_ceil(3),
            Self::Idle | Self::Added | Self::Freezes => runs.div_ceil(5),
        }
    }

    /// Measures one contender once; what does not apply to it is left out.
    ///
    /// # Errors
    ///
    /// When it fails.
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
