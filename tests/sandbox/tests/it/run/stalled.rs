//! A machine that stands still is no fault of the extension.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use rustix::process::Signal;
use tempfile::TempDir;

use super::interrupted::read_up_to;
use crate::SANDBOX;
use crate::leftovers::{exit_code, send};

/// From the extension's event until the time of all is over, and some more.
const BEYOND_SHUTDOWN: Duration = Duration::from_millis(2_300);

#[test]
fn an_extension_that_ended_in_time_is_not_killed_when_the_sandbox_could_not_look() {
    let minimal = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/extensions/minimal.py");
    let home = TempDir::new().unwrap();
    let extension = home.path().join("takes-a-second");
    let code = fs::read_to_string(minimal).unwrap() + "import time\ntime.sleep(1)\n";
    fs::write(&extension, code).unwrap();
    fs::set_permissions(&extension, fs::Permissions::from_mode(0o755)).unwrap();

    let mut run = Command::new(SANDBOX)
        .args(["run", "--invocations", "1", "--extension", extension.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    read_up_to("got SHUTDOWN", run.stdout.as_mut().unwrap());
    send(&run, Signal::STOP);
    thread::park_timeout(BEYOND_SHUTDOWN);
    send(&run, Signal::CONT);
    assert_eq!(exit_code(&mut run), Some(0), "it was killed");
}
