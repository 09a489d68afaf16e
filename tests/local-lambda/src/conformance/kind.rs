//! Which extensions a scenario is for.

use std::fmt::{self, Display};

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What Lambda asks of any.
    Lifecycle,
    /// What agents and remotes ask of one that takes reports and delivers them.
    Relay,
    /// What a relay's port has to bear from anybody in the function. They take minutes, and are
    /// played by themselves.
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
