//! A freeze as long as those on Lambda, in real time; short ones and simulated ones are in the
//! conformance suite.

use std::sync::mpsc;
use std::time::Duration;

use sandbox::agent::{Agent, Family};
use sandbox::function::Function;
use sandbox::{Moment, Remote, Runtime, Setup, Status, agent, free_port};

use crate::trial::{ARRAY, PATIENCE, binary};

const FREEZE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "takes a minute"]
fn a_send_that_a_freeze_of_a_minute_interrupts_is_delivered_after_it() {
    let (remote, port) = (Remote::start(), free_port());
    let runtime =
        Runtime::function(move || Function::of(Agent::local(Family::CatchpointPython, port)));
    let lambda = Setup::new()
        .extension(binary())
        .runtime(runtime)
        .env("THUNDRA_EXTENSION_PORT", &port.to_string())
        .env("THUNDRA_EXTENSION_COLLECTOR_URL", &remote.base_url())
        .start()
        .unwrap();
    assert!(lambda.wait_for_init());
    let (freezer, (frozen, is_frozen)) = (lambda.freezer(), mpsc::channel());
    remote.at(Moment::BeforeAnswer, 0, move |_| {
        freezer.freeze();
        frozen.send(()).unwrap();
    });
    let before = [r#"{"id":"before"}"#];
    assert_eq!(agent::post(port, ARRAY, format!("[{}]", before[0]).as_bytes()).status, 200);
    is_frozen.recv_timeout(PATIENCE).unwrap();
    let pid = lambda.pid_of(binary().file_name().unwrap().to_str().unwrap());
    pass(FREEZE);
    lambda.freezer().thaw();

    assert_eq!(lambda.invoke(r#"{"items":1}"#).status, Status::Success);
    let delivery = remote.wait_for_items(&before, PATIENCE);
    assert!(delivery.missing.is_empty(), "{delivery}");
    assert_eq!(lambda.pid_of(binary().file_name().unwrap().to_str().unwrap()), pid);
    let (report, _) = lambda.shut_down("spindown");
    assert!(report.processes.iter().all(|ended| !ended.killed), "{report:?}");
}

/// The point of the test is time itself.
fn pass(time: Duration) {
    let (_nobody_sends, never) = mpsc::channel::<()>();
    assert_eq!(never.recv_timeout(time), Err(mpsc::RecvTimeoutError::Timeout));
}
