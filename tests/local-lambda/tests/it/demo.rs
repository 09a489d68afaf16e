//! `local-lambda demo`, with a relay of a few lines in Python and one that relays nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::run::interrupted::Interrupted;
use crate::{FLOOR, LOCAL_LAMBDA};

/// Forwards before it answers, so that no report is left at the end.
const RELAY: &str = r#"
import http.server, json, os, sys, threading, urllib.request

class Relay(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        url = otlp + self.path if otlp else thundra + self.path.removeprefix("/v1")
        content_type = {"Content-Type": self.headers["Content-Type"]}
        urllib.request.urlopen(urllib.request.Request(url, body, content_type)).close()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

thundra = os.environ.get("THUNDRA_EXTENSION_COLLECTOR_URL")
otlp = os.environ.get("THUNDRA_EXTENSION_OTLP_ENDPOINT")
port = int(os.environ["THUNDRA_EXTENSION_OTLP_PORT" if otlp else "THUNDRA_EXTENSION_PORT"])
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Relay)
threading.Thread(target=server.serve_forever, daemon=True).start()
api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2020-01-01/extension"
name = {"Lambda-Extension-Name": os.path.basename(sys.argv[0])}
register = urllib.request.Request(f"{api}/register", b'{"events":["INVOKE","SHUTDOWN"]}', name)
with urllib.request.urlopen(register) as registered:
    identifier = {"Lambda-Extension-Identifier": registered.headers["Lambda-Extension-Identifier"]}
while True:
    with urllib.request.urlopen(urllib.request.Request(f"{api}/event/next", headers=identifier)) as event:
        if json.load(event)["eventType"] == "SHUTDOWN":
            break
"#;

fn relay(home: &Path) -> String {
    let mut python = Command::new("python3");
    let python = python.args(["-c", "import sys; print(sys.executable)"]).output().unwrap().stdout;
    let path = home.join("relay");
    fs::write(&path, format!("#!{}{RELAY}", String::from_utf8(python).unwrap())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// The variables that ring's build script watches, and one that a user sets, in the cargo that builds the
/// extension.
#[test]
fn the_cargo_that_builds_the_extension_gets_the_users_variables_and_none_of_the_cargo_around_it() {
    let home = TempDir::new().unwrap();
    let (cargo, seen) = (home.path().join("cargo"), home.path().join("seen"));
    fs::write(&cargo, format!("#!/bin/sh\nenv > {}\nexit 1\n", seen.display())).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(LOCAL_LAMBDA);
    command.arg("demo").env("CARGO", &cargo).env("CARGO_PKG_NAME", "local-lambda");
    command.env("CARGO_MANIFEST_DIR", "/x").env("CARGO_BUILD_JOBS", "1").env("CARGO_HOME", "/y");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("can't build it: cargo ended with"), "{said}");
    let seen = fs::read_to_string(seen).unwrap();
    let names = seen.lines().filter_map(|it| it.split_once('='));
    let mut names: Vec<&str> = names.map(|it| it.0).filter(|it| it.starts_with("CARGO")).collect();
    names.retain(|name| ["CARGO_BUILD_JOBS", "CARGO_HOME"].contains(name) || is_of_a_run(name));
    names.sort_unstable();
    assert_eq!(names, ["CARGO_BUILD_JOBS", "CARGO_HOME"]);
}

fn is_of_a_run(name: &str) -> bool {
    name == "CARGO" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// With a whole CPU, because the test is not about the costs.
fn demo(options: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(LOCAL_LAMBDA);
    command.args(["demo", "--memory", "1769", "--freeze", "0s", "--invocations", "4"]);
    let output = command.args(options).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn each_report_of_both_ways_arrives_once() {
    let home = TempDir::new().unwrap();
    let (code, text) = demo(&["--extension", &relay(home.path()), "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let comparison: Value = serde_json::from_str(&text).unwrap();
    for way in ["direct", "through_extension"] {
        let way = &comparison[way];
        let reports = serde_json::json!({"sent": 5, "once": 5, "repeated": 0, "missing": 0});
        assert_eq!((&way["reports"], &way["failures"]), (&reports, &serde_json::json!([])));
        let latency = |part: &str| way["latency"][part].as_f64().unwrap();
        assert!(latency("q1_ms") <= latency("median_ms"), "{way}");
        assert!(latency("median_ms") <= latency("q3_ms"), "{way}");
        // In each of the four, a report was answered after 4 ms.
        assert!(way["billed_ms"].as_u64().unwrap() >= 4 * 4, "{way}");
        assert!(latency("q1_ms") >= 4.0, "{way}");
    }
}

#[test]
fn people_get_a_table_and_a_sentence() {
    let home = TempDir::new().unwrap();
    let (code, text) = demo(&["--extension", &relay(home.path()), "--agent", "go"]);
    assert_eq!(code, Some(0), "{text}");
    let expected = ["caller waits, ms", "directly", "through the extension", "5 of 5, once each"];
    for part in expected.iter().chain(&["cold start", "every report arrived once."]) {
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[test]
fn an_agent_of_opentelemetry_reports_over_otlp_both_ways() {
    let home = TempDir::new().unwrap();
    let (code, text) = demo(&["--extension", &relay(home.path()), "--agent", "otel-python"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches("5 of 5, once each").count(), 2, "{text}");
}

#[test]
fn lost_reports_are_shown() {
    let (code, text) = demo(&["--extension", FLOOR]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("0 of 5, once each"), "{text}");
    assert!(text.contains("5 reports are missing"), "{text}");
}

#[test]
fn a_missing_extension_is_one_line() {
    let (code, text) = demo(&["--extension", "/no/such/file"]);
    assert_eq!(code, Some(1));
    let why = "no extension at /no/such/file: No such file or directory (os error 2)";
    assert_eq!(text, format!("local-lambda: {why}\n"));
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let demo = Interrupted::start(&["demo", "--extension", FLOOR, "--invocations", "1000000"]);
    demo.wait_for_processes(4);
    demo.leaves_nothing(Signal::INT);
}
