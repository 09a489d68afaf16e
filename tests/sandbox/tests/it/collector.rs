//! `sandbox remote`, used as a script would use it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use sandbox::agent::{self, Connection};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{A_MOMENT, SANDBOX, SOON, tls};

/// The collector and the line it announces itself with.
fn start(home: &TempDir, options: &[&str]) -> (Child, Value) {
    let mut child = Command::new(SANDBOX)
        .args(["remote", "--dir"])
        .arg(home.path().join("collector"))
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

fn port(announced: &Value) -> u16 {
    let url = announced["url"].as_str().unwrap();
    url.trim_end_matches("/v1").rsplit(':').next().unwrap().parse().unwrap()
}

fn requests(home: &TempDir) -> Vec<Value> {
    let lines = fs::read_to_string(home.path().join("collector/requests.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Ends it by closing its standard input.
fn end(mut child: Child) {
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
fn with_tls_the_announced_authority_vouches_for_the_collector() {
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
fn every_request_is_answered_with_the_status_it_is_told() {
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
fn told_to_hang_it_records_the_request_and_leaves_it_unanswered() {
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
fn an_answer_that_means_nothing_is_refused() {
    for answer in ["", "never", "199", "600", "-1"] {
        let told = format!("--answer={answer}");
        let output = Command::new(SANDBOX).args(["remote", "--dir", "x", &told]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{answer}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("neither a status from 200 to 599 nor `hang`"), "{error}");
    }
}
