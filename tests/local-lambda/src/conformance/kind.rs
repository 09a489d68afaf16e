//! The kinds of scenarios, by the extensions to which they apply.

use std::fmt::{self, Display};

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Requirements of Lambda for any extension.
    Lifecycle,
    /// Requirements of agents and remotes for an extension that accepts reports and forwards them.
    Relay,
    /// Anything that code in the function may send to a relay's port. These scenarios take minutes, and run by
    /// themselves.
    Attack,
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lifecycle => "lifecycle",
            Self::Relay => "relay",
            Self::Attack => "attack",
        })
    }
}
