//! A running extension's process, from its start to its end.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::container;
use crate::leftovers::{self, Entry, Kind, Remove, TempDir};
use crate::log::{Log, read_lines};
use crate::process_group::ProcessGroup;
use crate::watch::Watch;

/// How often to check whether an unread log must be read again, in case no wakeup comes.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// The leader of its own process group, like each process that Lambda starts. Its children are stopped and
/// killed with it while they stay in the group. Only a [`Container`](crate::Container) also keeps those that
/// leave.
pub struct Process {
    group: Arc<ProcessGroup>,
    output: Arc<Watch<Output>>,
    started_at: Instant,
    /// The directory with the link by which the process was started.
    _home: Option<TempDir>,
    _entry: Entry,
}

#[derive(Default)]
struct Output {
    log: Log,
    /// How many of stdout and stderr have ended.
    ended: usize,
    is_unread: bool,
}

#[expect(
    clippy::missing_panics_doc,
    reason = "every wait of a double panics when its time is over"
)]
impl Process {
    pub(crate) fn start(
        command: Command,
        home: Option<TempDir>,
        runtime_api: Option<&OsStr>,
    ) -> Self {
        let program = command.get_program().to_owned();
        Self::spawn(command, home, runtime_api, |_| {})
            .unwrap_or_else(|error| panic!("can't start {program:?}: {error}"))
    }

    /// `runtime_api` is the address in its environment, if that belongs to a local Lambda of this process.
    /// `on_line` gets each line of stdout and stderr without its line feed, before the log has it, on the
    /// threads that read them. It gets a line longer than 256 KiB in pieces.
    ///
    /// # Errors
    ///
    /// When the program cannot be executed, with the system's reason.
    pub(crate) fn spawn(
        mut command: Command,
        home: Option<TempDir>,
        runtime_api: Option<&OsStr>,
        on_line: impl Fn(&str) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let started_at = Instant::now();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let make = || {
            let (group, stdout, stderr) = ProcessGroup::spawn(&mut command, runtime_api)?;
            let group = Arc::new(group);
            let remove = remove(Arc::downgrade(&group));
            Ok::<_, io::Error>(((group, stdout, stderr), remove))
        };
        let ((group, stdout, stderr), entry) = leftovers::enter(Kind::Process, make)?;
        let (output, on_line) = (Arc::new(Watch::<Output>::default()), Arc::new(on_line));
        collect("stdout", stdout.expect("stdout is a pipe"), &output, &on_line);
        collect("stderr", stderr.expect("stderr is a pipe"), &output, &on_line);
        Ok(Self { group, output, started_at, _home: home, _entry: entry })
    }

    /// Calls `then` once with the end of the process, on another thread. A drop also ends the process. If
    /// `then` owns the process, the process is not dropped before.
    pub fn on_exit(&self, then: impl FnOnce(ExitStatus) + Send + 'static) {
        let group = Arc::clone(&self.group);
        // Without a deadline, because this thread ends with the process, at its drop or earlier.
        let wait = move || then(group.wait_to_the_end());
        let name = format!("exit of {}", self.pid());
        thread::Builder::new().name(name).spawn(wait).expect("a thread to wait for the end");
    }

    pub(crate) fn group(&self) -> &Arc<ProcessGroup> {
        &self.group
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.group.pid().as_raw_nonzero().get().unsigned_abs()
    }

    /// A time just before the process was made.
    #[must_use]
    pub fn started_at(&self) -> Instant {
        self.started_at
    }

    /// Waits for the end of the process and of its log.
    #[expect(clippy::must_use_candidate, reason = "a test may want nothing but the wait")]
    pub fn exit(&self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        let status = self.group.wait(within).unwrap_or_else(|| {
            panic!("process {} still runs after {within:?}; {}", self.pid(), self.seen())
        });
        let left = deadline.saturating_duration_since(Instant::now());
        // A grandchild may keep the pipes open. Then the log is incomplete.
        self.output.wait(left, |output| (output.ended == 2).then_some(()));
        status
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        self.group.wait(Duration::ZERO).is_none()
    }

    /// The lines that the process wrote to stdout and stderr so far, in the order of arrival. A line longer
    /// than 256 KiB becomes several. At least the last 1.75 MiB are kept. If lines were dropped, a first line
    /// in brackets gives their number.
    #[must_use]
    pub fn log(&self) -> String {
        self.output.read(|output| output.log.text())
    }

    /// Waits until a line of the log contains `needle`. Returns the line.
    #[expect(clippy::must_use_candidate, reason = "a test may want nothing but the wait")]
    pub fn wait_for_log(&self, needle: &str, within: Duration) -> String {
        let mut seen = 0;
        let line = self.output.wait(within, |output| {
            let line = output.log.find(needle, &mut seen);
            line.map(Some).or((output.ended == 2).then_some(None))
        });
        line.flatten().unwrap_or_else(|| panic!("no {needle:?} within {within:?}; {}", self.seen()))
    }

    /// Stops reading the process's output until [`Self::read_log`]. Soon the pipes are full, and the process's
    /// threads that write to them wait.
    pub fn leave_log_unread(&self) {
        self.output.update(|output| output.is_unread = true);
    }

    /// Reads the output again.
    pub fn read_log(&self) {
        self.output.update(|output| output.is_unread = false);
    }

    /// Stops all threads of the group until [`Self::resume`], as a freeze does.
    pub fn stop(&self) {
        self.group.signal(Signal::STOP);
    }

    /// Waits until the process is stopped, by any cause.
    pub fn wait_until_stopped(&self, within: Duration) {
        let is_stopped = || container::process_table::is_stopped_itself(self.group.pid());
        assert!(container::until(within, is_stopped), "it is not stopped; {}", self.seen());
    }

    pub fn resume(&self) {
        self.group.signal(Signal::CONT);
    }

    /// Sends SIGTERM to the group, as Lambda does to a runtime at the start of the shutdown phase.
    pub fn terminate(&self) {
        self.group.signal(Signal::TERM);
    }

    /// Forbids the process new descriptors with this number or above. Its open ones stay.
    pub fn limit_descriptors(&self, count: u64) {
        self.limit("nofile", count);
    }

    /// Forbids the process new threads if its user has this many threads in all processes. Its running ones
    /// stay. The limit has no effect on root: see [`crate::Launch::user`].
    pub fn limit_threads(&self, count: u64) {
        self.limit("nproc", count);
    }

    /// Ends the process by SIGXFSZ if it writes to a file beyond this many bytes. With 0, any write ends it.
    pub fn limit_files(&self, bytes: u64) {
        self.limit("fsize", bytes);
    }

    fn limit(&self, resource: &str, count: u64) {
        limit(self.pid(), resource, count).unwrap_or_else(|why| panic!("{why}"));
    }

    /// How many processes of the group are alive after their leader has ended.
    pub(crate) fn left_behind(&self) -> usize {
        let mut left = 0;
        container::until(container::FOLLOWS_WITHIN, || {
            left = container::process_table::of_group(self.group.pid()).count();
            left == 0
        });
        left
    }

    /// Sends SIGKILL to the group, frozen or not, as Lambda does after the shutdown phase.
    pub fn kill(&self) {
        assert!(self.group.kill().is_some(), "process {} outlives its SIGKILL", self.pid());
    }

    fn seen(&self) -> String {
        format!("its log:\n{}", self.log())
    }
}

/// Sets a limit with util-linux's `prlimit`, as the process's own user. On some systems not even root may limit
/// another user's process. No user may raise a hard limit, so the inherited one stays.
///
/// # Errors
///
/// Why the process has no such limit.
pub(crate) fn limit(pid: u32, resource: &str, count: u64) -> Result<(), String> {
    let failed = |why: &dyn fmt::Display| format!("can't limit process {pid}: {why}");
    let owner = fs::metadata(format!("/proc/{pid}")).map_err(|error| failed(&error))?;
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &pid.to_string(), &format!("--{resource}={count}:")]);
    let output = prlimit.uid(owner.uid()).gid(owner.gid()).output();
    let output = output.map_err(|error| failed(&error))?;
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(failed(&error.trim_end())) }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.read_log();
        if self.group.kill().is_none() {
            eprintln!("process {} outlives its SIGKILL", self.pid());
        }
        if thread::panicking() {
            eprintln!("process {}; {}", self.pid(), self.seen());
        }
    }
}

fn remove(group: Weak<ProcessGroup>) -> Remove {
    Box::new(move || {
        if let Some(group) = group.upgrade() {
            // A process that outlives SIGKILL cannot be reported here, because the exit status has no room for
            // that.
            let _ended = group.kill();
        }
    })
}

/// Reads the pipe to its end on a thread, so that the process never waits at a full pipe.
fn collect(
    name: &str,
    pipe: impl Read + Send + 'static,
    output: &Arc<Watch<Output>>,
    on_line: &Arc<impl Fn(&str) + Send + Sync + 'static>,
) {
    let (output, on_line) = (Arc::clone(output), Arc::clone(on_line));
    let read = move || {
        let end = read_lines(BufReader::new(pipe), |line| {
            on_line(line);
            output.update(|output| output.log.push(line));
            while output.read(|output| output.is_unread) {
                output.wait(LOOKS_EVERY, |output| (!output.is_unread).then_some(()));
            }
        });
        // A pipe that can no longer be read has ended too.
        drop(end);
        output.update(|output| output.ended += 1);
    };
    thread::Builder::new().name(name.to_owned()).spawn(read).expect("a thread to read the log");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const SOON: Duration = Duration::from_secs(60);

    fn shell(script: &str, on_line: impl Fn(&str) + Send + Sync + 'static) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Process::spawn(command, None, None, on_line).unwrap()
    }

    #[test]
    fn each_line_is_handed_on_without_its_line_feed() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lines);
        let on_line = move |line: &str| seen.lock().unwrap().push(line.to_owned());
        let process = shell("echo one; echo; echo ' two ' >&2; printf cut", on_line);
        process.exit(SOON);
        let mut lines = lines.lock().unwrap().clone();
        lines.sort_unstable();
        assert_eq!(lines, ["", " two ", "cut", "one"]);
    }

    #[test]
    fn a_program_that_is_none_is_an_error() {
        let started = Process::spawn(Command::new("/etc/passwd"), None, None, |_| {});
        assert_eq!(started.err().unwrap().kind(), io::ErrorKind::PermissionDenied);
    }
}
