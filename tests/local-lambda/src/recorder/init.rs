//! Records the start of an environment.

use std::time::Duration;

use super::{BYTES_PER_MB, Recorder};
use crate::configuration::Initialization;
use crate::failure::Failure;
use crate::telemetry::event::Event as Telemetry;
use crate::telemetry::record::{
    self, InitReport, InitRuntimeDone, InitStart, Instance, RestoreDone,
};
use crate::telemetry::vocabulary::{ErrorType, InitializationType, Outcome, Phase, Took};
use crate::timeline::{Event, Status};

impl Recorder {
    pub fn init_started(&self, phase: Phase) {
        self.add(Event::InitStarted { phase: name_of(phase) });
        self.telemetry.record(Telemetry::InitStart(InitStart {
            initialization_type: self.initialization_type(),
            instance: self.instance(),
            phase,
            tracing: None,
        }));
    }

    /// The runtime has polled for its first event, or has failed.
    pub fn runtime_initialised(&self, phase: Phase, done: &Result<(), Failure>) {
        self.telemetry.record(Telemetry::InitRuntimeDone(InitRuntimeDone {
            initialization_type: self.initialization_type(),
            outcome: self.outcome_of(done),
            phase,
        }));
    }

    pub fn init_ended(
        &self,
        phase: Phase,
        done: &Result<(), Failure>,
        duration: Duration,
        extensions: Vec<record::Extension>,
    ) {
        for extension in extensions {
            self.telemetry.record(Telemetry::Extension(extension));
        }
        let status = status_of(done);
        self.add(Event::InitEnded { status, duration });
        self.telemetry.record(Telemetry::InitReport(InitReport {
            initialization_type: self.initialization_type(),
            metrics: Took { duration },
            phase,
            outcome: self.outcome_of(done),
        }));
    }

    pub fn restore_started(&self) {
        self.add(Event::RestoreStarted);
        self.telemetry.record(Telemetry::RestoreStart(self.instance()));
    }

    pub fn restored(&self, done: &Result<(), Failure>, duration: Duration) {
        self.add(Event::Restored);
        let restored =
            RestoreDone { outcome: self.outcome_of(done), metrics: None, spans: Vec::new() };
        self.telemetry.record(Telemetry::RestoreRuntimeDone(restored.clone()));
        let metrics = Some(Took { duration });
        self.telemetry.record(Telemetry::RestoreReport(RestoreDone { metrics, ..restored }));
    }

    fn instance(&self) -> Instance {
        let memory_bytes = u64::from(self.configuration.memory_mb) * BYTES_PER_MB;
        Instance {
            runtime_version: None,
            runtime_version_arn: None,
            function_name: self.configuration.function_name.clone(),
            function_version: self.configuration.version.clone(),
            function_arn: None,
            instance_id: None,
            instance_max_memory_bytes: Some(memory_bytes),
        }
    }

    fn initialization_type(&self) -> InitializationType {
        match self.configuration.initialization {
            Initialization::OnDemand => InitializationType::OnDemand,
            Initialization::ProvisionedConcurrency => InitializationType::ProvisionedConcurrency,
            Initialization::SnapStart => InitializationType::SnapStart,
            Initialization::ManagedInstances { .. } => InitializationType::LambdaManagedInstances,
        }
    }

    fn outcome_of(&self, done: &Result<(), Failure>) -> Outcome {
        match status_of(done) {
            // In the schema, a failed init has an error.
            Status::Failure(error_type) => Outcome::Error(ErrorType::new(error_type)),
            status => self.outcome_of_status(&status),
        }
    }
}

fn name_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Init => "init",
        Phase::Invoke => "invoke",
        Phase::SnapStart => "snap-start",
    }
}

fn status_of(done: &Result<(), Failure>) -> Status {
    match done {
        Ok(()) => Status::Success,
        Err(failure) => failure.status(),
    }
}
