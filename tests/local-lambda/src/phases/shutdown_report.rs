//! What became of the processes of an environment, for who shut it down.

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
    /// Processes that still live and left the group they were forked in: whose they are, nobody can
    /// tell any more. They are killed then.
    pub strays: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct Ended {
    pub process: Role,
    /// As the system tells it, such as `exit status: 0`.
    pub status: String,
    /// It was still there when its time was over.
    pub killed: bool,
    /// It was told, by SHUTDOWN or SIGTERM.
    pub told: bool,
    /// Processes of its group that outlived its own end.
    pub left_behind: usize,
}

impl ShutdownReport {
    /// How the extension of this name ended.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<&Ended> {
        let wanted = Role::Extension(name.to_owned());
        self.processes.iter().find(|ended| ended.process == wanted)
    }
}
