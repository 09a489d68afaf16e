//! Requests of real agents, recorded byte by byte: chunked and not, arrays and composites, of Python 2.7.4,
//! 3.0.6 and 3.0.10, Node.js 2.13.65 and 2.14.4, and Go 2.3.4. Also requests of OpenTelemetry's exporters for
//! Python and Node.js, plain and in gzip.

use std::fs;
use std::path::Path;

use local_lambda::agent;
use rstest::rstest;

use crate::support::fixture::text;
use crate::support::protocol::Protocol;

#[rstest]
fn every_recorded_request_arrives_byte_for_byte_with_its_key_and_nothing_of_the_agents_tracing(
    #[values(Protocol::Thundra, Protocol::Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start();
    let captures = captures(protocol);
    assert_eq!(captures.len(), if protocol == Protocol::Otlp { 4 } else { 32 });
    for (sent, (name, request)) in captures.iter().enumerate() {
        let (head, body) = parts(request);
        let content_type = header(head, "content-type").unwrap();
        let empty = if content_type == "application/json" { "{}" } else { "" };
        let response = agent::request(fixture.port, request);
        assert_eq!((response.status, text(&response.body)), (200, empty), "{name}");
        let received = fixture.received(sent + 1).pop().unwrap();
        let path = head.split(' ').nth(1).unwrap();
        assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", path), "{name}");
        assert!(received.body == body, "{name}");
        let mut others: Vec<String> =
            received.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        others.sort();
        let mut expected = vec!["content-length", "content-type", "host", "user-agent"];
        for kept in ["Authorization", "Content-Type", "Content-Encoding"] {
            assert_eq!(received.header(kept), header(head, kept), "{name}");
        }
        match protocol {
            Protocol::Thundra => {
                assert_eq!(received.header("Authorization"), Some("ApiKey some-key"), "{name}");
                expected.push("authorization");
            }
            Protocol::Otlp if name.contains("gzip") => expected.push("content-encoding"),
            Protocol::Otlp => {}
        }
        expected.sort_unstable();
        assert_eq!(others, expected, "{name}");
    }
    assert_eq!(fixture.shut_down(), "");
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    headers.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn captures(protocol: Protocol) -> Vec<(String, Vec<u8>)> {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let folder = match protocol {
        Protocol::Thundra => captures,
        Protocol::Otlp => captures.join("otlp"),
    };
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut captures: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "http"))
        .map(|path| (path.display().to_string(), fs::read(path).unwrap()))
        .collect();
    captures.sort();
    captures
}

/// The head of a recorded request, and its body without framing.
fn parts(request: &[u8]) -> (&str, Vec<u8>) {
    let end = request.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let (head, mut rest) = (text(&request[..end]), &request[end + 4..]);
    if !head.contains("Transfer-Encoding: chunked") {
        return (head, rest.to_vec());
    }
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|it| it == b"\r\n").unwrap();
        let size = usize::from_str_radix(text(&rest[..line]), 16).unwrap();
        body.extend_from_slice(&rest[line + 2..][..size]);
        rest = &rest[line + 2 + size + 2..];
        if size == 0 {
            return (head, body);
        }
    }
}
