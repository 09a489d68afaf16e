//! What holds all processes of one sandbox: they are frozen, limited, counted and ended together.

mod cgroup;
mod cgroups;
mod freezing;
mod hierarchy;
mod limits;
mod process_table;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::process::Pid;

pub use self::limits::{CpuShare, Limits};

use self::cgroup::Cgroup;
use self::cgroups::Cgroups;
use self::freezing::Freezing;
use self::hierarchy::Hierarchies;
use crate::group::Group;
use crate::leftovers::{self, Entry, Kind, Remove};
use crate::process::Process;
use crate::watch::Watch;

/// How long processes may take to freeze, to move to a cgroup or to end; it takes milliseconds
/// where the machine is not overloaded.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// How often that is looked at: v1 tells no change, and v2 holds the next one back for 10 ms.
const LOOK_EACH: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezeBy {
    /// What Lambda does, as far as its processes can tell.
    CgroupV2,
    CgroupV1,
    /// SIGSTOP to each process group, and SIGCONT, which a process can handle.
    Signals,
}

/// Dropped, it kills what it holds and leaves no cgroup behind.
pub struct Cage {
    caged: Arc<Caged>,
    notes: Vec<String>,
    _entry: Entry,
}

/// Freezes a cage at a moment that somebody else chooses, such as a thread of a remote.
#[derive(Clone)]
pub struct Freezer {
    caged: Arc<Caged>,
}

impl Cage {
    /// Freezes in the first of the three ways that can be had. What can't be had the notes tell.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::below(&Hierarchies::of_this_process(), limits, None)
    }

    /// Freezes this way, or by signals where it can't be had.
    #[must_use]
    pub fn freezing_by(by: FreezeBy, limits: Limits) -> Self {
        Self::below(&Hierarchies::of_this_process(), limits, Some(by))
    }

    fn below(hierarchies: &Hierarchies, limits: Limits, by: Option<FreezeBy>) -> Self {
        let make = || {
            let mut cgroups = Cgroups::below(hierarchies);
            let caged = Arc::new(Caged {
                freezing: cgroups.freezing(by),
                memory: {
                    cgroups.limit_cpu(limits);
                    cgroups.limit_memory(limits)
                },
                accounting: cgroups.accounting(),
                cgroups: cgroups.made(),
                groups: Mutex::default(),
                state: Mutex::new(State::Running),
            });
            let remove = remove(Arc::downgrade(&caged));
            Ok::<_, Infallible>(((caged, cgroups.notes), remove))
        };
        match leftovers::enter(Kind::Cage, make) {
            Ok(((caged, notes), entry)) => Self { caged, notes, _entry: entry },
            Err(never) => match never {},
        }
    }

    /// What can't be had here, why, and what is used instead: a line for each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    #[must_use]
    pub fn freezes_by(&self) -> FreezeBy {
        self.caged.freezing.by()
    }

    #[must_use]
    pub fn freezer(&self) -> Freezer {
        Freezer { caged: Arc::clone(&self.caged) }
    }

    /// Holds the process and all that it has forked or will; if the cage is frozen, they are when
    /// this returns. Memory that it has allocated before is not counted by cgroup v1.
    ///
    /// # Panics
    ///
    /// When it is held already.
    pub fn admit(&self, process: &Process) {
        let held = process.group().enter(Arc::downgrade(&self.caged));
        assert!(held, "process {} is in a cage already", process.pid());
        if let Err(why) = self.caged.admit(process.group()) {
            panic!("can't hold process {}: {why}", process.pid());
        }
    }

    /// Returns when every process is frozen; they use no CPU until [`Self::thaw`].
    pub fn freeze(&self) {
        self.caged.freeze();
    }

    /// By signals, processes that were stopped before run as well.
    pub fn thaw(&self) {
        self.caged.thaw();
    }

    #[must_use]
    pub fn is_frozen(&self) -> bool {
        *self.caged.state() == State::Frozen
    }

    /// Of all processes since they are held, as the scheduler counts it.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        self.caged.cpu_time()
    }

    /// `None` where memory is not limited.
    #[must_use]
    pub fn memory_peak_bytes(&self) -> Option<u64> {
        cgroups::memory_peak_bytes(self.caged.memory.as_ref()?)
    }

    /// How many processes the kernel killed at the limit; `None` where memory is not limited.
    #[must_use]
    pub fn out_of_memory_kills(&self) -> Option<u64> {
        cgroups::out_of_memory_kills(self.caged.memory.as_ref()?)
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        self.caged.end();
    }
}

impl Freezer {
    /// As [`Cage::freeze`]; nothing happens when the cage is gone.
    pub fn freeze(&self) {
        self.caged.freeze();
    }

    pub fn thaw(&self) {
        self.caged.thaw();
    }

    #[must_use]
    pub fn is_frozen(&self) -> bool {
        *self.caged.state() == State::Frozen
    }
}

pub struct Caged {
    freezing: Freezing,
    memory: Option<Arc<Cgroup>>,
    accounting: Option<Arc<Cgroup>>,
    cgroups: Vec<Arc<Cgroup>>,
    groups: Mutex<Vec<Weak<Group>>>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Frozen,
    Ended,
}

impl Caged {
    /// Lets the killed processes of this group end, also within a freeze.
    pub fn release_killed(&self, group: Pid) {
        self.freezing.release_killed(group);
    }

    fn admit(&self, group: &Arc<Group>) -> Result<(), String> {
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

    fn freeze(&self) {
        let frozen =
            self.turn(State::Running, State::Frozen, || self.freezing.freeze(&self.groups()));
        if let Err(why) = frozen {
            panic!("can't freeze processes by {:?}: {why}", self.freezing.by());
        }
    }

    fn thaw(&self) {
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

    fn cpu_time(&self) -> Duration {
        let counted = self.accounting.as_ref().and_then(|cgroup| cgroups::cpu_time(cgroup));
        counted.unwrap_or_else(|| {
            let groups: Vec<Pid> = self.groups().iter().map(|group| group.pid()).collect();
            process_table::members(&groups).into_iter().map(process_table::cpu_time).sum()
        })
    }

    /// Killed first and thawed then, so that a frozen process never runs again.
    fn end(&self) {
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

fn remove(caged: Weak<Caged>) -> Remove {
    Box::new(move || {
        if let Some(caged) = caged.upgrade() {
            caged.end();
        }
    })
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

/// Gives `false` when the time is over.
fn until(within: Duration, mut settled: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    let clock = Watch::<()>::default();
    while !settled() {
        if Instant::now() >= deadline {
            return false;
        }
        clock.wait(LOOK_EACH, |()| None::<()>);
    }
    true
}
