//! The processes of one init. A reset replaces all of them.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::acceptor::Acceptor;
use crate::apis::Apis;
use crate::container::Container;
use crate::failure::Failure;
use crate::function::{End, RunningFunction};
use crate::launch::Launch;
use crate::opt::{self, Opt};
use crate::phases::Command;
use crate::process::Process;
use crate::recorder::Recorder;
use crate::setup::{Runtime, Setup, User};
use crate::timeline::{Event, Role};
use crate::variables;
use crate::watch::Watch;

pub struct Generation {
    number: usize,
    /// Receives the end of each process.
    inbox: Sender<Command>,
    processes: Vec<(Role, Process)>,
    function: Option<RunningFunction>,
}

/// The end of a process, of this generation or an earlier one.
#[derive(Debug, Clone)]
pub struct Exit {
    pub generation: usize,
    pub process: Role,
    pub status: ExitStatus,
    pub at: Instant,
}

/// What all processes of an execution environment share: its setup, container, APIs and recorder.
pub struct Ground {
    pub setup: Setup,
    pub runtime_api: String,
    pub opt: Opt,
    pub container: Arc<Container>,
    pub recorder: Recorder,
    pub apis: Arc<Watch<Apis>>,
    pub acceptor: Acceptor,
    /// Held during a freeze or thaw and its record, so that they come one after the other.
    pub turn: Mutex<()>,
}

impl Ground {
    /// Freezes the processes and the delivery of telemetry until the next thaw. Managed Instances never freeze.
    /// Returns whether this call froze them.
    pub fn freeze(&self) -> bool {
        if self.setup.configuration.initialization.is_managed_instances() {
            return false;
        }
        let _turn = self.turn();
        if self.container.is_frozen() {
            return false;
        }
        self.recorder.telemetry.hold();
        let froze = self.container.freeze();
        if froze {
            self.recorder.add(Event::Frozen);
        } else {
            // The container has ended.
            self.recorder.telemetry.release();
        }
        froze
    }

    pub fn thaw(&self) {
        let _turn = self.turn();
        if self.container.is_frozen() {
            self.recorder.add(Event::Thawed);
            self.container.thaw();
            self.recorder.telemetry.release();
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // After a panic, the next holder finds nothing half done.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generation {
    pub fn new(number: usize, inbox: Sender<Command>) -> Self {
        Self { number, inbox, processes: Vec::new(), function: None }
    }

    pub fn number(&self) -> usize {
        self.number
    }

    pub fn start_extensions(&mut self, ground: &Ground) -> Result<(), Failure> {
        for file in &ground.setup.extensions {
            let variables =
                variables::of_extension(&ground.setup.configuration, &ground.runtime_api);
            let launch = Launch::extension(ground.opt.file(&file.name), variables);
            let launch =
                file.environment.iter().fold(launch, |launch, (name, value)| match value {
                    Some(value) => launch.env(name, value),
                    None => launch.without(name),
                });
            let launch = launch.user(ground.setup.user);
            self.launch(ground, Role::Extension(file.name.clone()), launch)?;
        }
        Ok(())
    }

    pub fn start_runtime(&mut self, ground: &Ground) -> Result<(), Failure> {
        let configuration = &ground.setup.configuration;
        match &ground.setup.runtime {
            Runtime::Outside => Ok(()),
            Runtime::Function(function) => {
                let function = function().start(&ground.runtime_api);
                let (apis, generation) = (Arc::clone(&ground.apis), self.number);
                let inbox = self.inbox.clone();
                function.on_end(move |end| {
                    let Some(status) = status_of(&end) else { return };
                    let (process, at) = (Role::Runtime, Instant::now());
                    let exit = Exit { generation, process, status, at };
                    apis.update(|apis| apis.exits.push(exit));
                    // This fails when the environment is gone.
                    let _ = inbox.send(Command::Exited { generation });
                });
                self.function = Some(function);
                Ok(())
            }
            Runtime::Command { program, arguments, directory } => {
                let variables = variables::of_runtime(configuration, &ground.runtime_api);
                let failure = |error: io::Error| not_executed(ground, &Role::Runtime, &error);
                let program = found(program).map_err(failure)?;
                let user = runtime_user(ground, &program, directory.as_deref()).map_err(failure)?;
                let launch =
                    Launch::runtime(program, arguments.clone(), directory.clone(), variables);
                self.launch(ground, Role::Runtime, launch.user(user))
            }
        }
    }

    pub fn process(&self, role: &Role) -> Option<&Process> {
        self.processes.iter().find(|(it, _)| it == role).map(|(_, process)| process)
    }

    /// Ends a runtime that runs as threads.
    pub fn stop_function(&mut self) {
        if let Some(function) = self.function.take() {
            function.stop();
        }
    }

    fn launch(&mut self, ground: &Ground, role: Role, launch: Launch) -> Result<(), Failure> {
        let (logging, whose) = (ground.recorder.clone(), role.clone());
        ground.recorder.add(Event::Started { process: role.clone() });
        let process = launch
            .spawn(move |line| logging.line(&whose, line))
            .map_err(|error| not_executed(ground, &role, &error))?;
        ground.container.admit(&process);
        ground.recorder.executed(&role, process.pid());
        let (apis, generation, whose) = (Arc::clone(&ground.apis), self.number, role.clone());
        let (recorder, inbox) = (ground.recorder.clone(), self.inbox.clone());
        process.on_exit(move |status| {
            let exit = Exit { generation, process: whose, status, at: Instant::now() };
            // This comes first, so that a thread that waits for the exit finds it in the timeline.
            recorder.exited(&exit);
            apis.update(|apis| apis.exits.push(exit));
            // This fails when the environment is gone.
            let _ = inbox.send(Command::Exited { generation });
        });
        self.processes.push((role, process));
        Ok(())
    }
}

/// The exit status that a process would have had instead of this function's threads. `None` if it was stopped,
/// because then the platform has its end.
fn status_of(end: &End) -> Option<ExitStatus> {
    const ABORT: i32 = 6;
    const EXIT_1: i32 = 1 << 8;
    match end {
        End::Stopped => None,
        End::Crashed => Some(ExitStatus::from_raw(ABORT)),
        End::Exited => Some(ExitStatus::from_raw(0)),
        End::InitFailed | End::Disconnected(_) | End::Unreachable(_) | End::Refused(_) => {
            Some(ExitStatus::from_raw(EXIT_1))
        }
    }
}

fn not_executed(ground: &Ground, role: &Role, error: &io::Error) -> Failure {
    ground.recorder.add(Event::NotExecuted { process: role.clone(), why: error.to_string() });
    Failure::of_launch(role.clone(), error)
}

/// Finds the program as the shell of this process's user does, because the runtime's own PATH is Lambda's.
/// Links are not followed, because Python finds its virtual environment by the path it was started with.
fn found(program: &Path) -> io::Result<PathBuf> {
    let shown = program.display();
    if program.components().count() > 1 {
        return std::path::absolute(program)
            .map_err(|error| io::Error::new(error.kind(), format!("{shown}: {error}")));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&path).map(|directory| directory.join(program));
    candidates
        .into_iter()
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no {shown} in PATH")))
}

/// The user that runs the runtime. A function's files may be where Lambda's user cannot read them.
fn runtime_user(ground: &Ground, program: &Path, directory: Option<&Path>) -> io::Result<User> {
    if ground.setup.user == User::Own || !rustix::process::geteuid().is_root() {
        return Ok(User::Own);
    }
    let here = std::env::current_dir()?;
    for path in [program, directory.unwrap_or(&here)] {
        if !opt::is_open_to_all(path)? {
            ground.recorder.note(format!(
                "the runtime runs as root instead of Lambda's user: {} is not open to all",
                path.display()
            ));
            return Ok(User::Own);
        }
    }
    Ok(User::Lambda)
}
