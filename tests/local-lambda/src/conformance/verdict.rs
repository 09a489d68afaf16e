//! What came out of a scenario, with what was seen.

use std::io;
use std::panic::panic_any;

use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "seen", rename_all = "snake_case")]
pub enum Verdict {
    Held(String),
    Broke(String),
    /// The extension does nothing that the scenario is about.
    DoesNotApply(String),
    /// Something failed that is not the extension's, such as a full disk of this machine: nothing is
    /// known of the extension.
    NotPlayed(String),
}

/// The panic of a scenario that can't go on for such a reason.
pub(super) struct Obstacle(pub String);

impl Obstacle {
    /// Ends the scenario, which is not played.
    pub(super) fn not_started(error: &io::Error) -> ! {
        panic_any(Self(format!("the local Lambda does not start: {error}")))
    }

    /// The same, for what the machine lacks.
    pub(super) fn shortage(told: String) -> ! {
        panic_any(Self(told))
    }
}

impl Verdict {
    pub fn held(seen: impl Into<String>) -> Self {
        Self::Held(seen.into())
    }

    pub fn broke(seen: impl Into<String>) -> Self {
        Self::Broke(seen.into())
    }

    pub fn does_not_apply(why: impl Into<String>) -> Self {
        Self::DoesNotApply(why.into())
    }

    pub fn not_played(why: impl Into<String>) -> Self {
        Self::NotPlayed(why.into())
    }

    /// Broke by what the error says.
    #[must_use]
    pub fn judged(seen: Result<String, String>) -> Self {
        match seen {
            Ok(seen) => Self::Held(seen),
            Err(seen) => Self::Broke(seen),
        }
    }

    /// Held if `kept`, else broken by what was seen instead.
    pub fn of(kept: bool, seen: impl Into<String>) -> Self {
        if kept { Self::held(seen) } else { Self::broke(seen) }
    }

    /// Of what has to be done in time: one attempt in time tells that it can be, and a busy machine
    /// holds up some. Broke by the last of them.
    pub(super) fn of_attempts(mut attempt: impl FnMut() -> Self) -> Self {
        const ATTEMPTS: usize = 3;
        let mut verdict = attempt();
        for _ in 1..ATTEMPTS {
            if matches!(verdict, Self::Broke(_)) {
                verdict = attempt();
            }
        }
        verdict
    }
}
