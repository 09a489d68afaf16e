//! The three ways to freeze.

use std::sync::Arc;

use rustix::process::Pid;

use super::cgroup::Cgroup;
use super::held::Held;
use super::process_table;
use super::{FreezeBy, SETTLED_WITHIN, until};

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

    /// Returns when all processes are frozen.
    pub fn freeze(&self, held: &Held) -> Result<(), String> {
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
            Self::Signals => held.stop(),
        };
        if frozen { Ok(()) } else { Err(format!("some still run after {SETTLED_WITHIN:?}")) }
    }

    pub fn thaw(&self, held: &Held) -> Result<(), String> {
        match self {
            Self::V2(cgroup) => cgroup.write("cgroup.freeze", "0"),
            Self::V1(cgroup) => cgroup.write("freezer.state", "THAWED"),
            Self::Signals => {
                held.resume();
                Ok(())
            }
        }
    }

    /// Lets the killed processes of this group end, which a freeze by v1 prevents. No other process runs.
    pub fn release_killed(&self, group: Pid) {
        if let Self::V1(cgroup) = self {
            let inside = cgroup.pids();
            let killed = process_table::of_group(group).filter(|pid| inside.contains(pid));
            for pid in killed {
                // If it is not released, the wait for its end reports that.
                let _released = cgroup.release(pid);
            }
        }
    }
}
