//! A program outside the execution environment, such as a build.

use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use crate::leftovers::{self, Kind, Remove};
use crate::process_group::ProcessGroup;

/// Runs a program to its end, however long that takes, and gives what it wrote to standard output;
/// its standard error is that of this program. An interrupt kills it and what it started.
///
/// # Errors
///
/// When it can't be executed, or its output not be read.
#[expect(clippy::missing_panics_doc, reason = "no call can make it panic")]
pub fn run_child_command(mut command: Command) -> io::Result<(ExitStatus, Vec<u8>)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let make = || {
        let (group, stdout, _) = ProcessGroup::spawn(&mut command, None)?;
        let group = Arc::new(group);
        let killed = Arc::clone(&group);
        let remove: Remove = Box::new(move || {
            // Of one that outlives its SIGKILL the exit status has no room to tell.
            let _ended = killed.kill();
        });
        Ok::<_, io::Error>(((group, stdout), remove))
    };
    let ((group, stdout), _entry) = leftovers::enter(Kind::Process, make)?;
    let mut output = Vec::new();
    stdout.expect("stdout is a pipe").read_to_end(&mut output)?;
    let status = group.wait_to_the_end();
    // Which reaps it.
    let _ended = group.kill();
    Ok((status, output))
}
