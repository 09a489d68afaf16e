//! The test's current orders to the remote.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::answer::Answer;
use crate::moment::{Cut, End, Hooks};
use crate::pace::Pace;
use crate::remote::record::Received;

pub struct Script {
    rules: Mutex<Rules>,
    pub hooks: Hooks,
}

#[derive(Clone)]
pub struct Rules {
    pub answer: Arc<dyn Fn(&Received) -> Answer + Send + Sync>,
    /// Gets the number of a request.
    pub cut: Option<Arc<dyn Fn(usize) -> Option<Cut> + Send + Sync>>,
    /// The answer to a request that is cut.
    pub early_answer: Option<Arc<dyn Fn() -> Answer + Send + Sync>>,
    /// Gets the number of a connection.
    pub refusal: Option<Arc<dyn Fn(usize) -> Option<End> + Send + Sync>>,
    pub reading: Option<Pace>,
    pub keep_alive: KeepAlive,
}

/// How long a connection is kept for the next request. By default, until the client closes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepAlive {
    pub(crate) requests: Option<usize>,
    pub(crate) idle: Option<Duration>,
}

impl KeepAlive {
    /// Closes after this number of answers, without announcing it.
    #[must_use]
    pub fn requests(mut self, most: usize) -> Self {
        self.requests = Some(most);
        self
    }

    /// Closes when no byte arrived for this time since the acceptance or the last answer.
    ///
    /// # Panics
    ///
    /// When the time is zero.
    #[must_use]
    pub fn idle(mut self, longest: Duration) -> Self {
        assert!(longest > Duration::ZERO, "a connection needs a moment for its first byte");
        self.idle = Some(longest);
        self
    }
}

impl Script {
    pub fn rules(&self) -> Rules {
        self.rules.lock().expect(UNPOISONED).clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules.lock().expect(UNPOISONED));
    }
}

impl Default for Script {
    fn default() -> Self {
        let rules = Rules {
            answer: Arc::new(Answer::accepting),
            cut: None,
            early_answer: None,
            refusal: None,
            reading: None,
            keep_alive: KeepAlive::default(),
        };
        Self { rules: Mutex::new(rules), hooks: Hooks::default() }
    }
}

const UNPOISONED: &str = "rules are copied and set, never run, under the lock";
