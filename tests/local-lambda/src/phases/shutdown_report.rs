//! The report about the processes of an environment after its shutdown.

use std::time::Duration;

use serde::Serialize;

use crate::timeline::{Role, as_ms};

/// How the processes of an environment ended.
#[derive(Debug, Clone, Serialize)]
pub struct ShutdownReport {
    pub reason: String,
    #[serde(rename = "duration_ms", serialize_with = "as_ms")]
    pub duration: Duration,
    pub processes: Vec<Ended>,
    /// Processes that are alive and have left the group in which they were forked, so that their origin is
    /// unknown. They are killed then.
    pub strays: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct Ended {
    pub process: Role,
    /// The system's text, such as `exit status: 0`.
    pub status: String,
    /// Whether it was alive at the end of its time and was killed.
    pub killed: bool,
    /// Whether it got SHUTDOWN or SIGTERM.
    pub told: bool,
    /// How many processes of its group outlived it.
    pub left_behind: usize,
}

impl ShutdownReport {
    /// The end of the extension with this name.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<&Ended> {
        let wanted = Role::Extension(name.to_owned());
        self.processes.iter().find(|ended| ended.process == wanted)
    }
}
