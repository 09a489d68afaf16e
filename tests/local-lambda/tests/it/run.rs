//! `local-lambda run`, with the extension that does nothing.

mod failures;
pub mod interrupted;
mod memory;
mod stalled;
pub mod unread;

use std::fs;
use std::process::{Command, Output};

use local_lambda::Remote;
use local_lambda::otlp::span_names;
use serde_json::Value;
use tempfile::TempDir;

use crate::{FLOOR, LOCAL_LAMBDA};

fn run(options: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(LOCAL_LAMBDA);
    let Output { status, stdout, stderr } = command.arg("run").args(options).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn lines(json: &str) -> Vec<Value> {
    json.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether the texts occur in this order.
#[track_caller]
fn in_order<'a>(text: &str, expected: impl IntoIterator<Item = &'a str>) {
    let mut rest = text;
    for needle in expected {
        let Some((_, after)) = rest.split_once(needle) else {
            panic!("no {needle:?} where it should be in:\n{text}");
        };
        rest = after;
    }
}

#[test]
fn the_built_in_function_reports_and_all_ends_well() {
    let remote = Remote::start();
    let options = ["--extension", FLOOR, "--invocations", "2", "--report-to", &remote.base_url()];
    let (code, text, errors) = run(&options);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{text}");
    let init =
        ["INIT\n", "floor started", "floor registered for INVOKE, SHUTDOWN", "runtime started"];
    let invocation = ["INVOKE ", "invocation: success", "FREEZE", "THAW"];
    let shutdown = ["SHUTDOWN (spindown)", "runtime got SIGTERM", "floor got SHUTDOWN"];
    let summary =
        ["caller waits", "         1 ", "         2 ", "floor    got SHUTDOWN: exit status: 0"];
    let steps = [init.as_slice(), &invocation, &invocation, &shutdown, &summary].concat();
    in_order(&text, steps);
    // The lines come through a pipe, so they may be late.
    assert_eq!(text.matches("runtime | function: ").count(), 2, "{text}");
    assert_eq!(remote.received().len(), 2);
    assert!(!text.contains('\x1b'), "colours without a terminal: {text}");
}

#[test]
fn an_agent_of_opentelemetry_reports_spans_of_each_invocation() {
    for agent in ["otel-python", "otel-node"] {
        let remote = Remote::start();
        let where_to = ["--report-to", &remote.base_url(), "--agent", agent];
        let (code, text, _) =
            run(&[where_to.as_slice(), &["--extension", FLOOR, "--invocations", "2"]].concat());
        assert_eq!(code, Some(0), "{text}");
        let names: Vec<_> = remote.received().iter().map(span_names).collect();
        assert_eq!(names, [["GET", "my-fn"], ["GET", "my-fn"]], "{agent}");
    }
}

#[test]
fn machines_get_a_json_object_a_line_in_order() {
    let (code, text, _) = run(&["--extension", FLOOR, "--invocations", "2", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let lines = lines(&text);
    let keys: Vec<&str> = lines
        .iter()
        .map(|line| match line["event"].as_str() {
            Some(event) => event,
            None => line.as_object().unwrap().keys().next().unwrap(),
        })
        .filter(|key| !matches!(*key, "log" | "note"))
        .collect();
    let expected = ["init_started", "init_ended", "invoke_started", "invoke_ended", "frozen"];
    let between =
        ["invocation", "thawed", "invoke_started", "invoke_ended", "frozen", "invocation"];
    let end = ["thawed", "shutdown_started", "shutdown_sent", "shutdown_ended", "shutdown"];
    in_order(&keys.join(" "), [expected.as_slice(), &between, &end].concat());
    let of = |key: &str| lines.iter().filter(|it| it.get(key).is_some()).collect::<Vec<_>>();
    let invocations = of("invocation");
    assert_eq!(invocations.len(), 2);
    assert_eq!(invocations[0]["invocation"]["status"], "success");
    let started: Vec<&Value> = lines.iter().filter(|it| it["event"] == "invoke_started").collect();
    assert_eq!(invocations[1]["invocation"]["request_id"], started[1]["request_id"]);
    let processes = &of("shutdown")[0]["shutdown"]["processes"];
    assert_eq!((&processes[1]["process"], &processes[1]["told"]), (&"floor".into(), &true.into()));
    assert!(of("problem").is_empty(), "{text}");
}

/// On a busy machine an interpreter needs longer for its start than Lambda's 10 s.
const LONG_INIT: &str = "6";

#[test]
fn a_runtime_in_python_runs_unchanged() {
    const RUNTIME: &str = r#"
import json, os, urllib.request
api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
while True:
    with urllib.request.urlopen(f"{api}/next") as event:
        request = event.headers["Lambda-Runtime-Aws-Request-Id"]
        number = json.load(event)["n"]
    print("doubling", number, "for", os.environ["WHOM"], flush=True)
    answer = json.dumps({"by": os.environ["_HANDLER"], "is": 2 * number}).encode()
    urllib.request.urlopen(f"{api}/{request}/response", answer).close()
"#;
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("runtime.py"), RUNTIME).unwrap();
    fs::write(home.path().join("event.json"), r#"{"n": 21}"#).unwrap();
    let (directory, event) = (home.path().display(), home.path().join("event.json"));
    let (directory, event) = (directory.to_string(), format!("@{}", event.display()));
    let platform = ["--handler", "twice.handler", "--env", "WHOM=me", "--timeout", "20s"];
    let limits = ["--time-limits-scale", LONG_INIT];
    let events = ["--event", &event, "--event", r#"{"n": 4}"#, "--invocations", "3"];
    let command = ["--directory", &directory, "--", "python3", "runtime.py"];
    let (code, text, errors) = run(&[platform.as_slice(), &limits, &events, &command].concat());
    assert_eq!(code, Some(0), "{text}{errors}");
    in_order(&text, ["runtime | doubling 21 for me", "doubling 4", "doubling 21"]);
    let (first, second) = (r#"{"by": "twice.handler", "is": 42}"#, r#""is": 8}"#);
    in_order(&text, ["outcome and reply", first, second, first]);
}

#[test]
fn the_platform_is_as_the_options_say() {
    let options = ["--init-type", "provisioned-concurrency", "--function-name", "mine"];
    let more = ["--memory", "256", "--log-format", "json", "--shutdown", "failure", "--json"];
    let script = "env; exit 3";
    let command = ["--invocations", "0", "--time-limits-scale", "0.1", "--", "sh", "-c", script];
    let (code, text, _) = run(&[options.as_slice(), &more, &command].concat());
    assert_eq!(code, Some(1), "a runtime that ends: {text}");
    let lines = lines(&text);
    let logged = |line: &str| lines.iter().any(|it| it["event"] == "log" && it["line"] == line);
    for variable in [
        "AWS_LAMBDA_INITIALIZATION_TYPE=provisioned-concurrency",
        "AWS_LAMBDA_FUNCTION_NAME=mine",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
        "AWS_LAMBDA_LOG_FORMAT=JSON",
    ] {
        assert!(logged(variable), "no {variable} in {text}");
    }
    assert!(lines.iter().any(|it| it["shutdown"]["reason"] == "failure"), "{text}");
}

#[test]
fn the_help_teaches_by_examples() {
    let (code, text, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for word in
        ["awslambdaric", "aws-lambda-ric", "--freeze 60s", "--confined", "jq", "provisioned"]
    {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}
