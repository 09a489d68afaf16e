//! Records each event in the timeline, and for the subscribers of telemetry.

use std::sync::Arc;
use std::time::Instant;

use crate::configuration::Configuration;
use crate::generation::Exit;
use crate::telemetry::event::Event as Telemetry;
use crate::telemetry::vocabulary::{ErrorType, Outcome};
use crate::telemetry_api::TelemetryApi;
use crate::timeline::{Event, Role, Status, Timeline};
use crate::watch::Watch;

mod init;
mod invocation;

pub use invocation::Usage;

const BYTES_PER_MB: u64 = 1024 * 1024;

#[derive(Clone)]
pub struct Recorder {
    pub timeline: Timeline,
    pub telemetry: TelemetryApi,
    configuration: Arc<Configuration>,
    notes: Arc<Watch<Vec<String>>>,
    /// The pids of all processes so far, in the order of their start.
    pids: Arc<Watch<Vec<(Role, u32)>>>,
}

impl Recorder {
    pub fn new(
        configuration: Arc<Configuration>,
        telemetry: TelemetryApi,
        timeline: Timeline,
    ) -> Self {
        Self { timeline, telemetry, configuration, notes: Arc::default(), pids: Arc::default() }
    }

    /// Notes once that a requested feature is not available.
    pub fn note(&self, note: String) {
        self.notes.update(|notes| {
            if !notes.contains(&note) {
                notes.push(note);
            }
        });
    }

    pub fn notes(&self) -> Vec<String> {
        self.notes.read(Clone::clone)
    }

    pub fn executed(&self, process: &Role, pid: u32) {
        self.pids.update(|pids| pids.push((process.clone(), pid)));
    }

    pub fn exited(&self, exit: &Exit) {
        let event =
            Event::Exited { process: exit.process.clone(), status: exit.status.to_string() };
        self.add_at(exit.at, event);
    }

    /// The pid of the latest process with this role.
    pub fn pid_of(&self, process: &Role) -> Option<u32> {
        self.pids
            .read(|pids| pids.iter().rev().find(|(role, _)| role == process).map(|(_, pid)| *pid))
    }

    pub fn add(&self, event: Event) {
        self.timeline.add(event);
    }

    pub fn add_at(&self, at: Instant, event: Event) {
        self.timeline.add_at(at, event);
    }

    /// Records a line that a process wrote.
    pub fn line(&self, process: &Role, line: &str) {
        let line = line.to_owned();
        self.telemetry.record(match process {
            Role::Runtime => Telemetry::FunctionLine(line.clone()),
            Role::Extension(_) => Telemetry::ExtensionLine(line.clone()),
        });
        self.add(Event::Log { process: process.clone(), line });
    }

    fn outcome_of_status(&self, status: &Status) -> Outcome {
        // Each of AWS's two daemons has another word for it (the emulator's is `fatalerror` on demand).
        let managed = self.configuration.initialization.is_managed_instances();
        let timeout = if managed { "Sandbox.Timedout" } else { "Sandbox.Timeout" };
        match status {
            Status::Success => Outcome::Success,
            Status::Error(error_type) => Outcome::Error(ErrorType::new(error_type)),
            Status::Failure(error_type) => Outcome::Failure(ErrorType::new(error_type)),
            Status::Timeout => Outcome::Timeout(ErrorType::new(timeout)),
        }
    }
}
