//! Each agent, seen by who receives its reports.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use sandbox::agent::{Agent, Ending, Family, Invocation, Reported};
use sandbox::{Received, Remote};
use serde_json::Value;
use socket2::SockRef;

use crate::SOON;
use crate::remote::port;

mod batches;
mod connections;

pub const FAMILIES: [Family; 5] = [
    Family::ThundraPython,
    Family::CatchpointPython,
    Family::Node,
    Family::NodeComposite,
    Family::Go,
];

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

fn items(agent: &Agent, count: usize) -> Vec<String> {
    Invocation::of("5b1e").items(agent, &Ending::Success, count)
}

fn report(agent: &Agent) -> Reported {
    agent.report(&items(agent, 2))
}

/// What arrives on the next connection, up to the end of one request, and the connection.
fn receive(listener: &TcpListener) -> (String, TcpStream) {
    // A read timeout limits accepting as well.
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

/// The bytes of one report, answered 200.
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

#[track_caller]
fn check_head(family: Family, recorded: &str) {
    let (text, port) = raw_report(family);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let lines = head.split("\r\n").map(|line| match line.split_once("-id: ") {
        Some((name, id)) if id.len() == 36 => format!("{name}-id: UUID"),
        _ => line.replace(&port.to_string(), "3333").replace(&body.len().to_string(), "LENGTH"),
    });
    assert_eq!(lines.collect::<Vec<_>>().join("\n"), recorded);
}

#[test]
fn each_head_is_as_recorded_with_the_real_agent() {
    let python = "Host: localhost:3333\nUser-Agent: python-requests/2.34.2\n\
                  Accept-Encoding: gzip, deflate\nAccept: */*\nConnection: keep-alive\n\
                  Content-Type: application/json\nAuthorization: ApiKey some-key\n\
                  Content-Length: LENGTH";
    let post = "POST /v1/composite-monitoring-data HTTP/1.1";
    check_head(Family::ThundraPython, &format!("{post}\n{python}"));
    let array = "POST /v1/monitoring-data HTTP/1.1";
    check_head(Family::CatchpointPython, &format!("{array}\n{python}"));
    let node = |brand: &str| {
        format!(
            "Content-Type: application/json\nAuthorization: ApiKey some-key\n\
             x-{brand}-trace-id: UUID\nx-{brand}-span-id: UUID\nx-{brand}-transaction-id: UUID\n\
             x-{brand}-resource-name: localhost/v1\nHost: localhost:3333\n\
             Connection: keep-alive\nTransfer-Encoding: chunked"
        )
    };
    check_head(Family::Node, &format!("{array}\n{}", node("catchpoint")));
    check_head(Family::NodeComposite, &format!("{post}\n{}", node("thundra")));
    let go = "Host: localhost:3333\nUser-Agent: Go-http-client/1.1\nConnection: close\n\
              Content-Length: LENGTH\nAuthorization: ApiKey some-key\n\
              Content-Type: application/json\nAccept-Encoding: gzip";
    check_head(Family::Go, &format!("{post}\n{go}"));
}

#[test]
fn node_sends_a_body_as_one_chunk() {
    for family in [Family::Node, Family::NodeComposite] {
        let (text, _) = raw_report(family);
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let (size, rest) = body.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        assert_eq!(&rest[size..], "\r\n0\r\n\r\n");
    }
}

/// The items of a request as they stand in its body.
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
fn items_arrive_byte_for_byte_and_tell_of_the_invocation() {
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
fn an_error_and_a_timeout_are_told_in_the_invocation() {
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
