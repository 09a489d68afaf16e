//! The cgroups of one container: one for each hierarchy, and a note for each that is missing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::FreezeBy;
use super::cgroup::Cgroup;
use super::freezing::Freezing;
use super::hierarchy::{Hierarchies, Hierarchy, Version};
use super::limits::{Limits, limit_memory};

pub struct Cgroups<'a> {
    hierarchies: &'a Hierarchies,
    /// The results by our own cgroup in a hierarchy, because one hierarchy has several uses.
    tried: Vec<(PathBuf, Result<Arc<Cgroup>, String>)>,
    pub notes: Vec<String>,
}

impl<'a> Cgroups<'a> {
    pub fn below(hierarchies: &'a Hierarchies) -> Self {
        Self { hierarchies, tried: Vec::new(), notes: Vec::new() }
    }

    pub fn made(&self) -> Vec<Arc<Cgroup>> {
        self.tried.iter().filter_map(|(_, cgroup)| cgroup.as_ref().ok().cloned()).collect()
    }

    /// The requested way of freezing, or the first one that works here.
    pub fn freezing(&mut self, by: Option<FreezeBy>) -> Freezing {
        let ways = match &by {
            Some(by) => std::slice::from_ref(by),
            None => &[FreezeBy::CgroupV2, FreezeBy::CgroupV1],
        };
        let mut obstacles = Vec::new();
        for way in ways {
            let found = match way {
                FreezeBy::CgroupV2 => self.freezer_v2().map(Freezing::V2),
                FreezeBy::CgroupV1 => self.freezer_v1().map(Freezing::V1),
                FreezeBy::Signals => Ok(Freezing::Signals),
            };
            match found {
                Ok(freezing) => return freezing,
                Err(obstacle) => obstacles.push(obstacle),
            }
        }
        let obstacles = obstacles.join("; ");
        self.notes.push(format!("freezing by SIGSTOP, which processes can see: {obstacles}"));
        Freezing::Signals
    }

    pub fn limit_cpu(&mut self, limits: Limits) {
        let Some(share) = limits.cpu else { return };
        self.notes.extend(share.shortage());
        if let Err(why) = self.with("cpu").and_then(|cgroup| share.limit(&cgroup)) {
            self.notes.push(format!("the CPU share is not limited: {why}"));
        }
    }

    /// Limits the memory. Returns the cgroup that counts it.
    pub fn limit_memory(&mut self, limits: Limits) -> Option<Arc<Cgroup>> {
        let memory_mb = limits.memory_mb?;
        let limited = self.with("memory").and_then(|cgroup| {
            limit_memory(memory_mb, &cgroup)?;
            Ok(cgroup)
        });
        limited.map_err(|why| self.notes.push(format!("memory is not limited: {why}"))).ok()
    }

    /// A cgroup that counts CPU time. Any cgroup of v2 does so, also without the controller.
    pub fn accounting(&mut self) -> Option<Arc<Cgroup>> {
        let made = self.made().into_iter().find(|cgroup| cpu_time(cgroup).is_some());
        let made = made.ok_or_else(String::new).or_else(|_| self.with("cpuacct"));
        let counted = made.or_else(|_| self.v2_that_counts());
        let note = |why| format!("CPU time is that of the processes that still live: {why}");
        counted.map_err(|why| self.notes.push(note(why))).ok()
    }

    fn freezer_v2(&mut self) -> Result<Arc<Cgroup>, String> {
        let cgroup = self.v2()?;
        // Since Linux 5.2.
        if cgroup.has("cgroup.freeze") { Ok(cgroup) } else { Err("no cgroup.freeze".to_owned()) }
    }

    fn v2_that_counts(&mut self) -> Result<Arc<Cgroup>, String> {
        let cgroup = self.v2()?;
        // Since Linux 4.15.
        if cgroup.has("cpu.stat") { Ok(cgroup) } else { Err("no cpu.stat".to_owned()) }
    }

    fn freezer_v1(&mut self) -> Result<Arc<Cgroup>, String> {
        let found = self.hierarchies.with("freezer").ok_or("no freezer of cgroup v1 is mounted")?;
        self.cgroup_in(found)
    }

    fn v2(&mut self) -> Result<Arc<Cgroup>, String> {
        let found = self.hierarchies.v2().ok_or("no cgroup v2 is mounted")?;
        self.cgroup_in(found)
    }

    fn with(&mut self, controller: &str) -> Result<Arc<Cgroup>, String> {
        let found = self.hierarchies.with(controller);
        let found =
            found.ok_or_else(|| format!("no cgroup here has the {controller} controller"))?;
        let cgroup = self.cgroup_in(found)?;
        match cgroup.version {
            Version::V1 => {}
            Version::V2 => cgroup.ask_for(controller)?,
        }
        Ok(cgroup)
    }

    fn cgroup_in(&mut self, hierarchy: &Hierarchy) -> Result<Arc<Cgroup>, String> {
        if let Some((_, cgroup)) = self.tried.iter().find(|(own, _)| *own == hierarchy.own) {
            return cgroup.clone();
        }
        let cgroup = Cgroup::make(hierarchy).map(Arc::new);
        self.tried.push((hierarchy.own.clone(), cgroup.clone()));
        cgroup
    }
}

/// The CPU time of all processes that were ever in it.
pub fn cpu_time(cgroup: &Cgroup) -> Option<Duration> {
    match cgroup.version {
        Version::V1 => cgroup.number("cpuacct.usage").map(Duration::from_nanos),
        Version::V2 => cgroup.keyed_number("cpu.stat", "usage_usec").map(Duration::from_micros),
    }
}

/// The part of the CPU time that the kernel used for them.
pub fn cpu_time_in_kernel(cgroup: &Cgroup) -> Option<Duration> {
    match cgroup.version {
        // Since Linux 4.7.
        Version::V1 => cgroup.number("cpuacct.usage_sys").map(Duration::from_nanos),
        Version::V2 => cgroup.keyed_number("cpu.stat", "system_usec").map(Duration::from_micros),
    }
}

pub fn memory_peak_bytes(cgroup: &Cgroup) -> Option<u64> {
    match cgroup.version {
        Version::V1 => cgroup.number("memory.max_usage_in_bytes"),
        // Since Linux 5.19.
        Version::V2 => cgroup.number("memory.peak"),
    }
}

pub fn out_of_memory_kills(cgroup: &Cgroup) -> Option<u64> {
    let file = match cgroup.version {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    };
    cgroup.keyed_number(file, "oom_kill")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn notes_of(hierarchies: &Hierarchies) -> Vec<String> {
        let mut cgroups = Cgroups::below(hierarchies);
        assert!(matches!(cgroups.freezing(None), Freezing::Signals));
        cgroups.limit_cpu(Limits::of_memory_mb(128));
        assert!(cgroups.limit_memory(Limits::of_memory_mb(128)).is_none());
        assert!(cgroups.accounting().is_none());
        cgroups.notes
    }

    #[test]
    fn without_cgroups_each_missing_feature_is_one_line() {
        let expected = [
            "freezing by SIGSTOP, which processes can see: no cgroup v2 is mounted; \
             no freezer of cgroup v1 is mounted",
            "the CPU share is not limited: no cgroup here has the cpu controller",
            "memory is not limited: no cgroup here has the memory controller",
            "CPU time is that of the processes that still live: no cgroup v2 is mounted",
        ];
        assert_eq!(notes_of(&Hierarchies::parse("", "")), expected);
    }

    #[test]
    fn a_controller_that_is_not_delegated_limits_nothing() {
        let home = tempfile::TempDir::new().unwrap();
        let own = home.path().display();
        fs::write(home.path().join("cgroup.procs"), "").unwrap();
        fs::write(home.path().join("cgroup.controllers"), "memory").unwrap();
        let mounts = format!("41 31 0:38 / {own} rw - cgroup2 cgroup2 rw\n");
        let notes = notes_of(&Hierarchies::parse(&mounts, "0::/\n"));
        let expected = format!(
            "memory is not limited: {own}/cgroup.subtree_control hands no memory down: \
             No such file or directory (os error 2)"
        );
        assert_eq!(notes[2], expected);
    }
}
