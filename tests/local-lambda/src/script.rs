//! What a test wants to be different about the platform.

use std::time::{Duration, SystemTime};

use crate::wire::Wire;

#[derive(Debug, Clone, Default)]
pub struct PlatformScript {
    pub(crate) managed_instances: bool,
    pub(crate) expected_name: Option<String>,
    pub(crate) register_answer: Option<(u16, Vec<u8>)>,
    pub(crate) wire: Wire,
    next_answers: Vec<(usize, u16, Vec<u8>)>,
    clock: Clock,
}

/// What the platform's clock shows, beside that of the processes.
#[derive(Debug, Clone, Copy, Default)]
enum Clock {
    #[default]
    Same,
    Ahead(Duration),
    Behind(Duration),
}

impl PlatformScript {
    /// Lambda Managed Instances: an extension may ask for SHUTDOWN only.
    #[must_use]
    pub fn managed_instances(mut self, managed_instances: bool) -> Self {
        self.managed_instances = managed_instances;
        self
    }

    /// The base name of the extension's file; who registers under another name is taken for an
    /// internal extension, which may not ask for SHUTDOWN.
    #[must_use]
    pub fn expected_name(mut self, name: impl Into<String>) -> Self {
        self.expected_name = Some(name.into());
        self
    }

    /// Every register is answered with this; only a 200 registers the extension.
    #[must_use]
    pub fn register_answer(mut self, status: u16, body: impl Into<Vec<u8>>) -> Self {
        self.register_answer = Some((status, body.into()));
        self
    }

    /// An extension's `nth` next (counted from 1) is answered at once with this instead of an event.
    #[must_use]
    pub fn next_answer(mut self, nth: usize, status: u16, body: impl Into<Vec<u8>>) -> Self {
        self.next_answers.push((nth, status, body.into()));
        self
    }

    /// All answers are written in this way.
    #[must_use]
    pub fn wire(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    /// Deadlines of extensions are told by a clock that is so much ahead of theirs, as if theirs was
    /// set back.
    #[must_use]
    pub fn clock_ahead(mut self, by: Duration) -> Self {
        self.clock = Clock::Ahead(by);
        self
    }

    /// As [`Self::clock_ahead`], with a clock that is behind: deadlines have passed when they are told.
    #[must_use]
    pub fn clock_behind(mut self, by: Duration) -> Self {
        self.clock = Clock::Behind(by);
        self
    }

    pub(crate) fn told(&self, deadline: SystemTime) -> SystemTime {
        match self.clock {
            Clock::Same => deadline,
            Clock::Ahead(by) => deadline + by,
            Clock::Behind(by) => deadline - by,
        }
    }

    pub(crate) fn answer_to_next(&self, nth: usize) -> Option<(u16, Vec<u8>)> {
        let found = self.next_answers.iter().find(|(number, ..)| *number == nth);
        found.map(|(_, status, body)| (*status, body.clone()))
    }
}
