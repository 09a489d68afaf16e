//! One report of an agent on its way to the remote: where it goes, what it says about itself, its
//! bytes, and what holding them costs.

use std::time::Instant;

use ureq::http::HeaderValue;

use crate::budget::Permit;
use crate::encoding::Encoding;
use crate::form::Form;
use crate::ledger::{Entry, Outcome};
use crate::signal::Signal;

/// An accepted report. Its bytes stay in memory exactly as long as it does.
#[derive(Debug)]
#[must_use = "dropping a payload counts it as failed"]
pub struct Payload {
    pub route: Route,
    pub headers: Headers,
    pub body: Vec<u8>,
    /// When it was accepted.
    pub came: Instant,
    pub permit: Permit,
    pub entry: Entry,
}

impl Payload {
    /// How it holds its items, if it may be merged or cut.
    pub fn form(&self) -> Option<Form> {
        Form::of(self.route, &self.headers)
    }

    /// Whether the two can be told in one request.
    pub fn goes_with(&self, other: &Self) -> bool {
        self.route == other.route && self.headers == other.headers
    }

    pub fn settle(self, outcome: Outcome) {
        self.entry.settle(outcome);
    }
}

/// What agents report to; the remote of the protocol has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A JSON array of items.
    MonitoringData,
    /// One JSON object that holds items and what they have in common.
    CompositeMonitoringData,
    /// A request of OTLP.
    Otlp(Signal),
}

impl Route {
    pub const THUNDRA: [Self; 2] = [Self::MonitoringData, Self::CompositeMonitoringData];
    pub const OTLP: [Self; 3] =
        [Self::Otlp(Signal::Traces), Self::Otlp(Signal::Metrics), Self::Otlp(Signal::Logs)];

    /// The path below the base URL, at both ends; Thundra's has the version in it.
    pub fn path(self) -> &'static str {
        match self {
            Self::MonitoringData => "/monitoring-data",
            Self::CompositeMonitoringData => "/composite-monitoring-data",
            Self::Otlp(signal) => signal.path(),
        }
    }

    /// Of OTLP's.
    pub fn signal(self) -> Option<Signal> {
        match self {
            Self::MonitoringData | Self::CompositeMonitoringData => None,
            Self::Otlp(signal) => Some(signal),
        }
    }

    /// The longest report that may tell by its invocation's id that this is over, in bytes.
    pub fn last_word_max(self) -> usize {
        match self {
            // Agents send more than 100 items as several reports at the same time, of which each names
            // the invocation; 100 items are longer than this.
            Self::MonitoringData | Self::CompositeMonitoringData => 24 * 1024,
            // A span is sent when it has ended, and the one that names the invocation is its root, as
            // OpenTelemetry's instrumentations for Lambda have it.
            Self::Otlp(Signal::Traces) => usize::MAX,
            // A line of the log may name it at any time, and metrics do not.
            Self::Otlp(Signal::Metrics | Signal::Logs) => 0,
        }
    }
}

/// What travels on of an agent's request headers: these and no others, so that nothing a local
/// client sends can add to the outgoing request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    pub authorization: Option<HeaderValue>,
    pub content_type: Option<HeaderValue>,
    pub content_encoding: Option<HeaderValue>,
}

impl Headers {
    /// Of a message of OTLP.
    pub fn encoding(&self) -> Option<Encoding> {
        Encoding::of(self.content_type.as_ref()?.to_str().ok()?)
    }

    /// Bytes held by the values.
    pub fn size(&self) -> usize {
        let Self { authorization, content_type, content_encoding } = self;
        [authorization, content_type, content_encoding]
            .into_iter()
            .flatten()
            .map(HeaderValue::len)
            .sum()
    }
}
