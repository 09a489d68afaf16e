//! An extension's output does not fill the memory.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::LOCAL_LAMBDA;
use crate::lambda::puppet::script;
use crate::leftovers::{exit_code, send};

/// Limit for 100 MB of output: the kept logs, the output that waits for the terminal, and the program itself.
const RESIDENT_BYTES_MAX: u64 = 96 << 20;

/// The peak resident memory of the process.
fn resident_bytes(process: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[track_caller]
fn stays_small(write: &str) {
    let text = format!("#!/bin/sh\n{write}\necho; echo written; exec sleep 1000\n");
    let (_home, extension) = script(&text);
    let mut command = Command::new(LOCAL_LAMBDA);
    command.args(["run", "--time-limits-scale", "10", "--extension"]).arg(extension);
    let mut run = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(run.stdout.take().unwrap()).split(b'\n');
    assert!(lines.map_while(Result::ok).any(|line| line.ends_with(b"written")), "it never was");
    let resident = resident_bytes(&run);
    send(&run, Signal::TERM);
    assert_eq!(exit_code(&mut run), Some(128 + Signal::TERM.as_raw()));
    assert!(resident < RESIDENT_BYTES_MAX, "{resident}");
}

#[test]
fn many_lines_do_not_fill_the_memory() {
    stays_small("head -c 100000000 /dev/zero | tr '\\0' x | fold -w 1000");
}

#[test]
fn a_line_without_an_end_does_not_fill_the_memory() {
    stays_small("head -c 100000000 /dev/zero | tr '\\0' x");
}
