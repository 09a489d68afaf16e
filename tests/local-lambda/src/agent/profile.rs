//! The behaviour of each family, as data. The heads and bodies in `wire/` were recorded from the real agents on
//! a local Lambda. All other values come from the agents' sources, which the constants below name.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::family::Family;

pub struct AgentProfile {
    /// The patterns of head, body, Invocation and Span, see [`super::wire`].
    pub wire: &'static str,
    pub local_port: u16,
    /// The largest number of items in one request. The rest goes into further requests.
    pub items_max: usize,
    /// The largest number of requests at the same time. The rest waits.
    pub parallel_max: usize,
    /// Time limit of a connection attempt, and of each read and write.
    pub patience: Option<Duration>,
    /// Whether the agent tries once more after a connection broke without an answer.
    pub retries_reset: bool,
    /// The statuses that count as success.
    pub successes: RangeInclusive<u16>,
    /// Whether the agent sends an empty report as `[]`.
    pub sends_nothing: bool,
    /// Whether the Invocation is the last item, because it ended last.
    pub invocation_last: bool,
    /// How long before the deadline the agent reports a running invocation as timed out.
    pub timeout_margin: Duration,
    pub after_timeout: AfterTimeout,
    /// The type and message of a timeout.
    pub timeout_error: (&'static str, &'static str),
    /// The parent of the root span, as JSON.
    pub no_parent: &'static str,
    pub first_span_order: usize,
}

/// What happens if a handler ends after the agent has reported its timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterTimeout {
    /// The agent reports the same items again, and the Invocation once more.
    ReportAgain,
    /// The runtime gets the handler's result, and the agent sends no other report.
    StaySilent,
    /// The runtime never gets the handler's result, so the function really times out.
    DropResult,
    /// The agent does not watch the deadline, so it never reports a timeout.
    NeverReported,
}

impl Family {
    pub(crate) fn profile(self) -> &'static AgentProfile {
        match self {
            Self::ThundraPython => &THUNDRA_PYTHON,
            Self::CatchpointPython => &CATCHPOINT_PYTHON,
            Self::Node => &NODE,
            Self::NodeComposite => &NODE_COMPOSITE,
            Self::Go => &GO,
            Self::OtelPython => &OTEL_PYTHON,
            Self::OtelNode => &OTEL_NODE,
        }
    }
}

const ANY: RangeInclusive<u16> = 0..=u16::MAX;

/// From `thundra/reporter.py` and `thundra/constants.py` of the package `thundra` 2.7.4.
const THUNDRA_PYTHON: AgentProfile = AgentProfile {
    wire: include_str!("wire/thundra-python.txt"),
    local_port: 3333,
    items_max: 100,
    parallel_max: 20,
    patience: Some(Duration::from_secs(5)),
    retries_reset: false,
    successes: ANY,
    sends_nothing: false,
    invocation_last: false,
    timeout_margin: Duration::from_millis(200),
    after_timeout: AfterTimeout::ReportAgain,
    timeout_error: ("TimeoutError", "Task timed out"),
    no_parent: "\"\"",
    first_span_order: 2,
};

const CATCHPOINT_PYTHON: AgentProfile =
    AgentProfile { wire: include_str!("wire/catchpoint-python.txt"), ..THUNDRA_PYTHON };

/// From `src/Reporter.ts` and `src/Constants.ts` of npm `@thundra/core` 2.14.4. The limit of a report's size,
/// 32 KiB by default, is set to its maximum, because trimmed reports would prove nothing about the receiver.
const NODE: AgentProfile = AgentProfile {
    wire: include_str!("wire/node.txt"),
    local_port: 3333,
    items_max: 100,
    parallel_max: usize::MAX,
    patience: Some(Duration::from_secs(3)),
    retries_reset: true,
    successes: 200..=200,
    sends_nothing: true,
    invocation_last: false,
    timeout_margin: Duration::from_secs(1),
    after_timeout: AfterTimeout::DropResult,
    timeout_error: ("TimeoutError", "Lambda is timed out."),
    no_parent: "null",
    first_span_order: 1,
};

const NODE_COMPOSITE: AgentProfile = AgentProfile {
    wire: include_str!("wire/node-composite.txt"),
    items_max: usize::MAX,
    sends_nothing: false,
    ..NODE
};

/// From `agent/reporter.go` and `config/config.go` of `thundra-io/thundra-lambda-agent-go` v2. The margin is
/// that of the us-* regions (except us-west-*) with 384 MB or more. With less memory, the real one is longer.
const GO: AgentProfile = AgentProfile {
    wire: include_str!("wire/go.txt"),
    local_port: 3333,
    items_max: 100,
    parallel_max: usize::MAX,
    patience: None,
    retries_reset: false,
    successes: ANY,
    sends_nothing: false,
    invocation_last: false,
    timeout_margin: Duration::from_millis(600),
    after_timeout: AfterTimeout::StaySilent,
    timeout_error: ("timeoutError", "Lambda is timed out"),
    no_parent: "\"\"",
    first_span_order: 0,
};

/// From `exporter/otlp/proto/http/trace_exporter` and `sdk/trace/export` of the packages
/// `opentelemetry-exporter-otlp-proto-http` and `opentelemetry-sdk` 1.45.2. The batch is flushed at the end of
/// each invocation. The resource and the attributes are those of its detector and its instrumentation for
/// Lambda. The response is an attribute that a customer's hook would add. The success of a 3xx and the
/// immediate second attempt are in `exporter/otlp/common/http.py`. After a 429, 502, 503, 504 or no answer, the
/// real one tries again with a back-off. Here that is a failure.
const OTEL_PYTHON: AgentProfile = AgentProfile {
    wire: include_str!("wire/otel-python.txt"),
    local_port: 4318,
    items_max: 512,
    parallel_max: 1,
    patience: Some(Duration::from_secs(10)),
    retries_reset: true,
    successes: 200..=399,
    sends_nothing: false,
    invocation_last: true,
    timeout_margin: Duration::from_millis(200),
    after_timeout: AfterTimeout::NeverReported,
    timeout_error: ("", "Task timed out"),
    no_parent: "\"\"",
    first_span_order: 0,
};

/// From `src/transport` and `src/export/BatchSpanProcessorBase.ts` of npm `@opentelemetry/otlp-exporter-base`
/// 0.223.1 and `@opentelemetry/sdk-trace` 2.12.1. The real one tries again with a back-off as Python's does.
/// Here it does not. Its spans have the form of the Rust library for OTLP, so that the remote reads the same
/// items. The real form has another order and plain numbers, and omits an empty `traceState`, `parentSpanId` or
/// status message.
const OTEL_NODE: AgentProfile = AgentProfile {
    wire: include_str!("wire/otel-node.txt"),
    parallel_max: 30,
    retries_reset: false,
    successes: 200..=299,
    ..OTEL_PYTHON
};
