//! A signal at any time leaves no process, cgroup or file behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::leftovers::{cgroups, exit_code, send};
use crate::{FLOOR, LOCAL_LAMBDA, SOON};

/// A copy of the command in its own directory. Its path identifies all its processes, because it starts itself
/// as the function, and extensions from its temporary directory.
pub struct Interrupted {
    home: TempDir,
    child: Child,
}

impl Interrupted {
    pub fn start(arguments: &[&str]) -> Self {
        let home = TempDir::new_in(Path::new(LOCAL_LAMBDA).parent().unwrap()).unwrap();
        let (program, temporary) = (home.path().join("local-lambda"), home.path().join("tmp"));
        fs::hard_link(LOCAL_LAMBDA, &program).unwrap();
        fs::create_dir(&temporary).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).env("TMPDIR", temporary);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        Self { home, child }
    }

    /// Waits until there are at least this many processes. The number does not fall until the signal, so the
    /// wait cannot miss it.
    #[track_caller]
    pub fn wait_for_processes(&self, at_least: usize) {
        self.wait_until(|count| count >= at_least);
    }

    #[track_caller]
    fn wait_until(&self, holds: impl Fn(usize) -> bool) {
        let deadline = Instant::now() + SOON;
        loop {
            let processes = self.processes();
            if holds(processes.len()) {
                return;
            }
            assert!(Instant::now() < deadline, "{processes:?}");
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Sends the signal, and checks that nothing is left. Returns the text that was written since the last
    /// read.
    #[track_caller]
    pub fn leaves_nothing(mut self, signal: Signal) -> String {
        send(&self.child, signal);
        assert_eq!(exit_code(&mut self.child), Some(128 + signal.as_raw()));
        self.wait_until(|count| count == 0);
        assert_eq!(cgroups(self.child.id()), "");
        assert_eq!(fs::read_dir(self.home.path().join("tmp")).unwrap().count(), 0);
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn processes(&self) -> Vec<String> {
        let ours = self.home.path().to_str().unwrap();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|it| fs::read(it.path().join("cmdline")).ok())
            .map(|it| String::from_utf8_lossy(&it).into_owned())
            .filter(|it| it.contains(ours))
            .collect()
    }

    #[track_caller]
    pub fn wait_for_line(&mut self, needle: &str) {
        read_up_to(needle, self.child.stdout.as_mut().unwrap());
    }
}

/// Reads up to a line with this text, and perhaps further.
#[track_caller]
pub fn read_up_to(needle: &str, text: impl Read) {
    let lines = BufReader::new(text).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains(needle)), "no {needle}");
}

#[test]
fn an_interrupted_frozen_run_leaves_nothing() {
    for (way, signal) in [("auto", Signal::INT), ("signals", Signal::TERM)] {
        let options = ["run", "--extension", FLOOR, "--freeze", "1h", "--confined"];
        let mut run = Interrupted::start(&[options.as_slice(), &["--freeze-by", way]].concat());
        run.wait_for_line("FREEZE");
        run.wait_for_processes(3);
        run.leaves_nothing(signal);
    }
}

#[test]
fn an_interrupted_busy_run_leaves_nothing() {
    let event = r#"{"work_ms": 600000, "reports": 0}"#;
    let options = ["run", "--extension", FLOOR, "--timeout", "15m", "--event", event];
    let mut run = Interrupted::start(&options);
    run.wait_for_line("INVOKE");
    run.wait_for_processes(3);
    run.leaves_nothing(Signal::INT);
}
