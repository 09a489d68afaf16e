//! If the machine stands still, the extension is not at fault.

use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use rustix::process::Signal;

use super::interrupted::read_up_to;
use crate::LOCAL_LAMBDA;
use crate::conformance::{MINIMAL, file};
use crate::leftovers::{exit_code, send};

/// Longer than the time between the extension's event and the end of the shutdown.
const BEYOND_SHUTDOWN: Duration = Duration::from_millis(2_300);

#[test]
fn an_extension_that_ended_in_time_is_not_killed_after_a_stall_of_local_lambda() {
    let code = fs::read_to_string(MINIMAL).unwrap() + "import time\ntime.sleep(1)\n";
    let (_home, extension) = file("takes-a-second", &code, 0o755);

    let mut run = Command::new(LOCAL_LAMBDA)
        .args(["run", "--invocations", "1", "--extension", &extension])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    read_up_to("got SHUTDOWN", run.stdout.as_mut().unwrap());
    send(&run, Signal::STOP);
    thread::park_timeout(BEYOND_SHUTDOWN);
    send(&run, Signal::CONT);
    assert_eq!(exit_code(&mut run), Some(0), "it was killed");
}
