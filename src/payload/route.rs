//! The route of a report, and those of its headers that are forwarded.

use ureq::http::HeaderValue;

use crate::payload::encoding::Encoding;
use crate::payload::signal::Signal;

/// A route of a protocol. Agents report to it, and the remote has the same route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A JSON array of items.
    MonitoringData,
    /// One JSON object with items and their common members.
    CompositeMonitoringData,
    /// An OTLP request.
    Otlp(Signal),
}

impl Route {
    pub const THUNDRA: [Self; 2] = [Self::MonitoringData, Self::CompositeMonitoringData];
    pub const OTLP: [Self; 3] =
        [Self::Otlp(Signal::Traces), Self::Otlp(Signal::Metrics), Self::Otlp(Signal::Logs)];

    /// The path below the base URL, at the local port and at the remote. Thundra's base URL includes the
    /// version.
    pub fn path(self) -> &'static str {
        match self {
            Self::MonitoringData => "/monitoring-data",
            Self::CompositeMonitoringData => "/composite-monitoring-data",
            Self::Otlp(signal) => signal.path(),
        }
    }

    /// The path at the local port.
    pub fn local_path(self) -> &'static str {
        match self {
            Self::MonitoringData => "/v1/monitoring-data",
            Self::CompositeMonitoringData => "/v1/composite-monitoring-data",
            Self::Otlp(signal) => signal.path(),
        }
    }

    /// The signal of an OTLP route.
    pub fn signal(self) -> Option<Signal> {
        match self {
            Self::MonitoringData | Self::CompositeMonitoringData => None,
            Self::Otlp(signal) => Some(signal),
        }
    }

    /// The longest report that ends an invocation by its request id, in bytes. A longer one may not be the last
    /// report of the invocation.
    pub fn final_report_max(self) -> usize {
        match self {
            // An agent with more than 100 items sends several reports at once. Each contains the request id.
            // 100 items are longer than this limit.
            Self::MonitoringData | Self::CompositeMonitoringData => 24 * 1024,
            // An SDK sends a span after its end. The span with the request id is the root span of the
            // invocation, in OpenTelemetry's instrumentations for Lambda.
            Self::Otlp(Signal::Traces) => usize::MAX,
            // A log line may contain the request id at any time. Metrics do not contain it.
            Self::Otlp(Signal::Metrics | Signal::Logs) => 0,
        }
    }
}

/// The headers of an agent's request that the extension forwards. It forwards no others, so that a local client
/// cannot add headers to the outgoing request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    pub authorization: Option<HeaderValue>,
    pub content_type: Option<HeaderValue>,
    pub content_encoding: Option<HeaderValue>,
}

impl Headers {
    /// The encoding of an OTLP message with these headers.
    pub fn encoding(&self) -> Option<Encoding> {
        Encoding::of(self.content_type.as_ref()?.to_str().ok()?)
    }

    /// The size of all values, in bytes.
    pub fn size(&self) -> usize {
        let Self { authorization, content_type, content_encoding } = self;
        [authorization, content_type, content_encoding]
            .into_iter()
            .flatten()
            .map(HeaderValue::len)
            .sum()
    }
}
