//! The answers to an exporter. They have the encoding of its request. A refusal is a gRPC status ("OTLP
//! Specification", OTLP/HTTP Response).

use local_lambda::agent::{self, Connection, Response};
use local_lambda::otlp::{Encoding, Signal};
use local_lambda::prost::Message;
use rstest::rstest;
use serde_json::json;

use super::{ENCODINGS, report};
use crate::support::fixture::{Fixture, nowhere, text};
use crate::support::protocol::Protocol::Otlp;
use crate::support::report::Report;

/// From `google/rpc/status.proto`.
#[derive(Message)]
#[prost(prost_path = "::local_lambda::prost")]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
}

#[track_caller]
pub fn refused(response: &Response, status: u16, encoding: Encoding) {
    assert_eq!(response.status, status, "{}", String::from_utf8_lossy(&response.body));
    assert_eq!(response.header("Content-Type"), Some(encoding.content_type()));
    let message = match encoding {
        Encoding::Protobuf => Status::decode(&*response.body).unwrap().message,
        Encoding::Json => {
            let status: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            status["message"].as_str().unwrap().to_owned()
        }
    };
    assert!(!message.is_empty());
}

/// Sends a request with this request line and encoding.
fn ask(fixture: &Fixture, line: &str, encoding: Encoding, headers: &str, body: &[u8]) -> Response {
    let (content_type, length) = (encoding.content_type(), body.len());
    let head = format!(
        "{line} HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\n{headers}\
         Content-Length: {length}\r\n\r\n"
    );
    agent::request(fixture.port, &[head.as_bytes(), body].concat())
}

#[rstest]
fn an_accepted_export_is_answered_200_with_an_empty_message_in_its_encoding(
    #[values(Signal::Traces, Signal::Metrics, Signal::Logs)] signal: Signal,
) {
    let fixture = Otlp.start();
    for (encoding, message) in [(Encoding::Protobuf, ""), (Encoding::Json, "{}")] {
        for report in [report(signal, encoding, &["1"]), report(signal, encoding, &["1"]).packed()]
        {
            let response = report.post(fixture.port);
            assert_eq!((response.status, text(&response.body)), (200, message));
            assert_eq!(response.header("Content-Type"), Some(encoding.content_type()));
        }
    }
    fixture.shut_down();
}

#[test]
fn an_empty_export_is_answered_counted_and_dropped() {
    let fixture = Otlp.start();
    for encoding in ENCODINGS {
        assert_eq!(report(Signal::Logs, encoding, &[]).post(fixture.port).status, 200);
    }
    for body in ["{}", "{\"resourceLogs\": []}"] {
        let report = Report::of(Signal::Logs, Encoding::Json, body.into());
        assert_eq!(report.post(fixture.port).status, 200);
    }
    let empty = Report::of(Signal::Logs, Encoding::Protobuf, Vec::new());
    assert_eq!(empty.post(fixture.port).status, 200);
    let account = &fixture.health()["otlp"];
    assert_eq!((&account["accepted"], &account["dropped"]["empty"]), (&json!(5), &json!(3)));
    fixture.shut_down();
}

#[test]
fn a_malformed_export_is_refused_with_a_status_in_its_encoding() {
    let fixture = Otlp.start();
    for encoding in ENCODINGS {
        for (line, headers, status) in [
            ("POST /v1/traces", "", 400),
            ("POST /v1/traces", "Content-Encoding: gzip\r\n", 400),
            ("POST /v1/traces", "Content-Encoding: \"gzip\"\r\n", 415),
            ("POST /v1/profiles", "", 404),
            ("POST /v1/monitoring-data", "", 404),
            ("POST /", "", 404),
            ("PUT /v1/logs", "", 405),
            ("GET /v1/metrics", "", 405),
        ] {
            let response = ask(&fixture, line, encoding, headers, b"neither");
            refused(&response, status, encoding);
            assert_eq!(response.header("Allow"), (status == 405).then_some("POST"), "{line}");
        }
    }
    let counts = json!({ "full": 0, "too_large": 0, "malformed": 4, "unknown_path": 6,
        "no_remote": 0, "wrong_method": 4, "unknown_media_type": 2,
        "http2": 0, "tls": 0, "failed": 0 });
    assert_eq!(fixture.health()["otlp"]["refused"], counts);
    assert_eq!(fixture.health()["reports"]["refused"]["malformed"], 0, "that is the other one's");
    fixture.shut_down();
}

#[rstest]
fn a_request_in_no_encoding_of_otlp_is_answered_415_in_json(
    #[values("Content-Type: text/plain\r\n", "Content-Type: application/grpc\r\n", "")]
    header: &str,
) {
    let fixture = Otlp.start();
    let request =
        format!("POST /v1/traces HTTP/1.1\r\nHost: a\r\n{header}Content-Length: 2\r\n\r\n{{}}");
    refused(&agent::request(fixture.port, request.as_bytes()), 415, Encoding::Json);
    fixture.shut_down();
}

#[test]
fn a_full_buffer_and_a_request_larger_than_it_are_counted_separately() {
    let fixture = Otlp
        .start_with(&[("THUNDRA_EXTENSION_BUFFER", "64KiB"), (Otlp.url_variable(), &nowhere())]);
    let of = |bytes: usize, encoding| {
        report(Signal::Traces, encoding, &[&"x".repeat(bytes)]).post(fixture.port)
    };
    assert_eq!(of(30_000, Encoding::Json).status, 200);
    for encoding in ENCODINGS {
        refused(&of(40_000, encoding), 413, encoding);
        refused(&of(64 * 1024, encoding), 413, encoding);
    }
    let counts = &fixture.health()["otlp"]["refused"];
    assert_eq!((&counts["full"], &counts["too_large"]), (&json!(2), &json!(2)));
    fixture.shut_down();
}

#[rstest]
fn a_chunked_request_that_is_cut_short_is_answered_400_and_not_forwarded(
    #[values(Encoding::Protobuf, Encoding::Json)] encoding: Encoding,
) {
    let fixture = Otlp.start();
    let body = report(Signal::Logs, encoding, &["half", "of it"]).body;
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nHost: a\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        encoding.content_type()
    );
    for part in [body.len() / 2, body.len() - 1] {
        let chunk = [format!("{part:x}\r\n").as_bytes(), &body[..part], b"\r\n"].concat();
        let mut connection = Connection::open(fixture.port);
        connection.send(&[head.as_bytes(), &chunk].concat());
        connection.half_close();
        refused(&connection.response(), 400, encoding);
    }
    let mut connection = Connection::open(fixture.port);
    let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    connection.send(&[head.as_bytes(), &chunk].concat());
    assert_eq!(connection.response().status, 200);
    assert!(fixture.received(1)[0].body == body, "the whole one");
    fixture.shut_down();
}

#[test]
fn health_is_served_at_the_otlp_port_too_with_both_accounts() {
    let fixture = Otlp.start();
    assert_eq!(report(Signal::Traces, Encoding::Json, &["1"]).post(fixture.port).status, 200);
    fixture.wait_for_account(|it| it["delivered"] == 1);
    assert_eq!(fixture.health()["reports"]["accepted"], 0);
    fixture.shut_down();
}
