//! Requests of real agents, recorded byte by byte: chunked and not, arrays and composites, of
//! Python 2.7.4, 3.0.6 and 3.0.10, Node.js 2.13.65 and 2.14.4, and Go 2.3.4.

use std::fs;
use std::path::Path;

use sandbox::agent;

use crate::trial::{Trial, text};

#[test]
fn every_recorded_request_arrives_byte_for_byte_with_its_key_and_nothing_of_the_agents_tracing() {
    let trial = Trial::start();
    let captures = captures();
    assert_eq!(captures.len(), 32);
    for (sent, (name, request)) in captures.iter().enumerate() {
        let (head, body) = parts(request);
        let response = agent::request(trial.port, request);
        assert_eq!((response.status, text(&response.body)), (200, "{}"), "{name}");
        let received = trial.received(sent + 1).pop().unwrap();
        let path = head.split(' ').nth(1).unwrap();
        assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", path), "{name}");
        assert_eq!(text(&received.body), text(&body), "{name}");
        assert_eq!(received.header("Authorization"), Some("ApiKey some-key"), "{name}");
        assert_eq!(received.header("Content-Type"), Some("application/json"), "{name}");
        let mut others: Vec<String> =
            received.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        others.sort();
        let expected = ["authorization", "content-length", "content-type", "host", "user-agent"];
        assert_eq!(others, expected, "{name}");
    }
    trial.shut_down();
}

fn captures() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
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
