//! A freeze that is as long as on Lambda, in real time. The conformance suite has short ones, and unit tests
//! have simulated ones.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use local_lambda::agent::Connection;
use local_lambda::{Answer, Moment, Remote, Status, free_port};

use crate::support::fixture::{
    ARRAY, Fixture, PATIENCE, SHUTDOWN, array_of, binary, pass, retry_after_standstill,
};
use crate::support::protocol::Protocol::Thundra;

const FREEZE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "takes a minute"]
fn a_send_that_a_freeze_of_a_minute_interrupts_is_delivered_after_it() {
    let (remote, port) = (Remote::start(), free_port());
    let lambda = Thundra.lambda(&Thundra.url(&remote), port).start().unwrap();
    assert!(lambda.wait_for_init());
    let (freezer, (frozen, is_frozen)) = (lambda.freezer(), mpsc::channel());
    remote.at(Moment::BeforeAnswer, 0, move |_| {
        freezer.freeze();
        frozen.send(()).unwrap();
    });
    let before = r#"{"id":"before"}"#;
    assert_eq!(Thundra.report(ARRAY, &format!("[{before}]")).post(port).status, 200);
    is_frozen.recv_timeout(PATIENCE).unwrap();
    let pid = lambda.pid_of(binary().file_name().unwrap().to_str().unwrap());
    pass(FREEZE);
    lambda.freezer().thaw();

    assert_eq!(lambda.invoke(r#"{"items":1}"#).status, Status::Success);
    let delivery = remote.wait_for_items(&[Thundra.item(before)], PATIENCE);
    assert!(delivery.missing.is_empty(), "{delivery}");
    assert_eq!(lambda.pid_of(binary().file_name().unwrap().to_str().unwrap()), pid);
    let (report, _) = lambda.shut_down("spindown");
    assert!(report.processes.iter().all(|ended| !ended.killed), "{report:?}");
}

/// This is the middle of a large report. The rest is sent after the freeze, so the answer cannot have arrived
/// before.
#[test]
fn a_send_that_is_frozen_half_way_for_longer_than_it_may_take_is_not_repeated() {
    retry_after_standstill(|| {
        const BEYOND_AN_ATTEMPT: Duration = Duration::from_millis(3_500);
        const ANSWER_TAKES: Duration = Duration::from_millis(300);
        let fixture = Fixture::with(&[("THUNDRA_EXTENSION_BUFFER", "16MiB")]);
        fixture.remote.answer_with(|_| Answer::ok().after(ANSWER_TAKES));
        let process = Arc::new(fixture.process);
        let (stopping, (stopped, is_stopped)) = (Arc::clone(&process), mpsc::channel());
        let (go_on, going_on) = mpsc::channel();
        fixture.remote.at(Moment::BodyRead(100_000), 0, move |_| {
            stopping.stop();
            stopped.send(()).unwrap();
            // The socket stays full until then.
            going_on.recv_timeout(PATIENCE).unwrap();
        });
        let report = array_of(12_000_000);
        assert_eq!(Thundra.report(ARRAY, &report).post(fixture.port).status, 200);
        is_stopped.recv_timeout(PATIENCE).unwrap();
        pass(BEYOND_AN_ATTEMPT);
        process.resume();
        go_on.send(()).unwrap();
        fixture.remote.wait_for(1, PATIENCE);
        fixture.platform.shutdown("spindown", SHUTDOWN);
        assert!(process.exit(PATIENCE).success());
        let requests = fixture.remote.wait_for(1, PATIENCE).len();
        assert_eq!((requests, process.log().as_str()), (1, ""));
    });
}

#[test]
fn a_full_buffer_after_a_freeze_delays_neither_the_invocation_nor_its_agent() {
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_BUFFER", "64KiB")]);
    fixture.remote.answer_with(|_| Answer::Hang);
    while fixture.post(ARRAY, &array_of(10_000)).status == 200 {}
    let held = [(); 3].map(|()| {
        fixture.process.stop();
        fixture.platform.invoke(PATIENCE);
        fixture.process.resume();
        let thawed = Instant::now();
        let status = fixture.post(ARRAY, &array_of(10_000)).status;
        assert!([200, Thundra.full()].contains(&status), "{status}");
        fixture.platform.wait_for_next(PATIENCE);
        thawed.elapsed()
    });
    // An attempt takes 3 s. A busy machine holds up some.
    assert!(held.iter().any(|it| *it < SHUTDOWN), "{held:?}");
    fixture.shut_down();
}

#[test]
fn an_agents_request_that_ends_in_a_freeze_is_counted_in_the_closing_line_only() {
    let fixture = Fixture::start();
    let mut connection = Connection::open(fixture.port);
    let report = Thundra.report(ARRAY, &array_of(5_000)).request("");
    connection.send(&report[..report.len() - 4_000]);
    fixture.wait_for_health(|health| health["buffer"]["held"] != 0);
    fixture.process.stop();
    connection.reset();
    fixture.process.resume();
    fixture.wait_for_account(|health| health["refused"]["malformed"] == 1);
    assert_eq!(fixture.process.log(), "");
    let log = fixture.shut_down();
    assert!(log.contains("lost: 1 refused as malformed"), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
}
