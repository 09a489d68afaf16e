//! The processes in a container: groups, and processes that left them.

use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};

use super::mark::Mark;
use super::{SETTLED_WITHIN, process_table, until};
use crate::process_group::ProcessGroup;

/// How many times in a row no process must be found. One reading of the table may miss a process that is
/// executing a program just then and shows no environment, or one with a pid below its parent's.
const LOOKS: usize = 2;

pub struct Held {
    pub groups: Vec<Arc<ProcessGroup>>,
    pub marks: Vec<Mark>,
}

impl Held {
    pub fn members(&self) -> Vec<Pid> {
        let groups: Vec<Pid> = self.groups.iter().map(|group| group.pid()).collect();
        process_table::members(&groups, &self.marks)
    }

    /// The processes that left their group, or whose group no longer exists.
    pub fn strays(&self) -> Vec<Pid> {
        let mut members = self.members();
        for group in &self.groups {
            let inside: Vec<Pid> = process_table::of_group(group.pid()).collect();
            members.retain(|pid| !inside.contains(pid));
        }
        members
    }

    pub fn is_in_a_group(&self, pid: Pid) -> bool {
        self.groups.iter().any(|group| process_table::of_group(group.pid()).any(|it| it == pid))
    }

    /// Returns when all processes are stopped. `false` if they are not within [`SETTLED_WITHIN`]. A signal
    /// reaches a whole group at once, so the group cannot escape it by forking.
    pub fn stop(&self) -> bool {
        let is_running = |pid: &Pid| !process_table::is_stopped(*pid);
        until_quiet(|| {
            let running: Vec<Pid> = self.members().into_iter().filter(is_running).collect();
            if !running.is_empty() {
                self.signal_with(&running, Signal::STOP);
            }
            running.is_empty()
        })
    }

    pub fn resume(&self) {
        self.signal_with(&self.strays(), Signal::CONT);
    }

    /// Kills all processes, stopped or not. Returns whether there were none.
    pub fn kill(&self) -> bool {
        self.signal_with(&self.strays(), Signal::KILL);
        self.members().is_empty()
    }

    fn signal_with(&self, others: &[Pid], signal: Signal) {
        for group in &self.groups {
            group.signal(signal);
        }
        for pid in others {
            let _ended_meanwhile = kill_process(*pid, signal);
        }
    }
}

/// Repeats `is_quiet` until it was true [`LOOKS`] times in a row. `false` when [`SETTLED_WITHIN`] is over.
pub fn until_quiet(mut is_quiet: impl FnMut() -> bool) -> bool {
    let mut quiet = 0;
    until(SETTLED_WITHIN, || {
        quiet = if is_quiet() { quiet + 1 } else { 0 };
        quiet == LOOKS
    })
}
