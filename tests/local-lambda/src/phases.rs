//! The phases of an execution environment, on one thread: init, then invocations with a freeze after each, then
//! shutdown (AWS docs "Lambda execution environment lifecycle"; order of the steps from the emulator's
//! `internal/lambda/rapid`).
//!
//! The thread waits for its inbox, and, with a deadline, for changes in [`Apis`] by the processes and their
//! calls.

mod init;
mod invoke;
mod managed;
mod run;
mod shutdown;
mod shutdown_report;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::apis::Apis;
use crate::configuration::Initialization;
use crate::failure::Failure;
use crate::generation::{Generation, Ground};
use crate::invocation::{Invocation, Reply};
use crate::runtime_event::CallerContext;
use crate::timeline::Role;

pub use shutdown_report::{Ended, ShutdownReport};

pub enum Command {
    Invoke(Order),
    Shutdown {
        reason: String,
        done: Sender<ShutdownReport>,
    },
    /// A process of this generation has ended, and [`Apis`] has the details. On demand, an invocation that
    /// fails by this finds that itself.
    Exited {
        generation: usize,
    },
    /// Ends everything without a shutdown phase, because the [`crate::Lambda`] was dropped.
    Kill,
}

/// A requested invocation.
pub struct Order {
    pub request_id: String,
    pub payload: Vec<u8>,
    pub context: CallerContext,
    pub replied: Sender<Reply>,
    pub ended: Sender<Invocation>,
}

pub struct Phases {
    ground: Arc<Ground>,
    /// Receives the ends of processes.
    inbox: Sender<Command>,
    generation: Option<Generation>,
    generations: usize,
    /// The duration of the last init, until an invocation is billed for it.
    unbilled_init: Duration,
    /// Why the environment ended last. On demand, the next invocation starts it again. On Managed Instances
    /// nothing is repaired.
    over: Option<Failure>,
    /// Threads of invocations on Managed Instances. Those that have ended are removed when the next one begins.
    in_flight: Vec<JoinHandle<()>>,
    /// Whether the environment is a snapshot that is not restored yet.
    is_snapshot: bool,
}

impl Phases {
    pub fn new(ground: Arc<Ground>, inbox: Sender<Command>) -> Self {
        let is_snapshot = ground.setup.configuration.initialization == Initialization::SnapStart;
        Self {
            ground,
            inbox,
            generation: None,
            generations: 0,
            unbilled_init: Duration::ZERO,
            over: None,
            in_flight: Vec::new(),
            is_snapshot,
        }
    }

    pub fn run(mut self, inbox: &Receiver<Command>) {
        self.first_init();
        for command in inbox {
            if self.ground.apis.read(|apis| apis.abandoned) {
                break;
            }
            match command {
                Command::Invoke(order) if self.is_concurrent() => self.invoke_beside_others(order),
                Command::Invoke(order) => self.invoke(order),
                Command::Shutdown { reason, done } => {
                    let report = self.shut_down(&reason);
                    // This fails if the `Lambda` was dropped meanwhile.
                    let _ = done.send(report);
                    return;
                }
                Command::Exited { generation } => self.lose(generation),
                Command::Kill => break,
            }
        }
        self.kill();
    }

    /// Ends the environment for this reason.
    fn fail(&mut self, failure: Failure) {
        self.shut_down(failure.shutdown_reason());
        self.over = Some(failure);
    }

    fn is_concurrent(&self) -> bool {
        self.ground.setup.configuration.initialization.is_managed_instances()
    }

    fn generation_number(&self) -> usize {
        self.generation.as_ref().map_or(self.generations, Generation::number)
    }

    fn wait<R>(
        &self,
        deadline: Instant,
        done: impl FnMut(&mut Apis) -> Option<R>,
    ) -> Result<R, Failure> {
        wait(&self.ground, self.generation_number(), deadline, done)
    }
}

/// Waits until `done` returns something, a process of this generation ends, or the time is over.
fn wait<R>(
    ground: &Ground,
    generation: usize,
    deadline: Instant,
    mut done: impl FnMut(&mut Apis) -> Option<R>,
) -> Result<R, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    let waited = ground.apis.wait(left, |apis| match done(apis) {
        Some(found) => Some(Ok(found)),
        None if apis.abandoned => Some(Err(Failure::Abandoned)),
        None => {
            crash(apis, generation).or(apis.shutting_down.then_some(Failure::ShutDown)).map(Err)
        }
    });
    waited.unwrap_or(Err(Failure::TimedOut(ground.setup.configuration.timeout)))
}

/// The failure of a process that ended too early.
fn crash(apis: &Apis, generation: usize) -> Option<Failure> {
    let exit = apis.exits.iter().find(|exit| exit.generation == generation)?;
    let reported = match &exit.process {
        Role::Runtime => None,
        Role::Extension(name) => {
            let mut registered = apis.extensions.registered().iter();
            let extension = registered.find(|extension| extension.name() == name);
            extension.and_then(|extension| extension.error_reported().map(str::to_owned))
        }
    };
    Some(Failure::Exited { process: exit.process.clone(), status: exit.status, reported })
}
