//! Finds the processes of an execution environment that left its group, session and parent.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use rustix::process::Pid;

use super::process_table;
use crate::variables::RUNTIME_API;

/// The Runtime API's address in the environment. Children inherit it, and usually keep it when they execute
/// another program. No other execution environment in this network namespace has it, because this one listens
/// there. In another namespace another one may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The variable in the form of `/proc/PID/environ`.
    variable: Vec<u8>,
    /// The start of the first process with it. An older process with it is unrelated, such as a shell in which
    /// a user set the variable.
    since: u64,
}

impl Mark {
    /// The mark of this process, which was started with this address, and of its descendants. `None` if our own
    /// environment has the address too, because then unrelated processes may have it.
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

    /// Whether the process has the mark. Only root can see that of another user's process.
    pub fn is_on(&self, pid: i32, started: u64) -> bool {
        started >= self.since
            && fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment.split(|byte| *byte == 0).any(|it| it == self.variable)
            })
            && is_in_our_network(pid)
    }
}

/// Whether the process has our network namespace. True if the system does not say.
fn is_in_our_network(pid: i32) -> bool {
    let network = |of: &str| fs::read_link(format!("/proc/{of}/ns/net")).ok();
    network(&pid.to_string()).zip(network("self")).is_none_or(|(its, ours)| its == ours)
}
