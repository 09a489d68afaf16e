//! A program outside the execution environment, such as a build.

use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use crate::leftovers::{self, Kind, Remove};
use crate::process_group::ProcessGroup;

/// Runs a program to its end without a time limit, and returns its standard output. The program shares this
/// process's standard error. An interrupt kills the program and its children.
///
/// # Errors
///
/// When it cannot be executed, or its output cannot be read.
#[expect(clippy::missing_panics_doc, reason = "no call can make it panic")]
pub fn run_child_command(mut command: Command) -> io::Result<(ExitStatus, Vec<u8>)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let make = || {
        let (group, stdout, _) = ProcessGroup::spawn(&mut command, None)?;
        let group = Arc::new(group);
        let killed = Arc::clone(&group);
        let remove: Remove = Box::new(move || {
            // A process that outlives SIGKILL cannot be reported here, because the exit status has no room for
            // that.
            let _ended = killed.kill();
        });
        Ok::<_, io::Error>(((group, stdout), remove))
    };
    let ((group, stdout), _entry) = leftovers::enter(Kind::Process, make)?;
    let mut output = Vec::new();
    stdout.expect("stdout is a pipe").read_to_end(&mut output)?;
    let status = group.wait_to_the_end();
    // This also reaps the process.
    let _ended = group.kill();
    Ok((status, output))
}
