//! The events for which an extension can register (AWS docs "Using the Lambda Extensions API").

use std::fmt;

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EventType {
    Invoke,
    Shutdown,
}

impl EventType {
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Invoke, Self::Shutdown].into_iter().find(|it| it.name() == name)
    }

    /// The name in the Extensions API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invoke => "INVOKE",
            Self::Shutdown => "SHUTDOWN",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
