//! Records an invocation.

use std::time::{Duration, SystemTime};

use super::{BYTES_PER_MB, Recorder};
use crate::invocation::{Invocation, Reply};
use crate::runtime_event::CallerContext;
use crate::telemetry::event::Event as Telemetry;
use crate::telemetry::record::{
    Billing, Report, ReportMetrics, RuntimeDone, RuntimeDoneMetrics, Start,
};
use crate::telemetry::vocabulary::{Span, SpanName, Took, Tracing};
use crate::timeline::Event;

/// The peak if memory is not limited, because then it is unknown.
const UNKNOWN_MEMORY_MB: u32 = 0;

/// The additional figures in an invocation's report.
pub struct Usage {
    /// The duration of the init or restore before it.
    pub init: Option<Duration>,
    pub restore: Option<Duration>,
    /// The peak of all processes since the start. `None` if memory is not limited.
    pub memory_peak_bytes: Option<u64>,
}

impl Recorder {
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

    /// The runtime has polled for the next event.
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
        // The response arrived in one piece, so it took no time of its own.
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
            metrics: RuntimeDoneMetrics {
                duration,
                produced_bytes: u64::try_from(reply.payload.len()).ok(),
            },
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
}

fn tracing_of(context: &CallerContext) -> Option<Tracing> {
    context.trace_id.clone().map(|value| Tracing { span_id: None, value })
}
