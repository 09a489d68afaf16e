//! OpenTelemetry's agents, which describe an invocation by spans only.

use std::fs;

use local_lambda::agent::{Agent, Ending, Failure, Family, Invocation, request};
use local_lambda::otlp::span_names;
use local_lambda::{Answer, Item, Received, Remote};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::connections::check_attempts;
use super::{OTLP, REQUEST_ID, items};
use crate::remote::port;
use crate::{SOON, panic_of};

/// The request of a real exporter, as the remote receives it.
fn recorded(name: &str) -> Received {
    let file = format!("{}/../captures/otlp/{name}.http", env!("CARGO_MANIFEST_DIR"));
    let remote = Remote::start();
    let answer = request(port(&remote), &fs::read(&file).unwrap());
    assert_eq!(answer.status, 200, "{name}");
    remote.received().remove(0)
}

/// The head without the parts that differ between requests.
fn head(received: &Received) -> String {
    let length = received.body.len().to_string();
    let line = |(name, value): &(String, String)| match name.as_str() {
        "Host" => "\nHost: HERE".to_owned(),
        "Content-Length" if *value == length => "\nContent-Length: OF THE BODY".to_owned(),
        _ => format!("\n{name}: {value}"),
    };
    let lines: String = received.headers.iter().map(line).collect();
    format!("{} {}{lines}", received.method, received.path)
}

fn spans(received: &Received) -> Vec<Span> {
    let texts: Vec<String> = received.items().iter().map(Item::to_string).collect();
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn attribute(span: &Span, key: &str) -> Value {
    let attribute = span.attributes.iter().find(|it| it.key == key).unwrap();
    attribute.value.clone().unwrap().value.unwrap()
}

#[test]
fn each_head_is_as_recorded_with_the_real_exporter() {
    for (family, name) in [(Family::OtelPython, "python-1452"), (Family::OtelNode, "node-02231")] {
        let remote = Remote::start();
        let agent = || Agent::local(family, port(&remote));
        let sent = items(&agent(), 2);
        assert!(agent().report(&sent).is_success() && agent().gzip().report(&sent).is_success());
        let heads: Vec<String> = remote.wait_for(2, SOON).iter().map(head).collect();
        let real = [recorded(name), recorded(&format!("{name}-gzip"))];
        assert_eq!(heads, [head(&real[0]), head(&real[1])], "{family:?}");
    }
}

#[test]
fn the_remote_reads_what_real_exporters_send() {
    for name in ["python-1452", "python-1452-gzip", "node-02231", "node-02231-gzip"] {
        let received = recorded(name);
        assert_eq!(span_names(&received), ["child", "my-fn"], "{name}");
        let [child, root] = spans(&received).try_into().unwrap();
        assert_eq!(child.parent_span_id, root.span_id, "{name}");
        assert_eq!(attribute(&root, "faas.coldstart"), Value::BoolValue(true), "{name}");
    }
}

#[test]
fn an_agent_without_otlp_has_no_gzip() {
    let message = panic_of(|| Agent::local(Family::Go, 1).gzip());
    assert_eq!(message, "Go has no gzip");
}

#[test]
fn spans_arrive_unchanged_with_the_root_last_and_name_the_invocation() {
    for family in OTLP {
        let remote = Remote::start();
        let agent = Agent::local(family, port(&remote)).gzip();
        let invocation = Invocation::of(REQUEST_ID).cold_start().response("\"quoted\"");
        let mut expected = agent.report(&invocation.items(&agent, &Ending::Success, 3)).items;
        let received = &remote.wait_for(1, SOON)[0];
        expected.reverse();
        assert_eq!(received.items(), expected.iter().map(Item::from).collect::<Vec<_>>());
        assert!(remote.delivery(&expected).is_exact(), "{family:?}");
        assert_eq!(span_names(received), ["GET", "GET", "my-fn"]);
        let [first, second, root] = spans(received).try_into().unwrap();
        assert_eq!(attribute(&root, "faas.invocation_id"), Value::StringValue(REQUEST_ID.into()));
        assert_eq!(attribute(&root, "faas.coldstart"), Value::BoolValue(true));
        assert_eq!(attribute(&root, "app.response"), Value::StringValue("\"quoted\"".into()));
        assert_eq!((root.trace_id.len(), root.span_id.len()), (16, 8));
        assert_eq!((&first.parent_span_id, root.parent_span_id), (&root.span_id, Vec::new()));
        assert_eq!(first.trace_id, root.trace_id);
        assert_ne!(first.span_id, second.span_id);
        assert_eq!(root.status.unwrap().code, 0);
    }
}

#[test]
fn an_error_and_a_timeout_are_in_the_status_of_the_root() {
    let (kind, message) = ("ValueError".to_owned(), "it's \"bad\"".to_owned());
    let error = Ending::Error { kind, message };
    for family in OTLP {
        for (ending, message) in [(&error, "it's \"bad\""), (&Ending::Timeout, "Task timed out")] {
            let agent = Agent::local(family, 1);
            let root = Invocation::of(REQUEST_ID).items(&agent, ending, 1).remove(0);
            let status = serde_json::from_str::<Span>(&root).unwrap().status.unwrap();
            assert_eq!((status.code, status.message.as_str()), (2, message), "{family:?}");
        }
    }
}

#[test]
fn a_2xx_is_a_success_and_for_python_a_3xx_too_and_no_status_is_tried_again() {
    for (family, of_302) in
        [(Family::OtelPython, Ok(302)), (Family::OtelNode, Err(Failure::Status(302)))]
    {
        let failed = |status| Err(Failure::Status(status));
        for outcome in [Ok(200), Ok(202), of_302, failed(401), failed(429), failed(503)] {
            let (Ok(status) | Err(Failure::Status(status))) = outcome else { unreachable!() };
            check_attempts(family, &[Answer::status(status)], &[outcome]);
        }
    }
}

#[test]
fn more_than_512_spans_are_further_requests() {
    for family in OTLP {
        let remote = Remote::start();
        let agent = Agent::local(family, port(&remote));
        let sent = items(&agent, 1000);
        assert!(agent.report(&sent).is_success());
        let mut counts: Vec<usize> = remote.received().iter().map(|it| it.items().len()).collect();
        counts.sort_unstable();
        assert_eq!(counts, [488, 512], "{family:?}");
        assert!(remote.delivery(&sent).is_exact());
    }
}

#[test]
fn the_remote_answers_in_the_encoding_of_the_request() {
    for (family, content_type, body) in [
        (Family::OtelPython, "application/x-protobuf", ""),
        (Family::OtelNode, "application/json", "{}"),
    ] {
        let remote = Remote::start();
        let agent = Agent::local(family, port(&remote));
        assert!(agent.report(&items(&agent, 1)).is_success());
        let answer = Answer::accepting(&remote.received()[0]);
        let expected = Answer::status(200).header("Content-Type", content_type).body(body);
        assert_eq!(answer, expected);
    }
}

#[test]
fn an_undecodable_request_is_answered_400_in_its_encoding() {
    let remote = Remote::start();
    for (content_type, body) in [
        ("application/x-protobuf", "\x12\x1bthe request does not decode"),
        ("application/json", r#"{"message":"the request does not decode"}"#),
    ] {
        let head = "POST /v1/logs HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1";
        let post = format!("{head}\r\nContent-Type: {content_type}\r\n\r\n{{");
        let answer = request(port(&remote), post.as_bytes());
        assert_eq!((answer.status, answer.body.as_slice()), (400, body.as_bytes()));
        assert_eq!(answer.header("Content-Type"), Some(content_type));
    }
}

#[test]
fn at_an_endpoint_of_any_path_protobuf_is_answered_in_protobuf() {
    let remote = Remote::start();
    let head = "POST /in/logs?key=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1";
    let post = format!("{head}\r\nContent-Type: application/x-protobuf\r\n\r\n{{");
    let answer = request(port(&remote), post.as_bytes());
    assert_eq!((answer.status, answer.body.as_slice()), (200, [].as_slice()));
}

#[test]
fn a_partial_success_has_a_count_and_a_reason() {
    let remote = Remote::start();
    remote.answer_with(|received| Answer::partial(received, 1, "too old"));
    for family in OTLP {
        let agent = Agent::local(family, port(&remote));
        assert!(agent.report(&items(&agent, 2)).is_success());
    }
    let received = remote.wait_for(2, SOON);
    let protobuf = Answer::partial(&received[0], 1, "too old");
    let content_type = |it| Answer::status(200).header("Content-Type", it);
    let expected = content_type("application/x-protobuf").body(b"\x0a\x0b\x08\x01\x12\x07too old");
    assert_eq!(protobuf, expected);
    let json = r#"{"partialSuccess":{"errorMessage":"too old","rejectedSpans":"1"}}"#;
    let expected = content_type("application/json").body(json);
    assert_eq!(Answer::partial(&received[1], 1, "too old"), expected);
}
