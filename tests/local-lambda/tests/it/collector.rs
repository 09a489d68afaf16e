//! `local-lambda remote`, used as by a script.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use local_lambda::agent::{self, Connection};
use local_lambda::otlp::{self, Encoding};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{A_MOMENT, LOCAL_LAMBDA, SOON, tls};

/// The collector and its first line.
pub fn start(home: &TempDir, options: &[&str]) -> (Child, Value) {
    let (child, _, announced) = start_reading(home, options);
    (child, announced)
}

/// As [`start`], and a reader for the collector's later lines.
fn start_reading(home: &TempDir, options: &[&str]) -> (Child, BufReader<ChildStdout>, Value) {
    let mut child = Command::new(LOCAL_LAMBDA)
        .args(["remote", "--dir"])
        .arg(home.path().join("collector"))
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    (child, output, serde_json::from_str(&line).unwrap())
}

pub fn port(announced: &Value) -> u16 {
    let url = announced["url"].as_str().unwrap();
    url.trim_end_matches("/v1").rsplit(':').next().unwrap().parse().unwrap()
}

fn requests(home: &TempDir) -> Vec<Value> {
    let lines = fs::read_to_string(home.path().join("collector/requests.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Ends the collector by closing its standard input.
pub fn end(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn each_answered_request_is_a_line_in_the_file() {
    let home = TempDir::new().unwrap();
    let (child, announced) = start(&home, &[]);
    assert_eq!(announced.as_object().unwrap().len(), 1, "no ca without TLS: {announced}");
    assert_eq!(agent::post(port(&announced), "/v1/monitoring-data", b"\xff[]").status, 200);
    let expected = json!({
        "method": "POST",
        "path": "/v1/monitoring-data",
        "headers": {
            "Host": format!("localhost:{}", port(&announced)),
            "Connection": "close",
            "Content-Type": "application/json",
            "Authorization": "ApiKey test-key",
            "Content-Length": "3",
        },
        "body_base64": "/1td",
    });
    assert_eq!(requests(&home), [expected]);
    end(child);
}

#[test]
fn with_tls_the_announced_authority_has_signed_the_collectors_certificate() {
    let home = TempDir::new().unwrap();
    let (child, announced) = start(&home, &["--tls"]);
    assert!(announced["url"].as_str().unwrap().starts_with("https://localhost:"), "{announced}");
    let ca = announced["ca"].as_str().unwrap();
    assert_eq!(ca, home.path().join("collector/ca.pem").to_str().unwrap());
    let get = b"GET /v1/x HTTP/1.1\r\nConnection: close\r\n\r\n";
    let answer = tls::exchange(ca.as_ref(), "localhost", port(&announced), get).unwrap();
    assert!(answer.ends_with("\r\n\r\n{}"), "{answer}");
    assert_eq!(requests(&home)[0]["path"], "/v1/x");
    end(child);
}

#[test]
fn every_request_is_answered_with_the_configured_status() {
    let home = TempDir::new().unwrap();
    let (child, announced) = start(&home, &["--answer", "500"]);
    let answers = [(); 2].map(|()| agent::post(port(&announced), "/v1/x", b"[]"));
    for answer in answers {
        assert_eq!((answer.status, answer.body.as_slice()), (500, b"".as_slice()));
    }
    assert_eq!(requests(&home).len(), 2);
    end(child);
}

#[test]
fn a_collector_that_hangs_records_the_request_and_leaves_it_unanswered() {
    let home = TempDir::new().unwrap();
    let (child, announced) = start(&home, &["--answer", "hang"]);
    let mut connection = Connection::open(port(&announced));
    connection.send(b"GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(!connection.is_closed(A_MOMENT));
    end(child);
    assert!(connection.is_closed(SOON));
    assert_eq!(requests(&home)[0]["path"], "/v1/x");
}

#[test]
fn an_unknown_answer_is_refused() {
    for answer in ["", "never", "199", "600", "-1"] {
        let told = format!("--answer={answer}");
        let output =
            Command::new(LOCAL_LAMBDA).args(["remote", "--dir", "x", &told]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{answer}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("neither a status from 200 to 599 nor `hang`, `reset`"), "{error}");
    }
}

/// The status of the answer to a request on a new connection. `None` if none arrived.
fn status(announced: &Value, body: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port(announced))).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let length = body.len();
    let request = format!("POST /v1/x HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    line.strip_suffix("\r\n")?.split(' ').nth(1)?.parse().ok()
}

#[test]
fn scripted_answers_go_to_the_first_requests_and_the_last_one_stays() {
    let home = TempDir::new().unwrap();
    let script = ["--answer=503", "--answer=reset@body:1", "--answer=202", "--accept=reset"];
    let (child, announced) = start(&home, &[script.as_slice(), &["--accept=serve"]].concat());
    let statuses = [(); 5].map(|()| status(&announced, "[1]"));
    assert_eq!(statuses, [None, Some(503), None, Some(202), Some(202)]);
    assert_eq!(requests(&home).len(), 3, "what was cut short is not among the requests");
    end(child);
}

#[test]
fn limits_paces_and_latency_come_from_the_command_line() {
    let home = TempDir::new().unwrap();
    let script = ["--close-after=1", "--latency=100ms", "--write-pace=8/1ms", "--read-pace=8/1ms"];
    let (child, announced) = start(&home, &script);
    let mut connection = Connection::open(port(&announced));
    let started = Instant::now();
    connection.send(b"GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(connection.response().status, 200);
    // The latency, and at least four pauses in the request and eight in the answer.
    assert!(started.elapsed() >= Duration::from_millis(112));
    assert!(connection.is_closed(SOON));
    end(child);
}

#[test]
fn otlp_is_answered_in_its_encoding_and_its_spans_are_the_items_of_the_report() {
    let home = TempDir::new().unwrap();
    let (mut child, mut output, announced) = start_reading(&home, &["--report"]);
    for (encoding, empty) in [(Encoding::Protobuf, ""), (Encoding::Json, "{}")] {
        let (content_type, body) = (encoding.content_type(), otlp::traces(&["a", "b"], encoding));
        let head = "POST /v1/traces HTTP/1.1\r\nHost: a\r\nConnection: close";
        let length = format!("Content-Length: {}", body.len());
        let head = format!("{head}\r\nContent-Type: {content_type}\r\n{length}\r\n\r\n");
        let answer = agent::request(port(&announced), &[head.as_bytes(), &body].concat());
        assert_eq!((answer.status, answer.body.as_slice()), (200, empty.as_bytes()));
        assert_eq!(answer.header("Content-Type"), Some(content_type));
    }
    drop(child.stdin.take());
    let mut report = String::new();
    output.read_line(&mut report).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["requests"], &report["items"]), (&json!(2), &json!(2)));
    let repeated = report["repeated"].as_array().unwrap();
    assert!(repeated[0].as_str().unwrap().contains(r#""name":"a""#), "{repeated:?}");
    end(child);
}

#[test]
fn the_report_lists_arrived_repeated_and_missing_items() {
    let home = TempDir::new().unwrap();
    let script = ["--report", "--answer=reset@answer", "--answer=reset@body:1", "--answer=200"];
    let (mut child, mut output, announced) = start_reading(&home, &script);
    for body in ["[1,2]", "[3]", "[2,4]"] {
        status(&announced, body);
    }
    drop(child.stdin.take());
    let mut report = String::new();
    output.read_line(&mut report).unwrap();
    let expected = json!({
        "requests": 2,
        "undelivered": 0,
        "cut_short": [{ "connection": 1, "path": "/v1/x", "body_bytes": 1 }],
        "items": 3,
        "repeated": ["2"],
    });
    assert_eq!(serde_json::from_str::<Value>(&report).unwrap(), expected);
    end(child);
}
