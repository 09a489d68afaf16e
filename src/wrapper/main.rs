//! `thundra_wrapper` starts a function's runtime. Before that it looks for a telemetry agent in the function's
//! package, in its layers and in the image, switches it on and points it at the extension.
//!
//! Lambda runs the wrapper instead of the runtime if `AWS_LAMBDA_EXEC_WRAPPER` names it. The arguments are
//! the interpreter and the interpreter's arguments ("Modifying the runtime environment"). `docs/wrapper.md`
//! lists each runtime and its agents.
//!
//! The files, in reading order. Imports go down only:
//!
//! * [`agents`]: the settings that all runtimes get, and one file for the agents of each runtime. That file
//!   looks for the agent, checks that the function starts with it, and switches it on.
//! * [`runtime`]: which runtime an interpreter is, and its version.
//! * [`handler`]: makes the runtime call an agent's handler, which calls the function's.
//! * [`paths`]: where an agent may be.
//! * [`environment`]: the runtime's variables, given and added.
//! * [`files`], [`zip`]: read the function's files, whatever they contain.
//! * [`next_wrapper`]: starts another wrapper, which starts the runtime.
//! * [`values`]: how the text of a variable becomes a value. The extension uses the same file.
//!
//! Invariants:
//!
//! 1. The runtime starts, whatever the wrapper finds. A failure costs only the agent, and logs one line.
//! 2. The user's settings win. The wrapper adds variables and appends to lists. It replaces only the handler.
//! 3. The runtime gets its arguments unchanged, except a handler that is wrapped.
//! 4. The runtime replaces the wrapper's process (`exec`), so Lambda sees the runtime's process, signals and
//!    exit code.

mod agents;
mod runtime;
mod handler;
mod paths;
mod environment;
mod files;
mod zip;
mod next_wrapper;
#[path = "../config/values.rs"]
mod values;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::environment::Environment;

/// The variable with the path of another wrapper. That wrapper gets the same arguments, and starts the runtime.
const NEXT_WRAPPER: &str = "THUNDRA_EXTENSION_NEXT_WRAPPER";

/// The variable with more arguments for the interpreter, separated by spaces.
const OPTIONS: &str = "THUNDRA_EXTENSION_WRAPPER_OPTIONS";

/// The directory into which Lambda unpacks all layers.
const LAYERS: &str = "/opt";

/// Exit codes of a shell whose program does not exist, or cannot be executed (POSIX, 2.8.2).
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(interpreter) = arguments.next() else {
        log("cannot start the runtime: no argument names it; the exit code is 127");
        return ExitCode::from(NOT_FOUND);
    };
    let mut arguments: Vec<OsString> = arguments.collect();
    let mut environment = Environment::of(env::vars_os());
    let (program, layers) = (Path::new(&interpreter), Path::new(LAYERS));
    if let Err(why) = agents::switch_on(program, &mut arguments, layers, &mut environment) {
        log(&format!("cannot switch the agent on: {why}; the runtime starts without it"));
    }
    let arguments = [environment.words(OPTIONS), arguments].concat();
    start(&interpreter, &arguments, &environment)
}

/// Replaces this process by the next wrapper if there is one, else by the runtime. Returns only if neither
/// starts.
fn start(interpreter: &OsString, arguments: &[OsString], environment: &Environment) -> ExitCode {
    if let Some(wrapper) = environment.get(NEXT_WRAPPER).filter(|it| !it.is_empty()) {
        let why = next_wrapper::start(wrapper, |command| {
            command.arg(interpreter).args(arguments).envs(environment.added());
            // Without this, a wrapper that names itself would start itself forever.
            command.env_remove(NEXT_WRAPPER);
        });
        let name = Path::new(wrapper).display();
        log(&format!(
            "cannot start {name}, the next wrapper: {why}; the runtime starts without it"
        ));
    }
    let error = Command::new(interpreter).args(arguments).envs(environment.added()).exec();
    let exists = error.kind() != io::ErrorKind::NotFound;
    let code = if exists { NOT_EXECUTABLE } else { NOT_FOUND };
    let name = Path::new(interpreter).display();
    log(&format!("cannot start {name}: {error}; the exit code is {code}"));
    ExitCode::from(code)
}

/// Writes one line to stderr, without the line breaks that a path may contain. A failure to write is
/// ignored, because nothing else could report it.
fn log(message: &str) {
    let line = message.replace(['\n', '\r'], " ");
    let _ = writeln!(io::stderr(), "[thundra_wrapper] {line}");
}
