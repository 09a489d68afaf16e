//! The items in an agent's report of one invocation.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use uuid::Uuid;

use super::profile::AgentProfile;
use super::reporter::Agent;
use super::wire::{Wire, fill};

/// One invocation with its identifiers. They stay the same if it is reported again.
#[derive(Debug, Clone)]
pub struct Invocation {
    request_id: String,
    id: String,
    trace: String,
    transaction: String,
    root: String,
    started: Duration,
    cold_start: bool,
    body: String,
}

/// The result of the invocation, as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Success,
    Error {
        kind: String,
        message: String,
    },
    /// It was still running shortly before its deadline.
    Timeout,
}

impl Invocation {
    /// An invocation that starts now.
    #[must_use]
    pub fn of(request_id: &str) -> Self {
        let uuid = || Uuid::new_v4().to_string();
        Self {
            request_id: request_id.to_owned(),
            id: uuid(),
            trace: uuid(),
            transaction: uuid(),
            root: uuid(),
            started: since_1970(),
            cold_start: false,
            body: "hi".to_owned(),
        }
    }

    #[must_use]
    pub fn cold_start(mut self) -> Self {
        self.cold_start = true;
        self
    }

    /// Sets the body of the function's response, which the root span contains. Agents for Python and Go do not
    /// limit its size.
    #[must_use]
    pub fn response(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// The texts of this many items, as in the body of this agent's request: the Invocation, the root Span, and
    /// Spans below it. OpenTelemetry's agents send no Invocation, so these are the root and spans below it.
    #[must_use]
    pub fn items(&self, agent: &Agent, ending: &Ending, count: usize) -> Vec<String> {
        let wire = Wire::of(agent.family().profile().wire);
        let invocation = || self.item(wire.invocation, agent, ending, None);
        let span = |order| self.item(wire.span, agent, ending, Some(order));
        let items = std::iter::once_with(invocation).chain((0..).map(span));
        items.take(count).collect()
    }

    /// `span` counts spans from 0, the root. `None` is the Invocation.
    fn item(&self, pattern: &str, agent: &Agent, ending: &Ending, span: Option<usize>) -> String {
        let profile = agent.family().profile();
        let is_root = span == Some(0);
        let finished = since_1970();
        let (kind, message) = ending.error(profile);
        fill(pattern, |name| {
            let value = match name {
                "id" if span.is_none() => self.id.clone(),
                "id" if is_root => self.root.clone(),
                "id" => Uuid::new_v4().to_string(),
                "trace" => self.trace.clone(),
                "transaction" => self.transaction.clone(),
                "root" => self.root.clone(),
                "request" => self.request_id.clone(),
                "key" => agent.api_key().to_owned(),
                "parent" if is_root => profile.no_parent.to_owned(),
                "parent" => json!(self.root).to_string(),
                "order" => (profile.first_span_order + span.unwrap_or_default()).to_string(),
                "start" => self.started.as_millis().to_string(),
                "finish" => finished.as_millis().to_string(),
                "duration" => finished.saturating_sub(self.started).as_millis().to_string(),
                "cold" => self.cold_start.to_string(),
                "timeout" => (*ending == Ending::Timeout).to_string(),
                "erroneous" => (*ending != Ending::Success).to_string(),
                "error_type" => kind.to_owned(),
                "error_message" => json!(message).to_string(),
                "body" if is_root && *ending == Ending::Success => json!(self.body).to_string(),
                "body" => "null".to_owned(),
                _ => return self.in_otlp(name, ending),
            };
            Some(value)
        })
    }

    /// Values that only OpenTelemetry's spans contain.
    fn in_otlp(&self, name: &str, ending: &Ending) -> Option<String> {
        let succeeds = *ending == Ending::Success;
        Some(match name {
            "trace_hex" => hex(&self.trace, TRACE_DIGITS),
            "root_hex" => hex(&self.root, SPAN_DIGITS),
            "id_hex" => hex(&Uuid::new_v4().to_string(), SPAN_DIGITS),
            // STATUS_CODE_UNSET and STATUS_CODE_ERROR.
            "status_code" => if succeeds { "0" } else { "2" }.to_owned(),
            "response" => json!(if succeeds { &self.body } else { "" }).to_string(),
            _ => return None,
        })
    }
}

/// Hexadecimal digits of OpenTelemetry's identifiers, which have 16 and 8 bytes.
const TRACE_DIGITS: usize = 32;
const SPAN_DIGITS: usize = 16;

/// The first digits of a UUID.
fn hex(uuid: &str, digits: usize) -> String {
    uuid.chars().filter(|letter| *letter != '-').take(digits).collect()
}

impl Ending {
    fn error(&self, profile: &AgentProfile) -> (&str, &str) {
        match self {
            Self::Success => ("", ""),
            Self::Error { kind, message } => (kind, message),
            Self::Timeout => profile.timeout_error,
        }
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970")
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::Span;

    use super::*;
    use crate::agent::Family;

    #[test]
    fn each_span_of_opentelemetry_is_written_as_the_library_writes_it() {
        let (kind, message) = ("E".to_owned(), "it's \"bad\"".to_owned());
        for family in [Family::OtelPython, Family::OtelNode] {
            let agent = Agent::local(family, 1);
            let invocation = Invocation::of("5b1e").cold_start().response("\"\u{1f}é/\"");
            let error = Ending::Error { kind: kind.clone(), message: message.clone() };
            for ending in [Ending::Success, error, Ending::Timeout] {
                for item in invocation.items(&agent, &ending, 3) {
                    let span: Span = serde_json::from_str(&item).unwrap();
                    assert_eq!(serde_json::to_string(&span).unwrap(), item, "{family:?}");
                }
            }
        }
    }

    #[test]
    fn the_ids_of_a_span_are_digits_of_a_uuid() {
        assert_eq!(hex("01234567-89ab-4cde-8f01-23456789abcd", 16), "0123456789ab4cde");
    }
}
