//! What came out of a scenario, with what was seen.

use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "seen", rename_all = "snake_case")]
pub enum Verdict {
    Held(String),
    Broke(String),
    /// The extension does nothing that the scenario is about.
    DoesNotApply(String),
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
}
