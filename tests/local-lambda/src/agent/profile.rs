//! The behaviour of each family, as data. The heads and bodies are in `wire/`, as recorded with
//! the real agents on a fake Lambda; the rest is from the agents' sources, named beside each value.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::family::Family;

pub struct AgentProfile {
    /// Head, body, Invocation and Span; see [`super::wire`].
    pub wire: &'static str,
    pub local_port: u16,
    /// Items of one request; more go into further requests.
    pub items_max: usize,
    /// Requests on their way at the same time; more wait.
    pub parallel_max: usize,
    /// How long the agent waits for a connection, and for each sign of life on it.
    pub patience: Option<Duration>,
    /// Whether a connection that broke without an answer is followed by one more attempt.
    pub retries_reset: bool,
    /// The statuses that are no failure.
    pub successes: RangeInclusive<u16>,
    /// Whether an empty report is sent as `[]`.
    pub sends_nothing: bool,
    /// Whether the Invocation is the last of the items that go out, as it ended last.
    pub invocation_last: bool,
    /// How long before the deadline an invocation that still runs is reported as timed out.
    pub timeout_margin: Duration,
    pub after_timeout: AfterTimeout,
    /// What a timeout is called: type and message.
    pub timeout_error: (&'static str, &'static str),
    /// What the root span says of the parent it has not, as JSON.
    pub no_parent: &'static str,
    pub first_span_order: usize,
}

/// What becomes of a handler that ends after the agent reported its timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterTimeout {
    /// A second report repeats the items of the first and adds the Invocation once more.
    ReportAgain,
    /// The handler's result goes to the runtime without another report.
    StaySilent,
    /// The handler's result never reaches the runtime, so the function really times out.
    DropResult,
    /// The agent does not watch the deadline, and so never reports a timeout.
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

/// `thundra/reporter.py` and `thundra/constants.py` of the package `thundra` 2.7.4.
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

/// `src/Reporter.ts` and `src/Constants.ts` of npm `@thundra/core` 2.14.4. Its cap on the size of a
/// report, 32 KiB unless configured, is taken as set to its maximum: what it trims away would say
/// nothing about who receives the rest.
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

/// `agent/reporter.go` and `config/config.go` of `thundra-io/thundra-lambda-agent-go` v2. The margin
/// is that of the us-* regions (except us-west-*) from 384 MB on; below, the real one is longer.
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

/// `exporter/otlp/proto/http/trace_exporter` and `sdk/trace/export` of the packages
/// `opentelemetry-exporter-otlp-proto-http` and `opentelemetry-sdk` 1.45.2, in a batch that is flushed
/// at the end of each invocation. The resource and the attributes are those that its detector and its
/// instrumentation of Lambda add, and a response, as a hook of the customer does. The success of a 3xx
/// and the second attempt at once are in `exporter/otlp/common/http.py`. The real one tries again with
/// a back-off, too, what is answered 429, 502, 503 or 504, and what is not answered; here that is a
/// failure.
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

/// `src/transport` and `src/export/BatchSpanProcessorBase.ts` of npm
/// `@opentelemetry/otlp-exporter-base` 0.223.1 and `@opentelemetry/sdk-trace` 2.12.1. It tries again with
/// a back-off as Python's does, and here does not either. Its spans are as the library of OTLP in Rust
/// writes them, so that they are the items that the remote reads: the real one has another order, has
/// numbers as numbers, and leaves out `traceState`, `parentSpanId` and a status's message where they
/// are empty.
const OTEL_NODE: AgentProfile = AgentProfile {
    wire: include_str!("wire/otel-node.txt"),
    parallel_max: 30,
    retries_reset: false,
    successes: 200..=299,
    ..OTEL_PYTHON
};
