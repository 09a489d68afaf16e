//! A process group: a process that we started, and its children that stay in the group.

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

/// How long a killed process may take to end. The system frees its memory and closes its files.
const KILLED_WITHIN: Duration = Duration::from_secs(60);

/// How long to retry the start of a file that another process has open for writing ("text file busy"). A new
/// file can stay open for a moment in a child that another thread forks meanwhile.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

pub struct ProcessGroup {
    /// The pid of the leader. The group has the same number.
    pid: Pid,
    /// Becomes readable when the leader ends. std has no wait with a deadline.
    ended: OwnedFd,
    leader: Mutex<Leader>,
    mark: Option<Mark>,
    container: OnceLock<Weak<Inner>>,
}

/// The leader is reaped last. While it is a zombie, no other process can get its number, so signals to the
/// group are safe.
enum Leader {
    Unreaped(Child),
    Reaped(ExitStatus),
}

impl ProcessGroup {
    /// Starts the group. Also returns the pipes to read, if the command has any. `runtime_api` is the address
    /// in the environment, if it belongs to a local Lambda of this process.
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

    /// The mark by which its processes are found, wherever they go.
    pub fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// Whether the leader was reaped. Then another group may have the number.
    pub fn is_reaped(&self) -> bool {
        matches!(*self.leader(), Leader::Reaped(_))
    }

    /// Records the group's container. `false` if the group already has one.
    pub fn enter(&self, container: Weak<Inner>) -> bool {
        self.container.set(container).is_ok()
    }

    /// Signals the processes of the group, unless the leader is reaped.
    pub fn signal(&self, signal: Signal) {
        let leader = self.leader();
        if matches!(*leader, Leader::Reaped(_)) {
            return;
        }
        match kill_process_group(self.pid, signal) {
            // The leader left the group as its last member.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => panic!("can't signal process group {}: {error}", self.pid),
        }
    }

    /// Kills the processes of the group, frozen or not, and reaps the leader. `None` if the leader did not end
    /// within [`KILLED_WITHIN`].
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

    /// Waits for the end of the leader without a time limit.
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

    /// Reads the exit status without reaping.
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

    /// Kills the leader by its pid, because it may have moved to another group.
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

/// Encodes the status as wait(2) does.
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
