//! All processes of one execution environment: frozen, limited, counted and ended together.

mod inner;
mod cgroup;
mod cgroups;
mod freezing;
mod held;
mod hierarchy;
mod inherited;
mod limits;
mod mark;
pub(crate) mod process_table;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

pub(crate) use self::inner::Inner;
pub use self::limits::{CpuShare, Limits};
pub(crate) use self::mark::Mark;

use self::cgroups::Cgroups;
use self::hierarchy::Hierarchies;
use crate::leftovers::{self, Entry, Kind, Remove};
use crate::process::Process;
use crate::watch::Watch;

/// Time limit for processes to freeze, to move to a cgroup or to end. Without overload they take milliseconds.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// When a process ends because of another one, it ends within this time.
pub(crate) const FOLLOWS_WITHIN: Duration = Duration::from_millis(300);

/// How often to check the cgroup's state. cgroup v1 reports no change, and v2 delays the second report by 10
/// ms.
const LOOK_EACH: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezeBy {
    /// The freezer of cgroup v2. To the processes it looks as Lambda's freeze does.
    CgroupV2,
    CgroupV1,
    /// SIGSTOP to each process group, and SIGCONT, which a process can handle.
    Signals,
}

/// Its drop kills its processes and removes its cgroup.
pub struct Container {
    inner: Arc<Inner>,
    notes: Vec<String>,
    _entry: Entry,
}

impl Container {
    /// Freezes in the first of the three ways that works here. The notes name those that do not work.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::below(&Hierarchies::of_this_process(), limits, None)
    }

    /// Freezes in this way, or by signals if this way does not work here.
    #[must_use]
    pub fn freezing_by(by: FreezeBy, limits: Limits) -> Self {
        Self::below(&Hierarchies::of_this_process(), limits, Some(by))
    }

    fn below(hierarchies: &Hierarchies, limits: Limits, by: Option<FreezeBy>) -> Self {
        inherited::remove_once(hierarchies);
        let make = || {
            let mut cgroups = Cgroups::below(hierarchies);
            let inner = Arc::new(Inner {
                freezing: cgroups.freezing(by),
                memory: {
                    cgroups.limit_cpu(limits);
                    cgroups.limit_memory(limits)
                },
                accounting: cgroups.accounting(),
                cgroups: cgroups.made(),
                groups: Mutex::default(),
                marks: Mutex::default(),
                state: Mutex::default(),
            });
            let remove = remove(Arc::downgrade(&inner));
            Ok::<_, Infallible>(((inner, cgroups.notes), remove))
        };
        match leftovers::enter(Kind::Container, make) {
            Ok(((inner, notes), entry)) => Self { inner, notes, _entry: entry },
            Err(never) => match never {},
        }
    }

    /// A line for each missing feature: why it is missing, and its replacement.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    #[must_use]
    pub fn freezes_by(&self) -> FreezeBy {
        self.inner.freezing.by()
    }

    /// Adds the process, its children and all their later children. In a frozen container they are frozen when
    /// this returns. cgroup v1 does not count memory that was allocated before.
    ///
    /// Other processes of the environment have its address as `AWS_LAMBDA_RUNTIME_API`. The container finds
    /// earlier children by that value, and any process that left its group, session and parent. It also takes
    /// any other process that was started with that value. A process without the variable escapes if it leaves
    /// within the millisecond before it is in a cgroup. Where signals freeze, it escapes whenever it leaves.
    ///
    /// # Panics
    ///
    /// When the container already has the process.
    pub fn admit(&self, process: &Process) {
        let held = process.group().enter(Arc::downgrade(&self.inner));
        assert!(held, "process {} is in a container already", process.pid());
        if let Err(why) = self.inner.admit(process.group()) {
            panic!("can't hold process {}: {why}", process.pid());
        }
    }

    /// Returns when every process is frozen. They use no CPU until [`Self::thaw`]. `false` if they were frozen
    /// already, or the container has ended.
    #[expect(clippy::must_use_candidate, reason = "a test may want nothing but the freeze")]
    pub fn freeze(&self) -> bool {
        self.inner.freeze()
    }

    /// Lets all processes run. By signals, processes that were stopped before the freeze run too. `false` if
    /// none was frozen.
    #[expect(clippy::must_use_candidate, reason = "a test may want nothing but the thaw")]
    pub fn thaw(&self) -> bool {
        self.inner.thaw()
    }

    /// Does what a drop does. Another owner then finds the container empty, and cannot freeze it any more.
    pub(crate) fn end(&self) {
        self.inner.end();
    }

    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.inner.is_frozen()
    }

    /// How many live processes have left their groups, so that their origin is unknown. Waits for processes
    /// that are about to end.
    pub(crate) fn strays(&self) -> usize {
        let mut strays = 0;
        until(FOLLOWS_WITHIN, || {
            strays = self.inner.strays().len();
            strays == 0
        });
        strays
    }

    /// Kills the processes that left their groups.
    pub(crate) fn kill_strays(&self) {
        self.inner.kill_strays();
    }

    /// The pids of all live processes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.inner
            .members()
            .into_iter()
            .map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
            .collect()
    }

    /// The CPU time of all processes since they were added, from the scheduler.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        self.inner.cpu_time()
    }

    /// The part of the CPU time that the kernel used for them. `None` without a cgroup that counts it.
    #[must_use]
    pub fn cpu_time_in_kernel(&self) -> Option<Duration> {
        cgroups::cpu_time_in_kernel(self.inner.accounting.as_ref()?)
    }

    /// `None` if memory is not limited.
    #[must_use]
    pub fn memory_peak_bytes(&self) -> Option<u64> {
        cgroups::memory_peak_bytes(self.inner.memory.as_ref()?)
    }

    /// How many processes the kernel killed at the memory limit. `None` if memory is not limited.
    #[must_use]
    pub fn out_of_memory_kills(&self) -> Option<u64> {
        cgroups::out_of_memory_kills(self.inner.memory.as_ref()?)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.end();
    }
}

fn remove(inner: Weak<Inner>) -> Remove {
    Box::new(move || {
        if let Some(inner) = inner.upgrade() {
            inner.end();
        }
    })
}

/// Repeats the check until it succeeds. `false` when the time is over.
pub(crate) fn until(within: Duration, mut settled: impl FnMut() -> bool) -> bool {
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
