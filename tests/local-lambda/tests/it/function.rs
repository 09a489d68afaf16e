//! The built-in function in threads of the test, between a Runtime API and a collector.

use std::collections::HashSet;
use std::time::Duration;

use local_lambda::agent::{Agent, Family};
use local_lambda::function::{End, Function, Moment, RunningFunction};
use local_lambda::{Answer, Received, Remote};
use serde_json::{Value, json};

use crate::agents::FAMILIES;
use crate::remote::port;
use crate::{A_MOMENT, SOON};

mod command;
mod lambda;
mod life;
mod timeouts;

use lambda::{Lambda, parse};

fn agent(family: Family, collector: &Remote) -> Agent {
    Agent::local(family, port(collector))
}

fn start(family: Family, collector: &Remote, lambda: &Lambda) -> RunningFunction {
    Function::of(agent(family, collector)).start(&lambda.authority())
}

#[test]
fn the_agent_reports_before_the_response_and_over_kept_connections() {
    for family in FAMILIES {
        let (collector, lambda) = (Remote::start(), Lambda::with([json!({}), json!({})]));
        let function = start(family, &collector, &lambda);
        let expected = [
            "invocation/next",
            "invocation/request-0/response",
            "invocation/next",
            "invocation/request-1/response",
            "invocation/next",
        ];
        assert_eq!(lambda.paths(5), expected, "{family:?}");
        let (calls, received) = (lambda.calls(5), collector.received());
        assert_eq!(received.len(), 2);
        assert!(calls[0].at < received[0].at && received[0].at < calls[1].at, "{family:?}");
        assert!(calls[2].at < received[1].at && received[1].at < calls[3].at, "{family:?}");
        assert_eq!(collector.connections(), if family == Family::Go { 2 } else { 1 });
        assert_eq!(lambda.0.connections(), 1);
        let reports = function.reports();
        assert_eq!(reports[1].request_id, "request-1");
        assert_eq!(reports[1].moment, Moment::BeforeResponse);
        assert!(reports[1].reported.is_success());
        let cold = |it: &Received| String::from_utf8_lossy(&it.body).contains("coldStart\":true");
        assert!(cold(&received[0]) && !cold(&received[1]), "{family:?}");
    }
}

#[test]
fn the_response_has_the_durations_of_the_agent_and_the_handler() {
    let (collector, lambda) =
        (Remote::start(), Lambda::with([json!({"work_ms": 50, "body_bytes": 3_000_000})]));
    collector.answer_with(|_| Answer::ok().after(2 * A_MOMENT));
    let _function = start(Family::ThundraPython, &collector, &lambda);
    let (kind, response) = lambda.result();
    assert_eq!(kind, "response");
    let micros = |key: &str| Duration::from_micros(response[key].as_u64().unwrap());
    assert!(micros("agent_us") >= 2 * A_MOMENT, "{:?}", micros("agent_us"));
    assert!(micros("handler_us") >= Duration::from_millis(50), "{:?}", micros("handler_us"));
    assert_eq!(response["body"].as_str().map(str::len), Some(3_000_000));
    assert!(collector.received()[0].body.len() > 3_000_000, "the agent quotes the response");
}

#[test]
fn computing_takes_at_least_its_cpu_time() {
    let (collector, lambda) = (Remote::start(), Lambda::with([json!({"cpu_ms": 30})]));
    let _function = start(Family::Go, &collector, &lambda);
    assert!(lambda.result().1["handler_us"].as_u64().unwrap() >= 30_000);
}

#[test]
fn an_error_is_reported_and_then_posted() {
    let (collector, lambda) = (Remote::start(), Lambda::with([json!({"outcome": "error"})]));
    let _function = start(Family::CatchpointPython, &collector, &lambda);
    let (kind, error) = lambda.result();
    assert_eq!(kind, "error");
    assert_eq!(error["errorType"], "Sandbox.HandlerError");
    let call = &lambda.calls(2)[1];
    let header = call.header("Lambda-Runtime-Function-Error-Type");
    assert_eq!(header, Some("Sandbox.HandlerError"));
    let report = &collector.received()[0];
    assert!(report.at < call.at);
    assert_eq!(parse(report)[0]["data"]["errorType"], "Sandbox.HandlerError");
}

#[test]
fn a_bad_event_is_an_error_of_the_function_that_goes_on() {
    let (collector, lambda) =
        (Remote::start(), Lambda::with([json!({"outcome": "none"}), json!({})]));
    let _function = start(Family::Node, &collector, &lambda);
    let (kind, error) = lambda.result();
    assert_eq!((kind.as_str(), &error["errorType"]), ("error", &"Sandbox.InvalidEvent".into()));
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.starts_with("cannot read the event: unknown variant `none`"), "{message}");
    assert_eq!(lambda.paths(5)[3], "invocation/request-1/response");
}

#[test]
fn a_function_that_crashes_sends_no_response() {
    for (outcome, end) in [("crash", End::Crashed), ("exit-0", End::Exited)] {
        let (collector, lambda) = (Remote::start(), Lambda::with([json!({"outcome": outcome})]));
        let function = start(Family::ThundraPython, &collector, &lambda);
        assert_eq!(function.end(SOON), end);
        drop(function);
        assert_eq!((collector.received().len(), lambda.calls(1).len()), (0, 1), "{outcome}");
    }
}

#[test]
fn an_event_sets_the_number_and_size_of_reports() {
    let (collector, lambda) =
        (Remote::start(), Lambda::with([json!({"reports": 3, "items": 4}), json!({"reports": 0})]));
    let function = start(Family::CatchpointPython, &collector, &lambda);
    lambda.calls(5);
    let items: Vec<String> =
        function.reports().into_iter().flat_map(|report| report.reported.items).collect();
    assert_eq!((collector.received().len(), items.len()), (3, 12));
    let id = |item: &String| serde_json::from_str::<Value>(item).unwrap()["data"]["id"].to_string();
    let ids: HashSet<String> = items.iter().map(id).collect();
    assert_eq!(ids.len(), 12, "each item is another");
}

#[test]
fn an_agent_may_post_once_more_after_the_response() {
    let (collector, lambda) =
        (Remote::start(), Lambda::with([json!({"after_response_post": true})]));
    let function = start(Family::Node, &collector, &lambda);
    let calls = lambda.calls(3);
    let received = collector.received();
    assert_eq!(received.len(), 2);
    assert!(calls[1].at < received[1].at && received[1].at < calls[2].at);
    assert_eq!(function.reports()[1].moment, Moment::AfterResponse);
}

#[test]
fn stopping_ends_a_report_that_hangs() {
    let collector = Remote::start();
    collector.answer_with(|_| Answer::Hang);
    let lambda = Lambda::with([json!({})]);
    let function = start(Family::Go, &collector, &lambda);
    collector.wait_for(1, SOON);
    function.stop();
    assert_eq!(lambda.calls(1).len(), 1, "no response after the end");
}
