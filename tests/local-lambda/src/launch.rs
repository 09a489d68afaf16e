//! Starts an extension with its file name and exactly the environment that Lambda would give it.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::configuration::Configuration;
use crate::leftovers::TempDir;
use crate::platform::Platform;
use crate::process::Process;
use crate::setup::User;
use crate::variables::{PATH, RUNTIME_API, Variables};

/// Names a program that runs the extension, such as `qemu-aarch64-static` for a binary of another architecture.
/// Arguments may follow, separated by spaces. The program gets the extension's path as its last argument.
/// qemu's user mode passes that path on as `argv[0]`, so the extension's name stays the base name of its own
/// file. The program is looked up in [`PATH`], unless its path is absolute.
pub const RUNNER: &str = "LOCAL_LAMBDA_RUNNER";

/// The uid of a function's processes on Lambda. On Managed Instances extensions run with it (the emulator's
/// `process.go`), and on demand they do too, as seen there.
const LAMBDA_UID: u32 = 993;
const LAMBDA_GID: u32 = 990;

#[derive(Debug, Clone)]
#[must_use]
pub struct Launch {
    binary: PathBuf,
    name: Option<String>,
    runner: Option<String>,
    arguments: Vec<OsString>,
    directory: Option<PathBuf>,
    environment: BTreeMap<OsString, OsString>,
    user: User,
    is_stopped: bool,
    /// The address of the Runtime API in this environment. It replaces the one in the variables.
    runtime_api: Option<String>,
}

impl Launch {
    /// # Panics
    ///
    /// When there is no such file.
    pub fn of(binary: impl AsRef<Path>) -> Self {
        let binary = binary.as_ref();
        let binary = fs::canonicalize(binary)
            .unwrap_or_else(|error| panic!("no extension at {}: {error}", binary.display()));
        Self::exactly(binary, BTreeMap::new())
            .by_runner()
            .env("PATH", PATH)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_LAMBDA_FUNCTION_NAME", Configuration::default().function_name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
    }

    /// A file in `/opt/extensions`, whose path already has the extension's name.
    pub(crate) fn extension(path: PathBuf, variables: Variables) -> Self {
        Self::exactly(path, variables).by_runner()
    }

    pub(crate) fn runtime(
        program: PathBuf,
        arguments: Vec<OsString>,
        directory: Option<PathBuf>,
        variables: Variables,
    ) -> Self {
        Self { arguments, directory, ..Self::exactly(program, variables) }
    }

    fn exactly(binary: PathBuf, variables: Variables) -> Self {
        let runtime_api = variables.get(RUNTIME_API).cloned();
        let environment = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self {
            binary,
            name: None,
            runner: None,
            arguments: Vec::new(),
            directory: None,
            environment: environment.collect(),
            user: User::Own,
            is_stopped: false,
            runtime_api,
        }
    }

    fn by_runner(self) -> Self {
        Self { runner: env::var(RUNNER).ok(), ..self }
    }

    /// Runs the binary under this program, as [`RUNNER`] does.
    pub fn under(mut self, runner: &str) -> Self {
        self.runner = Some(runner.to_owned());
        self
    }

    /// Gives it one more argument.
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Starts the binary through a link of this name, as a user who renamed the file would.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    pub fn without(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.remove(name.as_ref());
        self
    }

    pub fn on(mut self, platform: &Platform) -> Self {
        self.runtime_api = Some(platform.runtime_api());
        self.env(RUNTIME_API, platform.runtime_api())
    }

    /// Selects the user. Only root can start processes as Lambda's user.
    pub fn user(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// Starts a shell that stops at once. After a SIGCONT the shell executes the binary in its own process. So
    /// a caller can freeze or limit the process before its first instruction.
    pub fn stopped(mut self) -> Self {
        self.is_stopped = true;
        self
    }

    /// # Panics
    ///
    /// When the binary cannot be executed. The message has the system's reason.
    #[must_use]
    pub fn start(self) -> Process {
        let home = self.name.as_ref().map(|_| TempDir::new().expect("a temporary directory"));
        let path = match (&self.name, &home) {
            (Some(name), Some(home)) => {
                let link = home.path().join(name);
                symlink(&self.binary, &link).expect("a link in an empty directory");
                link
            }
            _ => self.binary.clone(),
        };
        let command = self.command(&path);
        Process::start(command, home, self.own_runtime_api())
    }

    /// `on_line` gets each line that the process writes.
    ///
    /// # Errors
    ///
    /// When the binary cannot be executed, with the system's reason.
    pub(crate) fn spawn(
        self,
        on_line: impl Fn(&str) + Send + Sync + 'static,
    ) -> io::Result<Process> {
        check_format(&self.binary)?;
        let command = self.command(&self.binary);
        Process::spawn(command, None, self.own_runtime_api(), on_line)
    }

    /// The address in the variables, if it is this local Lambda's. A test may write the host as a name. Another
    /// port belongs to somebody else.
    fn own_runtime_api(&self) -> Option<&OsStr> {
        let told = self.environment.get(OsStr::new(RUNTIME_API))?;
        let (_, port) = self.runtime_api.as_ref()?.rsplit_once(':')?;
        (told.to_str()?.rsplit_once(':')?.1 == port).then_some(told)
    }

    fn command(&self, path: &Path) -> Command {
        let mut command = command(path, self.runner.as_deref());
        if self.is_stopped {
            command = stopped(&command);
        }
        command.args(&self.arguments).env_clear().envs(&self.environment).stdin(Stdio::null());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if self.user == User::Lambda {
            command.uid(LAMBDA_UID).gid(LAMBDA_GID);
        }
        command
    }
}

/// A shell that stops before it executes this command. The program's path is its name too.
fn stopped(command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", r#"kill -STOP $$; exec "$@""#, "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// Refuses a file of unknown format. Lambda executes the file itself, but the C library would pass such a file
/// to a shell.
fn check_format(path: &Path) -> io::Result<()> {
    let mut start = Vec::new();
    match fs::File::open(path) {
        Ok(file) => file.take(4).read_to_end(&mut start)?,
        // The system decides whether this file can be executed.
        Err(_) => return Ok(()),
    };
    let known = start == b"\x7fELF" || start.starts_with(b"#!");
    if known { Ok(()) } else { Err(rustix::io::Errno::NOEXEC.into()) }
}

fn command(path: &Path, runner: Option<&str>) -> Command {
    let words: Vec<&str> = runner.unwrap_or_default().split_whitespace().collect();
    match words.split_first() {
        None => {
            let mut command = Command::new(path);
            command.arg0(path);
            command
        }
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(path);
            command
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_gets_the_path_of_the_extension_last() {
        let command = command(Path::new("/opt/extensions/x"), Some("qemu-aarch64-static -cpu max"));
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(command.get_program(), "qemu-aarch64-static");
        assert_eq!(arguments, ["-cpu", "max", "/opt/extensions/x"]);
    }

    #[test]
    fn without_a_runner_the_extension_is_the_program() {
        for runner in [None, Some(""), Some(" ")] {
            let command = command(Path::new("/opt/extensions/x"), runner);
            assert_eq!(command.get_program(), "/opt/extensions/x");
            assert_eq!(command.get_args().count(), 0);
        }
    }
}
