//! `local-lambda function`: the built-in function as a process.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use local_lambda::Remote;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::lambda::Lambda;
use crate::remote::port;
use crate::{A_MOMENT, LOCAL_LAMBDA, SOON};

/// A process. It is killed when the test ends.
struct Running {
    pid: Pid,
    ended: Receiver<Output>,
}

fn function(options: &[&str], variables: &[(&str, &str)]) -> Running {
    let child = Command::new(LOCAL_LAMBDA)
        .args(["function", "--agent", "go"])
        .args(options)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let (end, ended) = mpsc::channel();
    let wait = move || drop(end.send(child.wait_with_output().unwrap()));
    thread::Builder::new().name("wait".to_owned()).spawn(wait).unwrap();
    Running { pid, ended }
}

fn on(lambda: &Lambda, collector: &Remote, options: &[&str]) -> Running {
    let port = port(collector).to_string();
    let options = [&["--port", &port], options].concat();
    function(&options, &[("AWS_LAMBDA_RUNTIME_API", &lambda.authority())])
}

impl Running {
    fn end(&self) -> (Option<i32>, Option<i32>, String) {
        let Output { status, stdout, stderr } = self.ended.recv_timeout(SOON).unwrap();
        let text = String::from_utf8([stdout, stderr].concat()).unwrap();
        (status.code(), status.signal(), text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // If it has ended, another process may have its pid by now.
        if self.ended.try_recv().is_err_and(|error| error == TryRecvError::Empty) {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}

#[test]
fn a_process_serves_events_silently_until_sigterm() {
    let (collector, lambda) = (Remote::start(), Lambda::with([json!({}), json!({})]));
    let running = on(&lambda, &collector, &[]);
    assert_eq!(lambda.paths(5)[3], "invocation/request-1/response");
    assert_eq!(collector.received().len(), 2);
    kill_process(running.pid, Signal::TERM).unwrap();
    assert_eq!(running.end(), (None, Some(15), String::new()));
}

#[test]
fn sigterm_can_be_ignored() {
    let (collector, lambda) = (Remote::start(), Lambda::with([]));
    let running = on(&lambda, &collector, &["--ignore-sigterm"]);
    lambda.calls(1);
    kill_process(running.pid, Signal::TERM).unwrap();
    assert!(running.ended.recv_timeout(A_MOMENT).is_err(), "it ended");
    kill_process(running.pid, Signal::KILL).unwrap();
    assert_eq!(running.end().1, Some(9));
}

#[track_caller]
fn check_end(options: &[&str], event: &serde_json::Value, expected: (Option<i32>, Option<i32>)) {
    let (collector, lambda) = (Remote::start(), Lambda::with([event.clone()]));
    let (code, signal, text) = on(&lambda, &collector, options).end();
    assert_eq!(((code, signal), text.as_str()), (expected, ""));
    assert_eq!(collector.received().len(), 0);
}

#[test]
fn a_process_ends_with_the_code_or_signal_of_its_event() {
    check_end(&[], &json!({"outcome": "crash"}), (None, Some(6)));
    check_end(&[], &json!({"outcome": "exit-0"}), (Some(0), None));
    check_end(&["--init-error"], &json!({}), (Some(1), None));
}

#[test]
fn the_kind_of_environment_comes_from_lambda_s_variables() {
    let lambda = Lambda::with([]);
    let api = lambda.authority();
    let start = |name, value| function(&[], &[("AWS_LAMBDA_RUNTIME_API", &api), (name, value)]);
    let snap_start = start("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start");
    assert_eq!(lambda.paths(2), ["restore/next", "invocation/next"]);
    drop(snap_start);
    let _managed = start("AWS_LAMBDA_MAX_CONCURRENCY", "3");
    assert_eq!(lambda.paths(5)[2..], ["invocation/next"; 3]);
}

#[test]
fn a_report_can_go_straight_to_the_remote() {
    let (collector, lambda) = (Remote::start(), Lambda::with([json!({})]));
    let options = ["--report-to", &collector.base_url(), "--key", "k", "--verbose"];
    let running = function(&options, &[("AWS_LAMBDA_RUNTIME_API", &lambda.authority())]);
    lambda.calls(3);
    let received = collector.received();
    assert_eq!(received[0].header("Authorization"), Some("ApiKey k"));
    kill_process(running.pid, Signal::KILL).unwrap();
    let (.., text) = running.end();
    assert!(text.starts_with("function: request-0 took "), "{text}");
}

#[test]
fn a_wrong_call_is_one_line_and_a_failure() {
    let (code, _, text) = function(&[], &[]).end();
    assert_eq!(code, Some(1));
    let why = "cannot take events: AWS_LAMBDA_RUNTIME_API is not set to HOST:PORT";
    assert_eq!(text, format!("local-lambda: {why}\n"));
    let (code, _, text) = function(&["--report-to", "ftp://x"], &[]).end();
    assert_eq!(code, Some(2));
    assert!(text.contains("the URL does not start with http:// or https://"), "{text}");
}

#[test]
fn an_option_that_opentelemetrys_agents_lack_is_refused() {
    for (option, value) in [("--key", "k"), ("--timeout-margin-ms", "1")] {
        let mut command = Command::new(LOCAL_LAMBDA);
        command.args(["function", "--agent", "otel-node", option, value]);
        let output = command.env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1").output().unwrap();
        let expected = format!("local-lambda: OpenTelemetry's agents have no {option}\n");
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn the_help_lists_the_members_of_an_event() {
    let (code, _, text) = function(&["--help"], &[]).end();
    assert_eq!(code, Some(0));
    let events = ["cpu_ms", "work_ms", "outcome", "items", "reports", "body_bytes"];
    let words = ["after_response_post", "exit-0", "AWS_LAMBDA_RUNTIME_API", "node-composite"];
    for word in events.iter().chain(&words) {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}
