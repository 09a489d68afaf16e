//! One cgroup that we made.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::hierarchy::{Hierarchy, Version};
use crate::dir_lock::{self, DirLock, Proof};

pub struct Cgroup {
    pub version: Version,
    parent: PathBuf,
    directory: PathBuf,
    _dir_lock: DirLock,
}

impl Cgroup {
    /// Makes a cgroup below our own one. Processes can be moved into it.
    pub fn make(hierarchy: &Hierarchy) -> Result<Self, String> {
        let parent = hierarchy.own.clone();
        let make = || {
            let directory = parent.join(dir_lock::new_name());
            fs::create_dir(&directory).map(|()| directory)
        };
        let (directory, dir_lock) = DirLock::make(Proof::Name, make)
            .map_err(|error| format!("can't make a cgroup in {}: {error}", parent.display()))?;
        // In v2, the move needs permission to write to the common ancestor of the two cgroups.
        let place = if hierarchy.version == Version::V2 { &parent } else { &directory };
        if let Err(error) = writable(&place.join("cgroup.procs")) {
            let _no_cgroup_either = fs::remove_dir(&directory);
            return Err(format!("can't move processes within {}: {error}", parent.display()));
        }
        Ok(Self { version: hierarchy.version, parent, directory, _dir_lock: dir_lock })
    }

    /// The sibling cgroups whose owners are dead.
    pub fn inherited(hierarchy: &Hierarchy) -> impl Iterator<Item = Self> {
        let (version, parent) = (hierarchy.version, hierarchy.own.clone());
        dir_lock::inheritance(&hierarchy.own, Proof::Name).map(move |(directory, dir_lock)| Self {
            version,
            parent: parent.clone(),
            directory,
            _dir_lock: dir_lock,
        })
    }

    /// Thaws it, by the file that exists.
    pub fn thaw(&self) {
        for (file, value) in [("cgroup.freeze", "0"), ("freezer.state", "THAWED")] {
            if self.has(file) {
                // If it stays frozen, the wait for its end reports that.
                let _thawed = self.write(file, value);
            }
        }
    }

    /// Makes our own cgroup pass the controller down (v2). The kernel refuses while that cgroup has processes,
    /// unless it is the root (kernel docs "Control Group v2", "No Internal Process Constraint"). It accepts a
    /// threaded controller such as cpu, but then no process can be moved into a cgroup below ("Threads"). So
    /// this is then undone.
    pub fn ask_for(&self, controller: &str) -> Result<(), String> {
        let has = || {
            self.read("cgroup.controllers")
                .is_ok_and(|it| it.split_whitespace().any(|one| one == controller))
        };
        if has() {
            return Ok(());
        }
        let file = self.parent.join("cgroup.subtree_control");
        let refusal = |error| format!("{} hands no {controller} down: {error}", file.display());
        let change = |sign| {
            writable(&file)
                .and_then(|mut file| file.write_all(format!("{sign}{controller}").as_bytes()))
                .map_err(refusal)
        };
        change('+')?;
        if self.read("cgroup.type").is_ok_and(|it| it.trim_end() == "domain invalid") {
            change('-')?;
            let why = "it has processes itself";
            return Err(format!("{} hands no {controller} down: {why}", file.display()));
        }
        Ok(())
    }

    pub fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.directory.join(file))
    }

    pub fn write(&self, file: &str, value: &str) -> Result<(), String> {
        let path = self.directory.join(file);
        writable(&path)
            .and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(|error| format!("can't write {value} to {}: {error}", path.display()))
    }

    pub fn has(&self, file: &str) -> bool {
        self.directory.join(file).exists()
    }

    /// The number in a file that contains nothing else.
    pub fn number(&self, file: &str) -> Option<u64> {
        self.read(file).ok()?.trim().parse().ok()
    }

    /// A number in a file whose lines are a key and a number.
    pub fn keyed_number(&self, file: &str, key: &str) -> Option<u64> {
        let text = self.read(file).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
        value.trim().parse().ok()
    }

    pub fn pids(&self) -> Vec<Pid> {
        let list = self.read("cgroup.procs").unwrap_or_default();
        list.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
    }

    /// Moves a process with all its threads into it. A process that has ended is skipped.
    pub fn admit(&self, pid: Pid) -> io::Result<()> {
        move_to(&self.directory, pid)
    }

    /// Moves a process of v1 back to the cgroup below which this one was made. There a frozen process thaws.
    pub fn release(&self, pid: Pid) -> io::Result<()> {
        move_to(&self.parent, pid)
    }

    /// Sends SIGKILL to all its processes. Returns whether it has none.
    pub fn kill(&self) -> bool {
        let held: Vec<(Pid, OwnedFd)> = self
            .pids()
            .into_iter()
            .filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)))
            .collect();
        // Read again, because a pid that is still listed after its descriptor was opened is not reused.
        let listed = self.pids();
        for (_, process) in held.iter().filter(|(pid, _)| listed.contains(pid)) {
            let _ended_meanwhile = pidfd_send_signal(process, Signal::KILL);
        }
        listed.is_empty()
    }

    /// Removes it. This fails while its processes are ending.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

fn move_to(directory: &Path, pid: Pid) -> io::Result<()> {
    let number = pid.as_raw_nonzero().to_string();
    let moved = writable(&directory.join("cgroup.procs"))?.write_all(number.as_bytes());
    match moved {
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(()),
        moved => moved,
    }
}

/// Opens without creating the file. No file can be created in a cgroup, and none should be elsewhere.
fn writable(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().write(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::super::hierarchy::Hierarchies;
    use super::*;

    #[test]
    fn a_controller_that_would_keep_processes_out_is_disabled_again() {
        let home = tempfile::TempDir::new().unwrap();
        let own = home.path().display();
        let control = home.path().join("cgroup.subtree_control");
        for file in [&home.path().join("cgroup.procs"), &control] {
            fs::write(file, "").unwrap();
        }
        let mounts = format!("41 31 0:38 / {own} rw - cgroup2 cgroup2 rw\n");
        let cgroup = Cgroup::make(Hierarchies::parse(&mounts, "0::/\n").v2().unwrap()).unwrap();
        for (kind, expected) in [("domain\n", "+cpu"), ("domain invalid\n", "-cpu")] {
            fs::write(cgroup.directory.join("cgroup.type"), kind).unwrap();
            assert_eq!(cgroup.ask_for("cpu").is_ok(), expected == "+cpu");
            assert_eq!(fs::read_to_string(&control).unwrap(), expected);
        }
    }
}
