//! The verdict of a scenario, with its observations.

use std::io;
use std::panic::panic_any;

use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "seen", rename_all = "snake_case")]
pub enum Verdict {
    Held(String),
    Broke(String),
    /// The extension lacks the feature that the scenario tests.
    DoesNotApply(String),
    /// Something other than the extension failed, such as a full disk of this machine. So nothing is known of
    /// the extension.
    NotPlayed(String),
}

/// The panic of a scenario that cannot continue for such a reason.
pub(super) struct Obstacle(pub String);

impl Obstacle {
    /// Ends the scenario as not run.
    pub(super) fn not_started(error: &io::Error) -> ! {
        panic_any(Self(format!("the local Lambda does not start: {error}")))
    }

    /// Ends the scenario as not run, because the machine lacks something.
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

    /// Held with the observations, or broken with the error.
    #[must_use]
    pub fn judged(seen: Result<String, String>) -> Self {
        match seen {
            Ok(seen) => Self::Held(seen),
            Err(seen) => Self::Broke(seen),
        }
    }

    /// Held if `kept`, else broken. Both with the observations.
    pub fn of(kept: bool, seen: impl Into<String>) -> Self {
        if kept { Self::held(seen) } else { Self::broke(seen) }
    }

    /// For a step that must be done in time. One attempt in time is enough, because a busy machine delays some.
    /// If none is, the verdict is that of the last one.
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
