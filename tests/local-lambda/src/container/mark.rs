//! Finds the processes of an execution environment that left its group, session and parent.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use rustix::process::Pid;

use super::process_table;
use crate::variables::RUNTIME_API;

/// The Runtime API's address in the environment, which forks hand on, and execs as a rule. No other
/// execution environment has it: this one listens there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// As `/proc/PID/environ` holds it.
    variable: Vec<u8>,
    /// When the first process with it was started. An older process is a stranger's, such as a shell
    /// in which somebody set the variable.
    since: u64,
}

impl Mark {
    /// Of what descends from this process, which was started with this address. `None` where the
    /// own environment has it as well, and with it who knows who else.
    pub fn of(leader: Pid, runtime_api: &OsStr) -> Option<Self> {
        if env::var_os(RUNTIME_API).is_some_and(|own| own == runtime_api) {
            return None;
        }
        let variable = [RUNTIME_API.as_bytes(), b"=", runtime_api.as_bytes()].concat();
        Some(Self { variable, since: process_table::started(leader)? })
    }

    pub fn is_later_than(&self, other: &Self) -> bool {
        self.variable == other.variable && self.since >= other.since
    }

    /// Whether the process has it; one of another user shows nothing but to root.
    pub fn is_on(&self, pid: i32, started: u64) -> bool {
        started >= self.since
            && fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment.split(|byte| *byte == 0).any(|it| it == self.variable)
            })
    }
}
