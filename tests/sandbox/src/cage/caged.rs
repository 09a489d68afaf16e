//! What a cage and its freezers share: the processes, and whether they run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::process::Pid;

use super::cgroup::Cgroup;
use super::freezing::{self, Freezing};
use super::{SETTLED_WITHIN, cgroups, process_table, until};
use crate::group::Group;
use crate::leftovers;

pub struct Caged {
    pub(super) freezing: Freezing,
    pub(super) memory: Option<Arc<Cgroup>>,
    pub(super) accounting: Option<Arc<Cgroup>>,
    pub(super) cgroups: Vec<Arc<Cgroup>>,
    pub(super) groups: Mutex<Vec<Weak<Group>>>,
    pub(super) state: Mutex<State>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Running,
    Frozen,
    Ended,
}

impl Caged {
    /// Lets the killed processes of this group end, also within a freeze.
    pub fn release_killed(&self, group: Pid) {
        self.freezing.release_killed(group);
    }

    pub fn admit(&self, group: &Arc<Group>) -> Result<(), String> {
        let state = self.state();
        if *state == State::Ended {
            // The cage is not dropped, so it was the interrupt.
            leftovers::wait_for_the_exit();
        }
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(group));
        for cgroup in &self.cgroups {
            move_in(group.pid(), cgroup)?;
        }
        if *state == State::Frozen { self.freezing.freeze(&self.groups()) } else { Ok(()) }
    }

    pub fn is_frozen(&self) -> bool {
        *self.state() == State::Frozen
    }

    pub fn freeze(&self) {
        let frozen =
            self.turn(State::Running, State::Frozen, || self.freezing.freeze(&self.groups()));
        if let Err(why) = frozen {
            panic!("can't freeze processes by {:?}: {why}", self.freezing.by());
        }
    }

    pub fn thaw(&self) {
        let thawed =
            self.turn(State::Frozen, State::Running, || self.freezing.thaw(&self.groups()));
        if let Err(why) = thawed {
            panic!("can't thaw processes by {:?}: {why}", self.freezing.by());
        }
    }

    fn turn(
        &self,
        from: State,
        to: State,
        act: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        let mut state = self.state();
        if *state == from {
            act()?;
            *state = to;
        }
        Ok(())
    }

    pub fn cpu_time(&self) -> Duration {
        let counted = self.accounting.as_ref().and_then(|cgroup| cgroups::cpu_time(cgroup));
        counted.unwrap_or_else(|| {
            let groups: Vec<Pid> = self.groups().iter().map(|group| group.pid()).collect();
            process_table::members(&groups).into_iter().map(process_table::cpu_time).sum()
        })
    }

    /// Killed first and thawed then, so that a frozen process never runs again.
    pub fn end(&self) {
        let mut state = self.state();
        if *state == State::Ended {
            return;
        }
        *state = State::Ended;
        let groups = self.groups();
        let empty = until(SETTLED_WITHIN, || {
            let none = freezing::kill(&groups);
            let empty = self.cgroups.iter().fold(none, |empty, cgroup| cgroup.kill() && empty);
            // Of what stays frozen, the loop's end tells.
            let _thawed = self.freezing.thaw(&groups);
            empty
        });
        if !empty {
            eprintln!("processes outlive their SIGKILL by {SETTLED_WITHIN:?}");
        }
        for cgroup in &self.cgroups {
            remove_cgroup(cgroup);
        }
    }

    /// Without those that were killed and reaped.
    fn groups(&self) -> Vec<Arc<Group>> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|group| group.upgrade().is_some_and(|group| !group.is_reaped()));
        groups.iter().filter_map(Weak::upgrade).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A state is set whole.
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

/// Repeated until there is none outside: one that is not yet moved may fork meanwhile.
fn move_in(group: Pid, cgroup: &Cgroup) -> Result<(), String> {
    let mut obstacle = None;
    let moved = until(SETTLED_WITHIN, || {
        let inside = cgroup.pids();
        let mut outside = process_table::members(&[group]);
        outside.retain(|pid| !inside.contains(pid));
        obstacle = outside.iter().find_map(|pid| cgroup.admit(*pid).err());
        outside.is_empty() || obstacle.is_some()
    });
    match obstacle {
        Some(error) => Err(format!("moving it to its cgroup: {error}")),
        None if moved => Ok(()),
        None => Err(format!("it forks faster than it is moved for {SETTLED_WITHIN:?}")),
    }
}
