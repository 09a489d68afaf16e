//! Invoke: how long the caller waits, and the billed time.

use std::time::Duration;

use local_lambda::{CallerContext, Event, Setup, Status};

use super::puppet::{Puppet, with_puppet};
use super::{NOTHING, healthy, index_of, remote_with_agent, start};
use crate::{FLOOR, SOON};

#[test]
fn the_caller_has_its_reply_while_an_extension_still_works() {
    let lambda = start(with_puppet(healthy(), "busy"));
    let mut busy = Puppet::registered(&lambda, "busy", &["INVOKE"]);
    busy.poll();
    let in_flight = lambda.begin(NOTHING);
    assert_eq!(busy.event()["eventType"], "INVOKE");
    let reply = in_flight.reply(SOON);
    assert_eq!(reply.status, Status::Success);
    lambda.wait_for("runtime", |it| matches!(it, Event::RuntimeDone { .. }).then_some(()));
    busy.poll();
    let invocation = in_flight.end(SOON);
    assert!(invocation.duration > reply.latency, "{invocation:?}");
    assert!(invocation.extension_overhead > Duration::ZERO, "{invocation:?}");
}

#[test]
fn the_init_is_billed_with_the_first_invocation_by_the_millisecond() {
    let lambda = start(healthy());
    let first = lambda.invoke(NOTHING);
    let second = lambda.invoke(NOTHING);
    let init = lambda.wait_for("init", |event| match event {
        Event::InitEnded { duration, .. } => Some(*duration),
        _ => None,
    });
    assert!(first.billed >= first.duration + init, "{first:?}, init {init:?}");
    assert!(second.billed >= second.duration);
    assert!(second.billed < second.duration + Duration::from_millis(1), "{second:?}");
    assert_eq!(second.billed.subsec_nanos() % 1_000_000, 0);
}

#[test]
fn an_extension_that_wants_no_invoke_gets_none_and_is_not_waited_for() {
    let lambda = start(with_puppet(healthy(), "quiet"));
    let mut quiet = Puppet::registered(&lambda, "quiet", &["SHUTDOWN"]);
    quiet.poll();
    for _ in 0..3 {
        assert_eq!(lambda.invoke(NOTHING).status, Status::Success);
    }
    let ended = std::thread::scope(|scope| {
        let reader = scope.spawn(|| quiet.event());
        drop(lambda.shut_down("spindown"));
        reader.join().unwrap()
    });
    assert_eq!(ended["eventType"], "SHUTDOWN");
    assert_eq!(ended["shutdownReason"], "spindown");
}

#[test]
fn a_functions_error_resets_nothing() {
    let lambda = start(healthy());
    let failed = lambda.invoke(r#"{"reports":0,"outcome":"error"}"#);
    assert!(matches!(failed.status, Status::Error(_)), "{failed:?}");
    assert_eq!(lambda.invoke(NOTHING).status, Status::Success);
    let starts = lambda.timeline();
    let starts = starts.iter().filter(|entry| matches!(entry.event, Event::InitStarted { .. }));
    assert_eq!(starts.count(), 1);
}

#[test]
fn a_trace_reaches_runtime_and_extensions() {
    let lambda = start(with_puppet(Setup::new().runtime(super::in_threads()), "traced"));
    let mut traced = Puppet::registered(&lambda, "traced", &["INVOKE"]);
    traced.poll();
    let trace = "Root=1-2-3;Parent=4;Sampled=1";
    let context = CallerContext { trace_id: Some(trace.to_owned()), ..CallerContext::default() };
    let in_flight = lambda.begin_with(NOTHING, context);
    let event = traced.event();
    assert_eq!(event["requestId"], in_flight.request_id());
    assert_eq!(event["tracing"]["type"], "X-Amzn-Trace-Id");
    assert_eq!(event["tracing"]["value"], trace);
    assert!(event["deadlineMs"].as_u64().is_some());
    traced.poll();
    assert_eq!(in_flight.end(SOON).status, Status::Success);
}

#[test]
fn an_internal_extension_holds_the_invocation_as_an_external_one_does() {
    let lambda = start(with_puppet(healthy(), "gate"));
    let mut gate = Puppet::registered(&lambda, "gate", &[]);
    let mut internal = Puppet::registered(&lambda, "internal", &["INVOKE"]);
    gate.poll();
    internal.poll();
    assert!(lambda.wait_for_init());
    let in_flight = lambda.begin(NOTHING);
    assert_eq!(internal.event()["eventType"], "INVOKE");
    assert_eq!(in_flight.reply(SOON).status, Status::Success);
    internal.poll();
    assert_eq!(in_flight.end(SOON).status, Status::Success);
    let timeline = lambda.timeline();
    index_of(
        &timeline,
        "end of the internal extension",
        |event| matches!(event, Event::ExtensionDone { extension, .. } if extension == "internal"),
    );
}

#[test]
fn an_agents_report_arrives_before_the_caller_has_its_reply() {
    let (remote, runtime) = remote_with_agent();
    let lambda = start(Setup::new().extension(FLOOR).runtime(runtime));
    let invocation = lambda.invoke(r#"{"items":2}"#);
    assert_eq!(invocation.status, Status::Success);
    assert_eq!(remote.received().len(), 1);
}
