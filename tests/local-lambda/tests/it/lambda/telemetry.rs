//! The records about an execution environment that a subscriber to the Telemetry API gets.

use std::time::Duration;

use local_lambda::agent::Response;
use local_lambda::function::{Environment, Function};
use local_lambda::{Initialization, Lambda, Remote, Runtime, Setup, Status, TimeLimits};
use serde_json::{Value, json};

use super::puppet::{Puppet, script, with_puppet};
use super::{HANG, NOTHING, agent, extension, in_a_process, in_threads, nowhere, start};
use crate::{FLOOR, SOON};

fn subscribe(puppet: &mut Puppet, listener: &Remote, types: &[&str]) -> Response {
    let port = listener.origin().rsplit_once(':').unwrap().1.to_owned();
    let body = json!({
        "schemaVersion": "2025-01-29",
        "types": types,
        "buffering": { "timeoutMs": 25, "maxItems": 1000, "maxBytes": 262_144 },
        "destination": { "protocol": "HTTP", "URI": format!("http://sandbox.localdomain:{port}") },
    });
    puppet.call("PUT", "/2022-07-01/telemetry", &body.to_string())
}

/// Waits until the listener has an event that `is` accepts. Returns all events up to then.
fn events_until(listener: &Remote, what: &str, is: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut count = 1;
    loop {
        let batches = listener.wait_for(count, SOON);
        let parse = |body: &[u8]| serde_json::from_slice::<Vec<Value>>(body).unwrap();
        let events: Vec<Value> = batches.iter().flat_map(|it| parse(&it.body)).collect();
        if events.iter().any(&is) {
            return events;
        }
        count = batches.len() + 1;
        assert!(count < 100, "no {what} in {events:?}");
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

fn subscribed(setup: Setup, types: &[&str]) -> (Lambda, Puppet, Remote) {
    subscribed_with(setup, &["INVOKE"], types)
}

fn subscribed_with(setup: Setup, events: &[&str], types: &[&str]) -> (Lambda, Puppet, Remote) {
    let listener = Remote::start();
    let lambda = start(with_puppet(setup, "listener"));
    let mut puppet = Puppet::registered(&lambda, "listener", events);
    let answer = subscribe(&mut puppet, &listener, types);
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"\"OK\"".as_slice()));
    puppet.poll();
    (lambda, puppet, listener)
}

#[test]
fn a_subscriber_learns_of_init_and_invocation_in_their_order() {
    let setup = Setup::new().extension(FLOOR).runtime(in_threads());
    let (lambda, mut puppet, listener) = subscribed(setup, &["platform"]);
    let in_flight = lambda.begin(NOTHING);
    puppet.event();
    // The runtime's end arrives before the extension has finished the invocation.
    let is_done = |event: &Value| event["type"] == "platform.runtimeDone";
    let events = events_until(&listener, "runtimeDone", is_done);
    let mut told = types(&events);
    let extensions = told.iter().filter(|it| **it == "platform.extension").count();
    assert_eq!(extensions, 2);
    told.dedup();
    let expected = [
        "platform.initStart",
        "platform.telemetrySubscription",
        "platform.initRuntimeDone",
        "platform.extension",
        "platform.initReport",
        "platform.start",
        "platform.runtimeDone",
    ];
    assert_eq!(told, expected);
    let done = events.iter().find(|event| is_done(event)).unwrap();
    assert_eq!(done["record"]["requestId"], in_flight.request_id());
    assert_eq!(done["record"]["status"], "success");

    puppet.poll();
    assert_eq!(in_flight.end(SOON).status, Status::Success);
    let again = lambda.begin(NOTHING);
    puppet.event();
    let is_report = |event: &Value| event["type"] == "platform.report";
    let events = events_until(&listener, "report in the next invocation", is_report);
    let report = &events.iter().find(|event| is_report(event)).unwrap()["record"];
    assert_ne!(report["requestId"], again.request_id());
    assert_eq!(report["metrics"]["memorySizeMB"], 128);
    assert!(report["metrics"]["initDurationMs"].as_f64().unwrap() > 0.0);
    assert_eq!(report["spans"][0]["name"], "extensionOverhead");
}

fn report_of(listener: &Remote) -> Value {
    record_of(listener, "platform.report")
}

fn record_of(listener: &Remote, kind: &str) -> Value {
    let is_it = |event: &Value| event["type"] == kind;
    let events = events_until(listener, kind, is_it);
    events.into_iter().find(is_it).unwrap()["record"].take()
}

#[test]
fn runtime_done_is_sent_for_an_invocation_that_is_reset_too() {
    let limits = TimeLimits { shutdown: SOON, runtime_shutdown: SOON, ..TimeLimits::LAMBDA };
    for (payload, status, error_type) in [
        (HANG, "timeout", "Sandbox.Timeout"),
        (r#"{"reports":0,"outcome":"crash"}"#, "error", "Runtime.ExitError"),
    ] {
        let setup = Setup::new().runtime(in_threads()).timeout(super::ENOUGH).limits(limits);
        let (lambda, _puppet, listener) = subscribed_with(setup, &[], &["platform"]);
        let request_id = lambda.invoke(payload).request_id;
        let record = record_of(&listener, "platform.runtimeDone");
        assert_eq!(record["requestId"], request_id);
        assert_eq!((&record["status"], &record["errorType"]), (&json!(status), &json!(error_type)));
    }
}

#[test]
fn a_timeout_has_the_name_that_its_kind_of_environment_has_for_it() {
    let managed = Initialization::ManagedInstances { max_concurrency: 1 };
    let kinds = [(Initialization::OnDemand, "Timeout"), (managed, "Timedout")];
    // The limits are long, so that the report is delivered before the reset on any machine.
    let limits = TimeLimits { shutdown: SOON, runtime_shutdown: SOON, ..TimeLimits::LAMBDA };
    for (initialization, name) in kinds {
        let setup = Setup::new().initialization(initialization).runtime(in_threads());
        let setup = setup.timeout(super::SHORT).limits(limits);
        let (lambda, _puppet, listener) = subscribed_with(setup, &[], &["platform"]);
        let hung = lambda.invoke(HANG);
        let record = report_of(&listener);
        assert_eq!((&record["status"], &hung.status), (&json!("timeout"), &Status::Timeout));
        assert_eq!(record["errorType"], format!("Sandbox.{name}"));
    }
}

#[test]
fn the_first_invocation_of_a_snapshot_reports_its_restore_and_no_init() {
    let make = || Function::of(agent(&nowhere())).environment(Environment::SnapStart);
    let setup = Setup::new().initialization(Initialization::SnapStart);
    let setup = setup.runtime(Runtime::function(make)).timeout(SOON * 6);
    let (lambda, _puppet, listener) = subscribed_with(setup, &[], &["platform"]);
    let first = lambda.invoke(NOTHING);
    // Nothing is delivered during a freeze.
    let _hung = lambda.begin(HANG);
    let metrics = report_of(&listener)["metrics"].take();
    assert!(metrics["restoreDurationMs"].as_f64().unwrap() > 0.0, "{metrics}");
    assert_eq!(metrics["initDurationMs"], Value::Null);
    assert!(first.billed < first.duration + Duration::from_millis(1), "{first:?}");
}

#[test]
fn lines_of_the_function_and_of_extensions_are_sent_to_their_subscribers() {
    let (_home, path) = script("#!/bin/sh\necho from the extension\nexec sleep 1000\n");
    let setup =
        Setup::new().extension_named(&path, "speaker").runtime(in_a_process(&["--verbose"]));
    let (lambda, mut puppet, listener) = subscribed(setup, &["function", "extension"]);
    let mut speaker = Puppet::registered(&lambda, "speaker", &[]);
    speaker.poll();
    let _in_flight = lambda.begin(NOTHING);
    puppet.event();
    let events = events_until(&listener, "line of the function", |it| it["type"] == "function");
    let line = events.iter().find(|event| event["type"] == "extension").unwrap();
    assert_eq!(line["record"], "from the extension");
    assert!(!types(&events).iter().any(|kind| kind.starts_with("platform.")));
    let _ = extension("speaker");
}

#[test]
fn only_registered_extensions_subscribe_and_only_during_init() {
    let (lambda, mut puppet, listener) =
        subscribed(Setup::new().runtime(in_threads()), &["platform"]);
    let mut stranger = Puppet::of(&lambda, "stranger");
    assert_eq!(subscribe(&mut stranger, &listener, &["platform"]).status, 403);
    assert!(lambda.wait_for_init());
    let in_flight = lambda.begin(NOTHING);
    puppet.event();
    let closed = subscribe(&mut puppet, &listener, &["platform"]);
    let body = String::from_utf8_lossy(&closed.body).into_owned();
    assert!(closed.status == 403 && body.contains("Telemetry.SubscriptionClosed"), "{body}");
    puppet.poll();
    assert_eq!(in_flight.end(SOON).status, Status::Success);
}

#[test]
fn after_a_reset_the_new_processes_subscribe_anew() {
    let setup = Setup::new().runtime(in_threads()).timeout(super::ENOUGH);
    let (lambda, puppet, _listener) =
        subscribed(setup.limits(super::short_shutdown()), &["platform"]);
    assert_eq!(lambda.invoke(NOTHING).status, Status::Timeout, "nobody polls again");
    drop(puppet);
    let in_flight = lambda.begin(NOTHING);
    lambda.wait_for("second init", |event| match event {
        local_lambda::Event::InitStarted { phase } => (*phase == "invoke").then_some(()),
        _ => None,
    });
    let mut second = Puppet::registered(&lambda, "listener", &["INVOKE"]);
    let listener = Remote::start();
    assert_eq!(subscribe(&mut second, &listener, &["platform"]).status, 200);
    second.poll();
    second.event();
    second.poll();
    assert_eq!(in_flight.end(SOON).status, Status::Success);
}

#[test]
fn without_telemetry_a_subscription_is_answered_as_by_the_emulator() {
    let lambda = start(with_puppet(Setup::new().without_telemetry(), "hopeful"));
    let mut hopeful = Puppet::registered(&lambda, "hopeful", &[]);
    let answer = subscribe(&mut hopeful, &Remote::start(), &["platform"]);
    assert_eq!(answer.status, 202);
    assert!(String::from_utf8_lossy(&answer.body).contains("Telemetry.NotSupported"));
    let mut stranger = Puppet::of(&lambda, "stranger");
    let answer = subscribe(&mut stranger, &Remote::start(), &["platform"]);
    assert_eq!(answer.status, 202, "nobody is asked who they are");
}
