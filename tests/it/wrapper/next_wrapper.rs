//! The wrapper starts another wrapper, which starts the runtime.

use std::fs;

use tempfile::TempDir;

use super::{ALL_GET, script, wrapped, wrapper};
use crate::support::fixture::memory_is_its_own;

/// AWS's own example ("Modifying the runtime environment", wrapper scripts), word for word, without
/// its comments.
const AWS_EXAMPLE: &str = r#"#!/bin/bash
args=("$@")
extra_args=("-X" "importtime")
args=("${args[0]}" "${extra_args[@]}" "${args[@]:1}")
exec "${args[@]}"
"#;

#[track_caller]
fn check_left_out(next: &str, why: &str) {
    let variables = [("THUNDRA_EXTENSION_NEXT_WRAPPER", next)];
    let output = wrapped(&variables, &["/bin/echo", "started"]);
    let expected = format!(
        "[thundra_wrapper] cannot start {next}, the next wrapper: {why}; the runtime starts without it\n"
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    assert_eq!(output.stdout, b"started\n");
}

#[test]
fn the_next_wrapper_starts_the_runtime() {
    let home = TempDir::new().unwrap();
    let next = script(&home, "importtime_wrapper", AWS_EXAMPLE);
    let variables = [("THUNDRA_EXTENSION_NEXT_WRAPPER", next.as_str())];
    let python = script(&home, "python3", "#!/bin/sh\nexec /usr/bin/env python3 \"$@\"\n");
    let prints = "import sys, os; print(sys.argv[1:], os.environ)";
    let output = wrapped(&variables, &[python.as_str(), "-c", prints, "two words", ""]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.starts_with("['two words', ''] ") && printed.contains(ALL_GET[0].0),
        "{printed}"
    );
    assert!(!printed.contains("NEXT_WRAPPER"), "{printed}");
    let times = String::from_utf8(output.stderr).unwrap();
    assert!(times.starts_with("import time: "), "{times}");
}

#[test]
fn a_next_wrapper_may_be_a_script_whose_first_line_names_no_shell() {
    let home = TempDir::new().unwrap();
    let next = script(&home, "next", "exec \"$@\" wrapped\n");
    let output =
        wrapped(&[("THUNDRA_EXTENSION_NEXT_WRAPPER", &next)], &["/bin/echo", "two  words"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "two  words wrapped\n");
}

#[test]
fn a_next_wrapper_that_cannot_start_logs_one_line() {
    let home = TempDir::new().unwrap();
    let not_executable = home.path().join("plain");
    fs::write(&not_executable, "exec \"$@\"\n").unwrap();
    let none = "No such file or directory (os error 2)";
    let not_permitted = "Permission denied (os error 13)";
    check_left_out("/no/such/wrapper", none);
    check_left_out("no-such-wrapper", none);
    check_left_out(not_executable.to_str().unwrap(), not_permitted);
    check_left_out(home.path().to_str().unwrap(), not_permitted);
}

#[test]
fn a_next_wrapper_that_no_kernel_executes_logs_one_line() {
    let home = TempDir::new().unwrap();
    let foreign = "it is a program for another processor";
    let neither = "it is neither a script nor a program for Linux";
    let no_shell = "a program that it needs does not exist, such as one in its first line";
    for (name, content, why) in [
        ("empty", Vec::new(), "it is empty"),
        ("blank", b" \n\r\n".to_vec(), "it is empty"),
        ("foreign", for_processor(243), foreign),
        ("foreign-small", for_processor(243)[..64].to_vec(), foreign),
        ("foreign-large", for_processor(8), foreign),
        ("mach-o", b"\xcf\xfa\xed\xfe\x0c\0\0\x01".to_vec(), neither),
        ("wide", "#\0!\0/\0b\0".into(), neither),
        ("from-windows", b"#!/bin/sh\r\nexec \"$@\"\r\n".to_vec(), no_shell),
        ("no-shell", b"#!/no/such/shell\nexec \"$@\"\n".to_vec(), no_shell),
    ] {
        check_left_out(&script(&home, name, content), why);
    }
}

/// This wrapper, with the number of this processor in its header.
fn for_processor(machine: u8) -> Vec<u8> {
    let mut program = fs::read(wrapper()).unwrap();
    program[18..20].copy_from_slice(&[machine, 0]);
    program
}

#[test]
fn a_next_wrapper_is_found_in_path() {
    let home = TempDir::new().unwrap();
    script(&home, "next", "exec \"$@\" wrapped\n");
    let path = format!("/bin:{}", home.path().display());
    let variables = [("THUNDRA_EXTENSION_NEXT_WRAPPER", "next"), ("PATH", path.as_str())];
    let output = wrapped(&variables, &["/bin/echo", "x"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "x wrapped\n");
}

#[test]
fn an_empty_variable_names_no_wrapper() {
    let output = wrapped(&[("THUNDRA_EXTENSION_NEXT_WRAPPER", "")], &["/bin/echo", "started"]);
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"started\n"[..], &b""[..]));
}

#[test]
fn a_wrapper_that_names_itself_starts_itself_once() {
    if !memory_is_its_own() {
        return; // The kernel cannot execute a program that an emulator runs.
    }
    let own = wrapper().display().to_string();
    let output = wrapped(&[("THUNDRA_EXTENSION_NEXT_WRAPPER", &own)], &["/bin/echo", "started"]);
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"started\n"[..], &b""[..]));
}
