//! Tells what happens, to the timeline and to the subscribers of telemetry.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::configuration::{Configuration, Initialization};
use crate::failure::Failure;
use crate::generation::Exit;
use crate::invocation::{Invocation, Reply};
use crate::runtime_event::CallerContext;
use crate::telemetry::event::Event as Telemetry;
use crate::telemetry::record::{
    self, Billing, InitReport, InitRuntimeDone, InitStart, Report, ReportMetrics, RestoreReport,
    RestoreRuntimeDone, RestoreStart, RuntimeDone, RuntimeDoneMetrics, Start,
};
use crate::telemetry::term::{
    ErrorType, InitializationType, Outcome, Phase, Span, SpanName, Took, Tracing,
};
use crate::telemetry_api::TelemetryApi;
use crate::timeline::{Event, Role, Status, Timeline};
use crate::watch::Watch;

/// Of a sandbox that does not limit memory nobody knows the peak.
const UNKNOWN_MEMORY_MB: u32 = 0;

const BYTES_PER_MB: u64 = 1024 * 1024;

/// What the report of an invocation tells beside the invocation itself.
pub struct Usage {
    /// Of the init or the restore that came before it.
    pub init: Option<Duration>,
    pub restore: Option<Duration>,
    /// Of all processes since the start; none where memory is not limited.
    pub memory_peak_bytes: Option<u64>,
}

#[derive(Clone)]
pub struct Chronicle {
    pub timeline: Timeline,
    pub telemetry: TelemetryApi,
    configuration: Arc<Configuration>,
    notes: Arc<Watch<Vec<String>>>,
    /// Of all processes so far, in the order of their start.
    pids: Arc<Watch<Vec<(Role, u32)>>>,
}

impl Chronicle {
    pub fn new(
        configuration: Arc<Configuration>,
        telemetry: TelemetryApi,
        timeline: Timeline,
    ) -> Self {
        Self { timeline, telemetry, configuration, notes: Arc::default(), pids: Arc::default() }
    }

    /// Something that was asked for and can't be had; told once.
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

    /// Of the process of this role that was started last.
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

    /// A line that a process wrote.
    pub fn line(&self, process: &Role, line: &str) {
        let line = line.to_owned();
        self.telemetry.record(match process {
            Role::Runtime => Telemetry::FunctionLine(line.clone()),
            Role::Extension(_) => Telemetry::ExtensionLine(line.clone()),
        });
        self.add(Event::Log { process: process.clone(), line });
    }

    pub fn init_started(&self, phase: Phase) {
        let configuration = &self.configuration;
        self.add(Event::InitStarted { phase: name_of(phase) });
        self.telemetry.record(Telemetry::InitStart(InitStart {
            initialization_type: self.initialization_type(),
            runtime_version: None,
            runtime_version_arn: None,
            function_name: configuration.function_name.clone(),
            function_version: configuration.version.clone(),
            function_arn: None,
            instance_id: None,
            instance_max_memory_bytes: Some(u64::from(configuration.memory_mb) * BYTES_PER_MB),
            phase,
            tracing: None,
        }));
    }

    /// The runtime has asked for its first event, or never will.
    pub fn runtime_initialised(&self, phase: Phase, done: &Result<(), Failure>) {
        self.telemetry.record(Telemetry::InitRuntimeDone(InitRuntimeDone {
            initialization_type: self.initialization_type(),
            outcome: self.outcome_of(done),
            phase,
            spans: Vec::new(),
            tracing: None,
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
            spans: Vec::new(),
            tracing: None,
        }));
    }

    pub fn restore_started(&self) {
        self.add(Event::RestoreStarted);
        self.telemetry.record(Telemetry::RestoreStart(RestoreStart {
            runtime_version: None,
            runtime_version_arn: None,
            function_name: self.configuration.function_name.clone(),
            function_version: self.configuration.version.clone(),
            instance_id: None,
            instance_max_memory_bytes: None,
        }));
    }

    pub fn restored(&self, done: &Result<(), Failure>, duration: Duration) {
        self.add(Event::Restored);
        let outcome = self.outcome_of(done);
        self.telemetry.record(Telemetry::RestoreRuntimeDone(RestoreRuntimeDone {
            outcome: outcome.clone(),
            spans: Vec::new(),
        }));
        let metrics = Some(Took { duration });
        self.telemetry.record(Telemetry::RestoreReport(RestoreReport {
            outcome,
            metrics,
            spans: Vec::new(),
        }));
    }

    pub fn invoke_started(&self, request_id: &str, context: &CallerContext) {
        self.add(Event::InvokeStarted { request_id: request_id.to_owned() });
        let managed = self.configuration.initialization.is_managed_instances();
        self.telemetry.record(Telemetry::Start(Start {
            request_id: request_id.to_owned(),
            version: Some(self.configuration.version.clone()),
            function_arn: managed.then(|| self.configuration.function_arn()),
            tracing: tracing_of(context),
            tenant_id: context.tenant_id.clone(),
        }));
    }

    /// The runtime has asked for the next event.
    pub fn runtime_done(
        &self,
        request_id: &str,
        context: &CallerContext,
        reply: &Reply,
        duration: Duration,
    ) {
        let ago = |time: Duration| SystemTime::now() - time;
        let latency =
            Span { name: SpanName::ResponseLatency, start: ago(duration), duration: reply.latency };
        // Posted whole, it takes no time of its own.
        let response = Span {
            name: SpanName::ResponseDuration,
            start: latency.start + reply.latency,
            duration: Duration::ZERO,
        };
        let overhead = duration.saturating_sub(reply.latency);
        let overhead =
            Span { name: SpanName::RuntimeOverhead, start: ago(overhead), duration: overhead };
        self.telemetry.record(Telemetry::RuntimeDone(RuntimeDone {
            request_id: request_id.to_owned(),
            outcome: self.outcome_of_status(&reply.status),
            metrics: Some(RuntimeDoneMetrics {
                duration,
                produced_bytes: u64::try_from(reply.payload.len()).ok(),
            }),
            tracing: tracing_of(context),
            spans: vec![latency, response, overhead],
            tenant_id: context.tenant_id.clone(),
        }));
    }

    pub fn invoke_ended(&self, invocation: &Invocation, context: &CallerContext, usage: &Usage) {
        let Invocation { request_id, status, duration, billed, .. } = invocation.clone();
        let id = request_id.clone();
        self.add(Event::InvokeEnded { request_id, status: status.clone(), duration, billed });
        let peak_mb =
            usage.memory_peak_bytes.and_then(|bytes| u32::try_from(bytes / BYTES_PER_MB).ok());
        let billing = Billing {
            duration,
            billed_duration: billed,
            memory_size_mb: self.configuration.memory_mb,
            max_memory_used_mb: peak_mb.unwrap_or(UNKNOWN_MEMORY_MB),
            init_duration: usage.init,
            restore_duration: usage.restore,
        };
        let overhead = invocation.extension_overhead;
        let span = Span {
            name: SpanName::ExtensionOverhead,
            start: SystemTime::now() - overhead,
            duration: overhead,
        };
        let (metrics, spans) = if self.configuration.initialization.is_managed_instances() {
            (ReportMetrics::ManagedInstances(Took { duration }), Vec::new())
        } else {
            (ReportMetrics::OnDemand(billing), vec![span])
        };
        self.telemetry.record(Telemetry::Report(Report {
            request_id: id,
            outcome: self.outcome_of_status(&status),
            metrics,
            tracing: tracing_of(context),
            spans,
            tenant_id: context.tenant_id.clone(),
        }));
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
            // An init fails by an error, says the schema.
            Status::Failure(error_type) => Outcome::Error(ErrorType::new(error_type)),
            status => self.outcome_of_status(&status),
        }
    }

    fn outcome_of_status(&self, status: &Status) -> Outcome {
        // Each of AWS's two daemons has its own word for it (the emulator's `fatalerror` on demand).
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

fn name_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Init => "init",
        Phase::Invoke => "invoke",
        Phase::SnapStart => "snap-start",
    }
}

fn tracing_of(context: &CallerContext) -> Option<Tracing> {
    context.trace_id.clone().map(|value| Tracing { span_id: None, value })
}

fn status_of(done: &Result<(), Failure>) -> Status {
    match done {
        Ok(()) => Status::Success,
        Err(failure) => failure.status(),
    }
}
