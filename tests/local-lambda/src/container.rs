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

/// How long processes may take to freeze, to move to a cgroup or to end; it takes milliseconds
/// where the machine is not overloaded.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// How long after the end of the process it comes from another one may take to end for the same
/// reason.
pub(crate) const FOLLOWS_WITHIN: Duration = Duration::from_millis(300);

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
pub struct Container {
    inner: Arc<Inner>,
    notes: Vec<String>,
    _entry: Entry,
}

impl Container {
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

    /// What can't be had here, why, and what is used instead: a line for each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    #[must_use]
    pub fn freezes_by(&self) -> FreezeBy {
        self.inner.freezing.by()
    }

    /// Holds the process and all that it has forked or will. In a frozen container they are frozen
    /// when this returns. Memory that it has allocated before is not counted by cgroup v1.
    ///
    /// What it forked before and what left its group, session and parent since is known by the
    /// value of `AWS_LAMBDA_RUNTIME_API`, if that is the address of an environment of this program.
    /// Whoever else was started with that value since is held as well. What runs without the
    /// variable is lost if it has left them before it is in a cgroup, which takes a millisecond;
    /// where signals freeze, whenever it leaves them.
    ///
    /// # Panics
    ///
    /// When it is held already.
    pub fn admit(&self, process: &Process) {
        let held = process.group().enter(Arc::downgrade(&self.inner));
        assert!(held, "process {} is in a container already", process.pid());
        if let Err(why) = self.inner.admit(process.group()) {
            panic!("can't hold process {}: {why}", process.pid());
        }
    }

    /// Returns when every process is frozen; they use no CPU until [`Self::thaw`]. `false` if they
    /// were before, or the container has ended.
    #[expect(clippy::must_use_candidate, reason = "a test may want nothing but the freeze")]
    pub fn freeze(&self) -> bool {
        self.inner.freeze()
    }

    /// By signals, processes that were stopped before run as well. `false` if none was frozen.
    #[expect(clippy::must_use_candidate, reason = "a test may want nothing but the thaw")]
    pub fn thaw(&self) -> bool {
        self.inner.thaw()
    }

    /// As a drop: whoever else has the container finds it empty, and can't freeze it any more.
    pub(crate) fn end(&self) {
        self.inner.end();
    }

    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.inner.is_frozen()
    }

    /// How many live processes left the groups that they were forked in, so that nobody can tell
    /// any more which process they come from. One that is about to end is waited for.
    pub(crate) fn strays(&self) -> usize {
        let mut strays = 0;
        until(FOLLOWS_WITHIN, || {
            strays = self.inner.strays().len();
            strays == 0
        });
        strays
    }

    /// Kills them.
    pub(crate) fn kill_strays(&self) {
        self.inner.kill_strays();
    }

    /// Of all live processes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.inner
            .members()
            .into_iter()
            .map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
            .collect()
    }

    /// Of all processes since they are held, as the scheduler counts it.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        self.inner.cpu_time()
    }

    /// What of it the kernel ran for them; `None` where no cgroup counts.
    #[must_use]
    pub fn cpu_time_in_kernel(&self) -> Option<Duration> {
        cgroups::cpu_time_in_kernel(self.inner.accounting.as_ref()?)
    }

    /// `None` where memory is not limited.
    #[must_use]
    pub fn memory_peak_bytes(&self) -> Option<u64> {
        cgroups::memory_peak_bytes(self.inner.memory.as_ref()?)
    }

    /// How many processes the kernel killed at the limit; `None` where memory is not limited.
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

/// Gives `false` when the time is over.
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
