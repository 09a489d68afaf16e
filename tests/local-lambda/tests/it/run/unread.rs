//! The reader of the output may leave, or the disk may be full.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::leftovers::exit_code;
use crate::{FLOOR, LOCAL_LAMBDA};

/// Reads one line and leaves. Returns the exit code and standard error.
#[track_caller]
pub fn left_after_a_line(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(LOCAL_LAMBDA);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    assert!(reader.read_line(&mut String::new()).unwrap() > 0, "it says nothing");
    drop(reader);
    let code = exit_code(&mut child);
    (code, std::io::read_to_string(child.stderr.take().unwrap()).unwrap())
}

/// Writes to a full disk. Returns the exit code and standard error.
pub fn without_room(arguments: &[&str]) -> (Option<i32>, String) {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(LOCAL_LAMBDA).args(arguments).stdout(full).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_run_with_a_closed_output_goes_on_and_its_exit_code_counts() {
    for (event, expected) in [("{}", 0), (r#"{"outcome": "error"}"#, 1)] {
        for form in [&["--json"][..], &[]] {
            // Whatever the first line is, other lines come before the invocation.
            let options = ["run", "--extension", FLOOR, "--event", event, "--agent", "go"];
            let rest = ["--invocations", "2", "--freeze", "50ms"];
            let told = left_after_a_line(&[&options[..], &rest, form].concat());
            assert_eq!(told, (Some(expected), String::new()), "{event} {form:?}");
        }
    }
}

#[test]
fn a_full_disk_is_one_line() {
    let home = TempDir::new().unwrap();
    let directory = home.path().to_str().unwrap();
    for command in [&["run", "--extension", FLOOR][..], &["remote", "--dir", directory]] {
        let (code, told) = without_room(command);
        assert_eq!(code, Some(1), "{told}");
        assert_eq!(told, "local-lambda: No space left on device (os error 28)\n");
    }
}

#[test]
fn a_collector_that_cannot_create_its_authority_prints_the_reason() {
    let home = TempDir::new().unwrap();
    let mut command = Command::new(LOCAL_LAMBDA);
    command.args(["remote", "--tls", "--dir"]).arg(home.path()).stdin(Stdio::null());
    let output = command.env("TMPDIR", home.path().join("missing")).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.starts_with("local-lambda: No such file or directory"), "{told}");
}
