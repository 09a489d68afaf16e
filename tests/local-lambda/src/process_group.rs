//! A process group: a process of ours and all that it forks, as far as they stay with it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, kill_process_group,
    pidfd_open, waitid,
};

use crate::container::{self, Inner, Mark};

/// How long a killed process may take to end: the system frees its memory and closes its files.
const KILLED_WITHIN: Duration = Duration::from_secs(60);

/// How long a file is waited for that can't be executed as somebody can still write it ("text file
/// busy"). One that was just made is open for a moment in whatever other threads fork meanwhile.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

pub struct ProcessGroup {
    /// Of the leader; the group has the same number.
    pid: Pid,
    /// Becomes readable when the leader ends: a wait with a deadline, which std has not.
    ended: OwnedFd,
    leader: Mutex<Leader>,
    mark: Option<Mark>,
    container: OnceLock<Weak<Inner>>,
}

/// The leader is reaped last: while it is a zombie, no other process can get its number, and the
/// group can be signalled.
enum Leader {
    Unreaped(Child),
    Reaped(ExitStatus),
}

impl ProcessGroup {
    /// Gives the pipes to read besides, where the command asks for them. `runtime_api` is the
    /// address in the environment, if it is that of a local Lambda of this process.
    pub fn spawn(
        command: &mut Command,
        runtime_api: Option<&OsStr>,
    ) -> io::Result<(Self, Option<ChildStdout>, Option<ChildStderr>)> {
        let mut child = spawn_once_written(command.process_group(0))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let pid = Pid::from_child(&child);
        let ended = pidfd_open(pid, PidfdFlags::empty())
            .expect("an unreaped child has a process descriptor");
        let leader = Mutex::new(Leader::Unreaped(child));
        let mark = runtime_api.and_then(|it| Mark::of(pid, it));
        Ok((Self { pid, ended, leader, mark, container: OnceLock::new() }, stdout, stderr))
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// What its processes are known by wherever they go.
    pub fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// Whether the group still has its number to itself.
    pub fn is_reaped(&self) -> bool {
        matches!(*self.leader(), Leader::Reaped(_))
    }

    /// Tells the group where it is held; `false` if it is held already.
    pub fn enter(&self, container: Weak<Inner>) -> bool {
        self.container.set(container).is_ok()
    }

    /// Signals the processes of the group, unless they were killed and the leader is reaped.
    pub fn signal(&self, signal: Signal) {
        let leader = self.leader();
        if matches!(*leader, Leader::Reaped(_)) {
            return;
        }
        match kill_process_group(self.pid, signal) {
            // The leader left a group of which it was the last.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => panic!("can't signal process group {}: {error}", self.pid),
        }
    }

    /// Kills the processes of the group, frozen or not, and reaps the leader. `None` if it did not
    /// end in [`KILLED_WITHIN`].
    pub fn kill(&self) -> Option<ExitStatus> {
        if let Leader::Reaped(status) = *self.leader() {
            return Some(status);
        }
        self.signal(Signal::KILL);
        self.kill_leader();
        if let Some(container) = self.container.get().and_then(Weak::upgrade) {
            container.release_killed(self.pid);
        }
        self.wait(KILLED_WITHIN)?;
        let mut leader = self.leader();
        let status = match &mut *leader {
            Leader::Unreaped(child) => child.wait().expect("reaping an own child"),
            Leader::Reaped(status) => *status,
        };
        *leader = Leader::Reaped(status);
        Some(status)
    }

    /// Waits for the end of the leader.
    pub fn wait(&self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        self.poll(Some(deadline.saturating_duration_since(Instant::now())));
        self.status()
    }

    /// Waits for the end of the leader however long it lives.
    pub fn wait_to_the_end(&self) -> ExitStatus {
        self.poll(None);
        self.status().expect("a readable process descriptor tells an end")
    }

    fn poll(&self, within: Option<Duration>) {
        let within = within.map(|it| Timespec::try_from(it).expect("shorter than the world's age"));
        let mut descriptors = [PollFd::new(&self.ended, PollFlags::IN)];
        retry_on_intr(|| poll(&mut descriptors, within.as_ref()))
            .expect("polling a process descriptor");
    }

    /// Asks without reaping.
    fn status(&self) -> Option<ExitStatus> {
        let leader = self.leader();
        if let Leader::Reaped(status) = *leader {
            return Some(status);
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid), options)
            .expect("asking for an own child")
            .map(|it| status(&it))
    }

    /// The leader may have moved to another group.
    fn kill_leader(&self) {
        let leader = self.leader();
        if matches!(*leader, Leader::Unreaped(_)) {
            kill_process(self.pid, Signal::KILL).expect("killing an own child");
        }
    }

    fn leader(&self) -> MutexGuard<'_, Leader> {
        self.leader.lock().expect("another thread failed to signal or reap the process")
    }
}

fn spawn_once_written(command: &mut Command) -> io::Result<Child> {
    let mut spawned = command.spawn();
    container::until(WRITTEN_WITHIN, || {
        if spawned.as_ref().is_err_and(is_busy) {
            spawned = command.spawn();
        }
        !spawned.as_ref().is_err_and(is_busy)
    });
    spawned
}

fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ExecutableFileBusy
}

/// As wait(2) encodes it.
fn status(told: &WaitIdStatus) -> ExitStatus {
    const CORE_DUMPED: i32 = 0x80;
    ExitStatus::from_raw(match (told.exit_status(), told.terminating_signal()) {
        (Some(code), _) => (code & 0xff) << 8,
        (None, Some(signal)) if told.dumped() => signal | CORE_DUMPED,
        (None, signal) => signal.expect("a process that did not exit was ended by a signal"),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::thread;

    use super::*;

    #[test]
    fn a_file_that_is_still_open_to_write_is_executed_when_it_is_closed() {
        let home = tempfile::TempDir::new().unwrap();
        let program = home.path().join("program");
        fs::copy("/bin/true", &program).unwrap();
        let open = OpenOptions::new().append(true).open(&program).unwrap();
        assert!(is_busy(&Command::new(&program).spawn().unwrap_err()));
        thread::scope(|scope| {
            thread::Builder::new()
                .spawn_scoped(scope, move || {
                    thread::park_timeout(Duration::from_millis(20));
                    drop(open);
                })
                .unwrap();
            let (group, ..) = ProcessGroup::spawn(&mut Command::new(&program), None).unwrap();
            assert!(group.wait(KILLED_WITHIN).unwrap().success());
            group.kill();
        });
    }
}
