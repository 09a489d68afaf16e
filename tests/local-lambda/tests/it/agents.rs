//! Each agent, from the view of the server that receives its reports.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use local_lambda::agent::{Agent, Ending, Family, Invocation, Reported};
use local_lambda::{Received, Remote};
use serde_json::Value;
use socket2::SockRef;

use crate::SOON;
use crate::remote::port;

mod batches;
mod connections;
mod otlp;

/// The families that report to Thundra or Catchpoint.
pub const FAMILIES: [Family; 5] = [
    Family::ThundraPython,
    Family::CatchpointPython,
    Family::Node,
    Family::NodeComposite,
    Family::Go,
];

pub const OTLP: [Family; 2] = [Family::OtelPython, Family::OtelNode];

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

const REQUEST_ID: &str = "2ec2bb8b-7312-4409-994f-19abef550afd";

fn items(agent: &Agent, count: usize) -> Vec<String> {
    Invocation::of(REQUEST_ID).items(agent, &Ending::Success, count)
}

fn report(agent: &Agent) -> Reported {
    agent.report(&items(agent, 2))
}

/// The bytes on the next connection, up to the end of one request, and the connection.
fn receive(listener: &TcpListener) -> (String, TcpStream) {
    // A read timeout also limits the accept.
    SockRef::from(listener).set_read_timeout(Some(SOON)).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut bytes = Vec::new();
    while !is_whole(&String::from_utf8_lossy(&bytes)) {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..count]);
    }
    (String::from_utf8(bytes).unwrap(), stream)
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    match head.lines().find_map(|line| line.strip_prefix("Content-Length: ")) {
        Some(length) => body.len() == length.parse::<usize>().unwrap(),
        None => body.ends_with("\r\n0\r\n\r\n"),
    }
}

/// The bytes of one report, which gets a 200.
fn raw_report(family: Family) -> (String, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = thread::scope(|scope| {
        let reported = scope.spawn(|| report(&Agent::local(family, port)));
        let (text, mut stream) = receive(&listener);
        stream.write_all(OK).unwrap();
        assert!(reported.join().unwrap().is_success());
        text
    });
    (text, port)
}

#[test]
fn each_request_is_as_recorded_with_the_real_agent() {
    // For OpenTelemetry only the heads are compared, in `otlp`. The contents of its bodies depend on the
    // customer's instrumentation, and the local agent writes spans as the Rust library for OTLP does.
    let recorded = [
        (Family::ThundraPython, "python-01-274-coldwarm-02"),
        (Family::CatchpointPython, "python-22-310-coldwarm-02"),
        (Family::Node, "node-01-2144-coldwarm-02"),
        (Family::NodeComposite, "node-20-21365-coldwarm-02"),
        (Family::Go, "go-03-coldwarm-02"),
    ];
    for (family, name) in recorded {
        let file = format!("{}/../captures/{name}.http", env!("CARGO_MANIFEST_DIR"));
        let recorded = fs::read_to_string(&file).unwrap();
        let (text, port) = raw_report(family);
        let text = text.replace(&format!("localhost:{port}"), "localhost:3333");
        assert_eq!(shape(&text), shape(&recorded), "{family:?}");
    }
}

/// A request without the parts that differ between invocations.
fn shape(request: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let line = |line: &str| match line.split_once(": ") {
        Some((name, id)) if is_id(id) => format!("{name}: ID"),
        Some(("Content-Length", length)) if length == body.len().to_string() => {
            "Content-Length: OF THE BODY".to_owned()
        }
        _ => line.to_owned(),
    };
    let mut shape: Vec<String> = head.split("\r\n").map(line).collect();
    let mut key = "";
    for (number, part) in body.split('"').enumerate() {
        let is_changing = match key {
            // The number is the size of a chunk.
            "" => number == 0,
            "startTimestamp" | "finishTimestamp" | "duration" => true,
            _ => false,
        };
        shape.push(match part {
            id if is_id(id) => "ID".to_owned(),
            size_or_number if is_changing => {
                size_or_number.replace(|letter: char| letter.is_ascii_hexdigit(), "")
            }
            _ => part.to_owned(),
        });
        key = part;
    }
    shape.join("\n")
}

/// The request id in the recording for Go was invented.
fn is_id(text: &str) -> bool {
    (text.len() == 36 && text.split('-').count() == 5) || text.starts_with("req-")
}

/// The text of the items in a request's body.
fn sent_items(received: &Received) -> String {
    let body = String::from_utf8(received.body.clone()).unwrap();
    match received.path.as_str() {
        "/v1/monitoring-data" => body[1..body.len() - 1].to_owned(),
        "/v1/composite-monitoring-data" => {
            let (_, rest) = body.split_once("\"allMonitoringData\":[").unwrap();
            rest[..=rest.rfind("}]").unwrap()].to_owned()
        }
        path => panic!("{path}"),
    }
}

#[test]
fn items_arrive_byte_for_byte_and_name_the_invocation() {
    for family in FAMILIES {
        let remote = Remote::start();
        let agent = Agent::local(family, port(&remote)).key("k");
        let invocation = Invocation::of("5b1e").cold_start().response("\"quoted\"");
        let reported = agent.report(&invocation.items(&agent, &Ending::Success, 3));
        let received = &remote.wait_for(1, SOON)[0];
        assert_eq!(sent_items(received), reported.items.join(","), "{family:?}");
        let body: Value = serde_json::from_slice(&received.body).unwrap();
        let items: Vec<Value> = if body.is_array() {
            assert!(body.as_array().unwrap().iter().all(|item| item["apiKey"] == "k"));
            body.as_array().unwrap().iter().map(|item| item["data"].clone()).collect()
        } else {
            assert_eq!((&body["type"], &body["apiKey"]), (&"Composite".into(), &"k".into()));
            body["data"]["allMonitoringData"].as_array().unwrap().clone()
        };
        let kinds: Vec<_> = items.iter().map(|item| item["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["Invocation", "Span", "Span"], "{family:?}");
        assert_eq!(items[0]["tags"]["aws.lambda.invocation.request_id"], "5b1e");
        assert_eq!((&items[0]["coldStart"], &items[0]["erroneous"]), (&true.into(), &false.into()));
        assert_eq!(items[0]["spanId"], items[1]["id"]);
        assert_eq!(items[1]["tags"]["aws.lambda.invocation.response"]["body"], "\"quoted\"");
        assert_eq!(items[2]["parentSpanId"], items[1]["id"]);
        assert_ne!(items[2]["id"], items[1]["id"]);
        assert_eq!(items[1]["traceId"], items[0]["traceId"]);
    }
}

#[test]
fn an_error_and_a_timeout_are_in_the_reported_invocation() {
    let agent = Agent::local(Family::CatchpointPython, 1);
    let data = |ending: &Ending| -> Value {
        let item = Invocation::of("5b1e").items(&agent, ending, 1).remove(0);
        serde_json::from_str::<Value>(&item).unwrap()["data"].take()
    };
    let (kind, message) = ("ValueError".to_owned(), "it's \"bad\"".to_owned());
    let error = data(&Ending::Error { kind, message });
    assert_eq!((&error["erroneous"], &error["timeout"]), (&true.into(), &false.into()));
    assert_eq!(error["errorType"], "ValueError");
    assert_eq!(error["errorMessage"], "it's \"bad\"");
    let timeout = data(&Ending::Timeout);
    assert_eq!((&timeout["erroneous"], &timeout["timeout"]), (&true.into(), &true.into()));
    assert_eq!(timeout["errorMessage"], "Task timed out");
}
