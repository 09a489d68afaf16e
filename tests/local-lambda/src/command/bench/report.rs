//! A report of the size that a small function with tracing sends.

use local_lambda::agent::{Agent, Ending, Family, Invocation};
use local_lambda::otlp::{Encoding, Signal};

use crate::command::protocol::Protocol;

/// The size of the body in bytes, in both protocols.
const BYTES: usize = 3_000;

/// The request that posts the report to this port.
pub fn request(protocol: Protocol, port: u16) -> Vec<u8> {
    let (path, content_type, more, body) = match protocol {
        Protocol::Thundra => (
            "/v1/monitoring-data",
            "application/json",
            "Authorization: ApiKey some-key\r\n",
            array(),
        ),
        Protocol::Otlp => (Signal::Traces.path(), Encoding::Protobuf.content_type(), "", traces()),
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: {content_type}\r\n{more}\
         Content-Length: {BYTES}\r\n\r\n"
    );
    [head.as_bytes(), &body].concat()
}

fn array() -> Vec<u8> {
    let start = r#"[{"type":"Span","data":{"className":"benchmark","tags":{"padding":""#;
    let end = r#""}}}]"#;
    let padding = "x".repeat(BYTES - start.len() - end.len());
    format!("{start}{padding}{end}").into_bytes()
}

/// A request with one span.
fn traces() -> Vec<u8> {
    let agent = Agent::local(Family::OtelPython, Family::OtelPython.local_port());
    let invocation = Invocation::of("52fdfc07-2182-454f-963f-5f0f9a621d72");
    let padded = |padding: usize| {
        let invocation = invocation.clone().response(&"x".repeat(padding));
        agent.body(&invocation.items(&agent, &Ending::Success, 1))
    };
    // With either padding, the lengths in the message take two bytes each.
    let rest = padded(BYTES / 2).len() - BYTES / 2;
    padded(BYTES - rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use local_lambda::opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use local_lambda::prost::Message;

    fn body(protocol: Protocol) -> Vec<u8> {
        let request = request(protocol, 1);
        let head = request.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        request[head + 4..].to_vec()
    }

    #[test]
    fn it_has_the_same_size_in_each_protocol() {
        for protocol in [Protocol::Thundra, Protocol::Otlp] {
            assert_eq!(body(protocol).len(), BYTES, "{protocol:?}");
        }
    }

    #[test]
    fn over_otlp_it_is_one_span() {
        let traces = ExportTraceServiceRequest::decode(&*body(Protocol::Otlp)).unwrap();
        assert_eq!(traces.resource_spans[0].scope_spans[0].spans.len(), 1);
    }
}
