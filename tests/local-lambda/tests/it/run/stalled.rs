//! If the machine stands still, the extension is not at fault.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::interrupted::read_up_to;
use crate::LOCAL_LAMBDA;
use crate::extensions::Packed;
use crate::leftovers::{exit_code, send};

/// Gives the extension 3 s more than it takes, for a busy machine.
const TIME_LIMITS_SCALE: u32 = 2;
/// Longer than the time between the extension's event and the end of the shutdown.
const BEYOND_SHUTDOWN: Duration = Duration::from_millis(2_300 * TIME_LIMITS_SCALE as u64);

#[test]
fn an_extension_that_ended_in_time_is_not_killed_after_a_stall_of_local_lambda() {
    let extension = Packed::new("minimal");
    let mut run = Command::new(LOCAL_LAMBDA)
        .args(["run", "--invocations", "1", "--env", "FAULT=EndsAfterASecond"])
        .args(["--time-limits-scale", &TIME_LIMITS_SCALE.to_string(), "--extension"])
        .arg(extension.file())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    read_up_to("got SHUTDOWN", run.stdout.as_mut().unwrap());
    send(&run, Signal::STOP);
    thread::park_timeout(BEYOND_SHUTDOWN);
    send(&run, Signal::CONT);
    assert_eq!(exit_code(&mut run), Some(0), "it was killed");
}
