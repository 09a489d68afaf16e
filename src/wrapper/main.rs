//! `thundra_wrapper` starts a function's runtime with the agent switched on that is in the function's
//! package or in another layer, and has it report to the extension.
//!
//! Lambda calls it in place of the runtime where `AWS_LAMBDA_EXEC_WRAPPER` names it, with the
//! interpreter and its arguments ("Modifying the runtime environment"). What it does for which runtime
//! stands in the README.
//!
//! Invariants:
//!
//! 1. The runtime starts, whatever is found: what fails costs the agent, and is one line on stderr.
//! 2. What the user has set wins: a variable is only added, or extended where it is a list.
//! 3. Arguments go on as they came, and it is the runtime itself that Lambda then sees: its process,
//!    its signals, its exit code.

mod environment;
#[path = "../parsing.rs"]
mod parsing;
mod agents;
mod files;
mod handler;
mod runtime;
mod python;
mod node;
mod java;
mod dotnet;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::environment::Environment;

/// Names a program that is to start the runtime, as this one was.
const NEXT_WRAPPER: &str = "THUNDRA_EXTENSION_NEXT_WRAPPER";

/// Plain arguments for the interpreter itself, with spaces between them.
const OPTIONS: &str = "THUNDRA_EXTENSION_WRAPPER_OPTIONS";

/// Where layers are.
const LAYERS: &str = "/opt";

/// What a shell ends with where a program is not there, or may not be executed (POSIX, 2.8.2).
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

const ENOEXEC: i32 = 8;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(interpreter) = arguments.next() else {
        say("cannot start a runtime: none was named");
        return ExitCode::from(NOT_FOUND);
    };
    let arguments: Vec<OsString> = arguments.collect();
    let mut environment = Environment::of(env::vars_os());
    let (program, layers) = (Path::new(&interpreter), Path::new(LAYERS));
    if let Err(why) = agents::switch_on(program, &arguments, layers, &mut environment) {
        say(&format!("the agent is left out: {why}"));
    }
    let arguments = [environment.words(OPTIONS), arguments].concat();
    start(&interpreter, &arguments, &environment)
}

/// Becomes the runtime, by the next wrapper if there is one. Comes back only where neither starts.
fn start(interpreter: &OsString, arguments: &[OsString], environment: &Environment) -> ExitCode {
    if let Some(wrapper) = environment.get(NEXT_WRAPPER).filter(|it| !it.is_empty()) {
        let by = |mut command: Command| {
            command.arg(interpreter).args(arguments).envs(environment.added());
            // Else one that names itself would go round.
            command.env_remove(NEXT_WRAPPER).exec()
        };
        let mut error = by(Command::new(wrapper));
        // A script without a first line that says whose it is: shells take it for theirs.
        if error.raw_os_error() == Some(ENOEXEC) {
            let mut shell = Command::new("/bin/sh");
            shell.arg(wrapper);
            error = by(shell);
        }
        let name = Path::new(wrapper).display();
        say(&format!(
            "cannot start {name}, the next wrapper: {error}; the runtime starts without it"
        ));
    }
    let error = Command::new(interpreter).args(arguments).envs(environment.added()).exec();
    say(&format!("cannot start {}: {error}", Path::new(interpreter).display()));
    let is_there = error.kind() != io::ErrorKind::NotFound;
    ExitCode::from(if is_there { NOT_EXECUTABLE } else { NOT_FOUND })
}

/// One line, whatever is in it. Where it can't be written there is nothing else to do.
fn say(message: &str) {
    let line = message.replace(['\n', '\r'], " ");
    let _ = writeln!(io::stderr(), "[thundra_wrapper] {line}");
}
