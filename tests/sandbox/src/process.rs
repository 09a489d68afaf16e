//! A running extension: its log and its end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::retry_on_intr;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process, pidfd_open, prlimit,
};
use tempfile::TempDir;

use crate::watch::Watch;

pub struct Process {
    child: Mutex<Child>,
    pid: u32,
    /// Becomes readable when the process ends: a wait with a deadline, which std has not.
    ended: OwnedFd,
    log: Arc<Watch<Log>>,
    started_at: Instant,
    /// Holds the link the process was started through.
    _home: Option<TempDir>,
}

#[derive(Default)]
struct Log {
    text: String,
    /// Of stdout and stderr, how many have reached their end.
    ended: usize,
}

#[expect(
    clippy::missing_panics_doc,
    reason = "every wait of a double panics when its time is over"
)]
impl Process {
    pub(crate) fn start(mut command: Command, home: Option<TempDir>) -> Self {
        let started_at = Instant::now();
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {:?}: {error}", command.get_program()));
        let log = Arc::new(Watch::<Log>::default());
        collect("stdout", child.stdout.take().expect("stdout is a pipe"), &log);
        collect("stderr", child.stderr.take().expect("stderr is a pipe"), &log);
        let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .expect("an unreaped child has a process descriptor");
        Self { pid: child.id(), child: Mutex::new(child), ended, log, started_at, _home: home }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The moment before the process was made.
    #[must_use]
    pub fn started_at(&self) -> Instant {
        self.started_at
    }

    /// Waits for the end of the process and of its log.
    pub fn exit(&self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        let status = self.wait(within).unwrap_or_else(|| {
            panic!("process {} still runs after {within:?}; {}", self.pid, self.seen())
        });
        let left = deadline.saturating_duration_since(Instant::now());
        // A grandchild may hold the pipes open; the log is then what there is.
        self.log.wait(left, |log| (log.ended == 2).then_some(()));
        status
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.wait(Duration::ZERO).is_none()
    }

    /// What the process wrote to stdout and stderr so far, by line, in the order of arrival.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.read(|log| log.text.clone())
    }

    /// Waits until a line of the log contains `needle`, and returns the line.
    pub fn wait_for_log(&self, needle: &str, within: Duration) -> String {
        let line = self.log.wait(within, |log| {
            let line = log.text.lines().find(|line| line.contains(needle));
            line.map(|line| Some(line.to_owned())).or((log.ended == 2).then_some(None))
        });
        line.flatten().unwrap_or_else(|| panic!("no {needle:?} within {within:?}; {}", self.seen()))
    }

    /// Stops all its threads, as a freeze does, until [`Self::resume`].
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Lets the process have no descriptor of this number or above; those it has stay open.
    pub fn limit_descriptors(&self, count: u64) {
        // Not even root may raise the hard limit everywhere, so it stays what is inherited.
        let limit = Rlimit { current: Some(count), ..getrlimit(Resource::Nofile) };
        prlimit(self.own_pid(), Resource::Nofile, limit).expect("limiting an own child");
    }

    /// Ends the process with SIGKILL, as Lambda does after the shutdown phase.
    pub fn kill(&self) {
        let mut child = self.child.lock().expect(UNPOISONED);
        // Of a process that was reaped before, `Child` knows not to signal the reused pid.
        child.kill().expect("killing an own child");
        child.wait().expect("reaping an own child");
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.own_pid().expect("a process has a pid"), signal)
            .expect("signalling an own child that was not reaped");
    }

    fn own_pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.pid).expect("pids are positive numbers"))
    }

    fn wait(&self, within: Duration) -> Option<ExitStatus> {
        let within = Timespec::try_from(within).expect("a wait of less than the age of the world");
        let mut descriptors = [PollFd::new(&self.ended, PollFlags::IN)];
        retry_on_intr(|| poll(&mut descriptors, Some(&within)))
            .expect("polling a process descriptor");
        self.child.lock().expect(UNPOISONED).try_wait().expect("asking for an own child")
    }

    fn seen(&self) -> String {
        format!("its log:\n{}", self.log())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("process {}; {}", self.pid, self.seen());
        }
    }
}

const UNPOISONED: &str = "another thread failed to signal or reap the process";

/// Reads to the end on a thread, so that the process never blocks on a full pipe.
fn collect(name: &str, pipe: impl Read + Send + 'static, log: &Arc<Watch<Log>>) {
    let log = Arc::clone(log);
    let read = move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            log.update(|log| log.text.push_str(&text));
            line.clear();
        }
        log.update(|log| log.ended += 1);
    };
    thread::Builder::new().name(name.to_owned()).spawn(read).expect("a thread to read the log");
}
