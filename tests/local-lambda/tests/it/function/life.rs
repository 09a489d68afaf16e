//! The start and the end of a function.

use std::time::Instant;

use local_lambda::agent::{Agent, Family};
use local_lambda::function::{End, Environment, Function, Init};
use local_lambda::{Remote, free_port};

use super::lambda::{Lambda, parse};
use super::{agent, start};
use crate::{A_MOMENT, SOON, panic_of};

#[test]
fn a_failed_init_is_reported_and_ends_the_process() {
    let (collector, lambda) = (Remote::start(), Lambda::with([]));
    let function = Function::of(agent(Family::Go, &collector)).init(Init::Fails);
    let function = function.start(&lambda.authority());
    assert_eq!(function.end(SOON), End::InitFailed);
    let call = lambda.calls(1).remove(0);
    assert_eq!(call.path, "/2018-06-01/runtime/init/error");
    assert_eq!(parse(&call)["errorType"], "Sandbox.InitError");
}

#[test]
fn a_function_that_is_never_ready_never_calls() {
    let (collector, lambda) = (Remote::start(), Lambda::with([]));
    let function = Function::of(agent(Family::Go, &collector)).init(Init::Hangs);
    let _function = function.start(&lambda.authority());
    let message = panic_of(|| lambda.0.wait_for(1, A_MOMENT));
    assert!(message.contains("0 connections"), "{message}");
}

#[test]
fn init_takes_its_time() {
    let (collector, lambda) = (Remote::start(), Lambda::with([]));
    let started = Instant::now();
    let function = Function::of(agent(Family::Go, &collector)).init_takes(A_MOMENT);
    let _function = function.start(&lambda.authority());
    assert!(lambda.calls(1)[0].at - started >= A_MOMENT);
}

#[test]
fn a_function_of_a_snapshot_waits_to_be_restored() {
    let (collector, lambda) = (Remote::start(), Lambda::with([]));
    let function = Function::of(agent(Family::Go, &collector)).environment(Environment::SnapStart);
    let _function = function.start(&lambda.authority());
    assert_eq!(lambda.paths(2), ["restore/next", "invocation/next"]);
}

#[test]
fn a_managed_instance_takes_several_events_at_once() {
    let managed = Environment::of(Some("lambda-managed-instances"), Some("3")).unwrap();
    let (collector, lambda) = (Remote::start(), Lambda::with([]));
    let function = Function::of(agent(Family::Go, &collector)).environment(managed);
    let _function = function.start(&lambda.authority());
    assert_eq!(lambda.paths(3), ["invocation/next"; 3]);
    assert_eq!(lambda.0.connections(), 3);
}

#[test]
fn a_function_ends_with_its_platform() {
    let (collector, lambda) = (Remote::start(), Lambda::with([]));
    let function = start(Family::Go, &collector, &lambda);
    lambda.calls(1);
    drop(lambda);
    assert_eq!(function.end(SOON), End::Disconnected("closed in the head".to_owned()));
}

#[test]
fn a_function_without_a_platform_names_the_address_that_it_tried() {
    let authority = format!("127.0.0.1:{}", free_port());
    let function = Function::of(Agent::local(Family::Go, 1)).start(&authority);
    let end = function.end(SOON);
    let expected = format!("cannot connect to {authority}: Connection refused");
    assert!(matches!(&end, End::Unreachable(why) if why.starts_with(&expected)), "{end:?}");
}
