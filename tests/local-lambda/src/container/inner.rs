//! The part of a container that its groups and an interrupt share: the processes and their state.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::cgroup::Cgroup;
use super::freezing::Freezing;
use super::held::{Held, until_quiet};
use super::mark::Mark;
use super::{SETTLED_WITHIN, cgroups, process_table, until};
use crate::leftovers;
use crate::process_group::ProcessGroup;

pub struct Inner {
    pub(super) freezing: Freezing,
    pub(super) memory: Option<Arc<Cgroup>>,
    pub(super) accounting: Option<Arc<Cgroup>>,
    pub(super) cgroups: Vec<Arc<Cgroup>>,
    pub(super) groups: Mutex<Vec<Weak<ProcessGroup>>>,
    /// The marks stay when their groups are gone, because processes that left the groups may still live.
    pub(super) marks: Mutex<Vec<Mark>>,
    pub(super) state: Mutex<State>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Running,
    Frozen,
    Ended,
}

impl Inner {
    /// Lets the killed processes of this group end, also in a freeze.
    pub fn release_killed(&self, group: Pid) {
        self.freezing.release_killed(group);
    }

    pub fn admit(&self, group: &Arc<ProcessGroup>) -> Result<(), String> {
        let state = self.state();
        if *state == State::Ended {
            // Only an interrupt does this while the container is not dropped.
            leftovers::wait_for_the_exit();
        }
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(group));
        self.remember(group.mark().cloned());
        move_in(&self.held(), &self.cgroups)?;
        if *state == State::Frozen { self.freezing.freeze(&self.held()) } else { Ok(()) }
    }

    pub fn is_frozen(&self) -> bool {
        *self.state() == State::Frozen
    }

    pub fn freeze(&self) -> bool {
        self.turn(State::Running, State::Frozen, || self.freezing.freeze(&self.held()))
    }

    pub fn thaw(&self) -> bool {
        self.turn(State::Frozen, State::Running, || self.freezing.thaw(&self.held()))
    }

    /// Changes the state by `act`. Returns whether this call changed it.
    fn turn(&self, from: State, to: State, act: impl FnOnce() -> Result<(), String>) -> bool {
        let mut state = self.state();
        let turns = *state == from;
        if turns {
            let by = self.freezing.by();
            act().unwrap_or_else(|why| panic!("can't freeze or thaw processes by {by:?}: {why}"));
            *state = to;
        }
        turns
    }

    pub fn cpu_time(&self) -> Duration {
        let counted = self.accounting.as_ref().and_then(|cgroup| cgroups::cpu_time(cgroup));
        counted
            .unwrap_or_else(|| self.held().members().into_iter().map(process_table::cpu_time).sum())
    }

    /// Kills first and thaws then, so that a frozen process never runs again.
    pub fn end(&self) {
        let mut state = self.state();
        if *state == State::Ended {
            return;
        }
        *state = State::Ended;
        let held = self.held();
        let empty = until_quiet(|| {
            let none = held.kill();
            let empty = self.cgroups.iter().fold(none, |empty, cgroup| cgroup.kill() && empty);
            // If a process stays frozen, the end of this loop reports that.
            let _thawed = self.freezing.thaw(&held);
            empty
        });
        if !empty {
            eprintln!("processes outlive their SIGKILL by {SETTLED_WITHIN:?}");
        }
        for cgroup in &self.cgroups {
            remove_cgroup(cgroup);
        }
    }

    /// All live processes of the container.
    pub fn members(&self) -> Vec<Pid> {
        let mut members = self.held().members();
        for pid in self.cgroups.iter().flat_map(|cgroup| cgroup.pids()) {
            if !members.contains(&pid) {
                members.push(pid);
            }
        }
        members
    }

    /// The live processes that left their groups, or whose groups are gone.
    pub fn strays(&self) -> Vec<Pid> {
        let held = self.held();
        let mut strays = held.strays();
        // For a process in a cgroup, neither parent nor mark matters.
        for pid in self.cgroups.iter().flat_map(|cgroup| cgroup.pids()) {
            if !strays.contains(&pid) && !held.is_in_a_group(pid) {
                strays.push(pid);
            }
        }
        strays
    }

    pub fn kill_strays(&self) {
        let none = until_quiet(|| {
            let strays = self.strays();
            for pid in &strays {
                let _ended_meanwhile = kill_process(*pid, Signal::KILL);
            }
            strays.is_empty()
        });
        if !none {
            eprintln!("processes outlive their SIGKILL by {SETTLED_WITHIN:?}");
        }
    }

    /// The processes, without groups that were killed and reaped.
    fn held(&self) -> Held {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|group| group.upgrade().is_some_and(|group| !group.is_reaped()));
        let groups = groups.iter().filter_map(Weak::upgrade).collect();
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Held { groups, marks }
    }

    fn remember(&self, mark: Option<Mark>) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(new) = mark.filter(|new| !marks.iter().any(|it| new.is_later_than(it))) {
            marks.push(new);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the state is a single assignment, so it is whole even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove_cgroup(cgroup: &Cgroup) {
    let mut removed = cgroup.remove();
    until(SETTLED_WITHIN, || {
        if removed.is_err() {
            removed = cgroup.remove();
        }
        removed.is_ok()
    });
    if let Err(error) = removed {
        eprintln!("can't remove a cgroup: {error}");
    }
}

/// Repeats until no process is outside, because a process that is not moved yet may fork.
fn move_in(held: &Held, cgroups: &[Arc<Cgroup>]) -> Result<(), String> {
    if cgroups.is_empty() {
        return Ok(());
    }
    let mut obstacle = None;
    let moved = until_quiet(|| {
        let members = held.members();
        let outside: Vec<(&Cgroup, Pid)> =
            cgroups.iter().flat_map(|cgroup| outside(cgroup, &members)).collect();
        obstacle = outside.iter().find_map(|(cgroup, pid)| cgroup.admit(*pid).err());
        outside.is_empty() || obstacle.is_some()
    });
    match obstacle {
        Some(error) => Err(format!("moving it to its cgroup: {error}")),
        None if moved => Ok(()),
        None => Err(format!("it forks faster than it is moved for {SETTLED_WITHIN:?}")),
    }
}

fn outside<'a>(cgroup: &'a Cgroup, members: &[Pid]) -> Vec<(&'a Cgroup, Pid)> {
    let inside = cgroup.pids();
    members.iter().filter(|pid| !inside.contains(pid)).map(|pid| (cgroup, *pid)).collect()
}
