//! The phases of an execution environment, on one thread: init, then invocations with a freeze after
//! each, then shutdown (AWS docs "Lambda execution environment lifecycle"; order of the steps from
//! the emulator's `internal/lambda/rapid`).
//!
//! The thread waits for nothing but its inbox and, with a deadline, for what the processes and
//! their calls do to [`Apis`]. When the inbox is hung up, all is killed without a phase.

mod init;
mod invoke;
mod managed;
mod shutdown;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use crate::apis::Apis;
use crate::configuration::Initialization;
use crate::failure::Failure;
use crate::generation::{Generation, Ground};
use crate::invocation::{Invocation, Reply};
use crate::runtime_event::CallerContext;
use crate::timeline::Role;

pub use shutdown::{Ended, ShutdownReport};

pub enum Command {
    Invoke(Order),
    Shutdown { reason: String, done: Sender<ShutdownReport> },
}

/// An invocation that was asked for.
pub struct Order {
    pub request_id: String,
    pub payload: Vec<u8>,
    pub context: CallerContext,
    pub replied: Sender<Reply>,
    pub ended: Sender<Invocation>,
}

pub struct Phases {
    ground: Arc<Ground>,
    generation: Option<Generation>,
    generations: usize,
    /// What the last init took, until an invocation is billed for it.
    unbilled_init: Duration,
    /// Why the init that nobody waited for failed. On demand it is repeated; on Managed Instances
    /// nothing is.
    failed_init: Option<Failure>,
    /// Whether a snapshot is yet to be restored.
    is_snapshot: bool,
}

impl Phases {
    pub fn new(ground: Arc<Ground>) -> Self {
        let is_snapshot = ground.setup.configuration.initialization == Initialization::SnapStart;
        Self {
            ground,
            generation: None,
            generations: 0,
            unbilled_init: Duration::ZERO,
            failed_init: None,
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
                Command::Invoke(order) => self.invoke(&order),
                Command::Shutdown { reason, done } => {
                    let report = self.shut_down(&reason);
                    // Nobody waits for it when the sandbox is dropped meanwhile.
                    let _ = done.send(report);
                    return;
                }
            }
        }
        self.kill();
    }

    fn is_concurrent(&self) -> bool {
        self.ground.setup.configuration.initialization.is_managed_instances()
    }

    fn generation_number(&self) -> usize {
        self.generation.as_ref().map_or(self.generations, Generation::number)
    }

    /// Waits until `done` gives something, a process ends, or time is up.
    fn wait<R>(
        &self,
        deadline: Instant,
        mut done: impl FnMut(&mut Apis) -> Option<R>,
    ) -> Result<R, Failure> {
        let generation = self.generation_number();
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.ground.apis.wait(left, |apis| match done(apis) {
            Some(found) => Some(Ok(found)),
            None if apis.abandoned => Some(Err(Failure::Abandoned)),
            None => crash(apis, generation).map(Err),
        });
        waited.unwrap_or(Err(Failure::TimedOut(self.ground.setup.configuration.timeout)))
    }
}

/// A process that ended although it should go on.
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
