//! Deviations of the platform that a test requests.

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

/// The difference between the platform's clock and that of the processes.
#[derive(Debug, Clone, Copy, Default)]
enum Clock {
    #[default]
    Same,
    Ahead(Duration),
    Behind(Duration),
}

impl PlatformScript {
    /// Lambda Managed Instances, where an extension may register for SHUTDOWN only.
    #[must_use]
    pub fn managed_instances(mut self, managed_instances: bool) -> Self {
        self.managed_instances = managed_instances;
        self
    }

    /// The base name of the extension's file. An extension that registers with another name counts as an
    /// internal one, which may not register for SHUTDOWN.
    #[must_use]
    pub fn expected_name(mut self, name: impl Into<String>) -> Self {
        self.expected_name = Some(name.into());
        self
    }

    /// Answers each registration in this way. Only a 200 registers the extension.
    #[must_use]
    pub fn register_answer(mut self, status: u16, body: impl Into<Vec<u8>>) -> Self {
        self.register_answer = Some((status, body.into()));
        self
    }

    /// Answers an extension's `nth` call of `next` (from 1) in this way at once, instead of with an event.
    #[must_use]
    pub fn next_answer(mut self, nth: usize, status: u16, body: impl Into<Vec<u8>>) -> Self {
        self.next_answers.push((nth, status, body.into()));
        self
    }

    /// Writes all answers in this way.
    #[must_use]
    pub fn wire(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    /// Extensions get deadlines from a clock that is ahead of theirs by this time, as if theirs was set back.
    #[must_use]
    pub fn clock_ahead(mut self, by: Duration) -> Self {
        self.clock = Clock::Ahead(by);
        self
    }

    /// Extensions get deadlines from a clock that is behind theirs. So the deadlines have already passed.
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
