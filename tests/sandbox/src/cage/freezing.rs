//! The three ways to freeze.

use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};

use super::cgroup::Cgroup;
use super::process_table;
use super::{FreezeBy, SETTLED_WITHIN, until};
use crate::group::Group;

pub enum Freezing {
    V2(Arc<Cgroup>),
    V1(Arc<Cgroup>),
    Signals,
}

impl Freezing {
    pub fn by(&self) -> FreezeBy {
        match self {
            Self::V2(_) => FreezeBy::CgroupV2,
            Self::V1(_) => FreezeBy::CgroupV1,
            Self::Signals => FreezeBy::Signals,
        }
    }

    /// Returns when all are frozen.
    pub fn freeze(&self, groups: &[Arc<Group>]) -> Result<(), String> {
        let frozen = match self {
            Self::V2(cgroup) => {
                cgroup.write("cgroup.freeze", "1")?;
                until(SETTLED_WITHIN, || cgroup.keyed_number("cgroup.events", "frozen") == Some(1))
            }
            Self::V1(cgroup) => {
                cgroup.write("freezer.state", "FROZEN")?;
                let is_frozen = || cgroup.read("freezer.state").is_ok_and(|it| it == "FROZEN\n");
                until(SETTLED_WITHIN, is_frozen)
            }
            Self::Signals => until(SETTLED_WITHIN, || stop(groups)),
        };
        if frozen { Ok(()) } else { Err(format!("some still run after {SETTLED_WITHIN:?}")) }
    }

    pub fn thaw(&self, groups: &[Arc<Group>]) -> Result<(), String> {
        match self {
            Self::V2(cgroup) => cgroup.write("cgroup.freeze", "0"),
            Self::V1(cgroup) => cgroup.write("freezer.state", "THAWED"),
            Self::Signals => {
                signal(groups, &strays(groups), Signal::CONT);
                Ok(())
            }
        }
    }

    /// Lets a killed process of this group end: a process that v1 froze can't. No other one runs.
    pub fn release_killed(&self, group: Pid) {
        if let Self::V1(cgroup) = self {
            let held = cgroup.pids();
            let killed = process_table::of_group(group).filter(|pid| held.contains(pid));
            for pid in killed {
                // Of what can't be released, the wait for its end tells.
                let _released = cgroup.release(pid);
            }
        }
    }
}

/// Kills what is in these groups and what left them, stopped or not, and tells whether that is
/// nothing.
pub fn kill(groups: &[Arc<Group>]) -> bool {
    signal(groups, &strays(groups), Signal::KILL);
    process_table::members(&pids(groups)).is_empty()
}

/// Tells whether all are stopped. The signals reach a group at once, so that it can't outrun them
/// by forking.
fn stop(groups: &[Arc<Group>]) -> bool {
    let running = |groups: &[Arc<Group>]| {
        let members = process_table::members(&pids(groups));
        members.into_iter().filter(|pid| !process_table::is_stopped(*pid)).collect::<Vec<_>>()
    };
    let before = running(groups);
    if before.is_empty() {
        return true;
    }
    signal(groups, &before, Signal::STOP);
    running(groups).is_empty()
}

fn signal(groups: &[Arc<Group>], strays: &[Pid], signal: Signal) {
    for group in groups {
        group.signal(signal);
    }
    for pid in strays {
        let _ended_meanwhile = kill_process(*pid, signal);
    }
}

/// Descendants that left their group.
fn strays(groups: &[Arc<Group>]) -> Vec<Pid> {
    let mut members = process_table::members(&pids(groups));
    for group in groups {
        let inside: Vec<Pid> = process_table::of_group(group.pid()).collect();
        members.retain(|pid| !inside.contains(pid));
    }
    members
}

fn pids(groups: &[Arc<Group>]) -> Vec<Pid> {
    groups.iter().map(|group| group.pid()).collect()
}
