//! The strategy `end` with a Telemetry API that has faults.

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use local_lambda::agent::Connection;
use local_lambda::{Answer, Footprint, Remote};

use crate::support::fixture::{ARRAY, Fixture, PATIENCE};
use crate::support::protocol::Protocol::Thundra;
use crate::support::telemetry_api::{self, AT_ONCE, SUBSCRIBED, post_telemetry, runtime_done};

fn start(remote: Remote) -> (Fixture, u16) {
    telemetry_api::start(Thundra, remote, SUBSCRIBED, &[])
}

/// As above, but subscriptions get this answer.
fn start_with(remote: Remote, answer: &'static [u8], log_level: &str) -> (Fixture, u16) {
    let environment = [("THUNDRA_EXTENSION_LOG_LEVEL", log_level)];
    telemetry_api::start(Thundra, remote, answer, &environment)
}

#[test]
fn each_extension_takes_any_telemetry_at_a_port_of_its_own() {
    let (first, second) = (start(Remote::start()), start(Remote::start()));
    assert_ne!(first.1, second.1);
    for (fixture, port) in [first, second] {
        fixture.remote.answer_with(|_| Answer::Hang);
        fixture.report(ARRAY, "[1]");
        fixture.received(1);
        let lines = vec![r#"{"type":"function","record":"a line"}"#; 1_000].join(",");
        let large = format!(r#"["{}"]"#, "x".repeat(2_000_000));
        for batch in [&format!("[{lines}]"), &large, "", "no json", &runtime_done("nobody")] {
            post_telemetry(port, batch);
        }
        fixture.shut_down();
    }
}

#[test]
fn missing_telemetry_holds_one_invocation_and_no_other() {
    let (fixture, _) = start(Remote::start());
    fixture.platform.invoke(Duration::from_secs(1));
    fixture.process.wait_for_log("no telemetry reports their ends", PATIENCE);
    for _ in 0..3 {
        let invoked = Instant::now();
        fixture.platform.invoke(PATIENCE);
        fixture.platform.wait_for_next(PATIENCE);
        assert!(invoked.elapsed() < AT_ONCE, "{:?}", invoked.elapsed());
    }
    assert_eq!(fixture.shut_down().lines().count(), 1);
}

#[test]
fn once_telemetry_is_given_up_its_port_and_its_connections_are_gone() {
    let (fixture, port) = start(Remote::start());
    let mut platform = TcpStream::connect(("127.0.0.1", port)).unwrap();
    platform.set_read_timeout(Some(PATIENCE)).unwrap();
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    fixture.platform.invoke(Duration::from_secs(1));
    fixture.process.wait_for_log("no telemetry reports their ends", PATIENCE);
    assert_eq!(platform.read(&mut [0]).unwrap(), 0);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    fixture.shut_down();
}

#[test]
fn telemetry_without_ends_of_invocations_holds_two_invocations_and_no_other() {
    let (fixture, port) = start(Remote::start());
    for _ in 0..2 {
        fixture.platform.invoke(Duration::from_secs(1));
        post_telemetry(port, r#"[{"type":"platform.start","record":{}}]"#);
        fixture.platform.wait_for_next(PATIENCE);
    }
    fixture.process.wait_for_log("no telemetry reports their ends", PATIENCE);
    let invoked = Instant::now();
    fixture.platform.invoke(PATIENCE);
    fixture.platform.wait_for_next(PATIENCE);
    assert!(invoked.elapsed() < AT_ONCE, "{:?}", invoked.elapsed());
    fixture.shut_down();
}

#[test]
fn a_subscription_that_is_never_answered_delays_the_start_and_nothing_else() {
    let (fixture, _) = start_with(Remote::start(), b"", "warn");
    let invoked = Instant::now();
    fixture.platform.invoke(PATIENCE);
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    fixture.platform.wait_for_next(PATIENCE);
    assert!(invoked.elapsed() < AT_ONCE, "{:?}", invoked.elapsed());
    let log = fixture.shut_down();
    assert!(log.contains("cannot subscribe to telemetry"), "{log}");
}

#[test]
fn telemetry_that_found_no_free_descriptor_arrives_once_one_is_free() {
    let (fixture, port) = start(Remote::start());
    let request_id = fixture.platform.invoke(PATIENCE);
    let used = Footprint::of(fixture.process.pid()).descriptors;
    fixture.process.limit_descriptors(used as u64);
    // The system accepts the connection and its bytes, and the extension cannot.
    let mut platform = Connection::open(port);
    let batch = runtime_done(&request_id);
    platform.send(
        format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{batch}", batch.len()).as_bytes(),
    );
    fixture.process.limit_descriptors(1024);
    assert_eq!(platform.response().status, 200);
    fixture.platform.wait_for_next(PATIENCE);
    assert_eq!(fixture.shut_down(), "");
}

#[test]
fn an_invocation_without_time_is_no_sign_of_broken_telemetry() {
    let (fixture, port) = start(Remote::start());
    fixture.platform.invoke(Duration::ZERO);
    fixture.platform.wait_for_next(PATIENCE);
    let request_id = fixture.platform.invoke(PATIENCE);
    let invoked = Instant::now();
    post_telemetry(port, &runtime_done(&request_id));
    fixture.platform.wait_for_next(PATIENCE);
    assert!(invoked.elapsed() < AT_ONCE, "{:?}", invoked.elapsed());
    assert_eq!(fixture.shut_down(), "");
}

#[test]
fn reports_that_keep_coming_after_the_end_do_not_hold_the_invocation() {
    let (fixture, port) = start(Remote::start());
    let ((sent, is_sent), is_over) = (channel(), AtomicBool::new(false));
    let asked = sent.clone();
    fixture.remote.answer_with(move |_| {
        let _ = asked.send(()); // fails at the end, when the receiver is dropped
        Answer::ok().after(Duration::from_millis(50))
    });
    // The next requests come while one is answered, but never so many that they fill several batches.
    let (reporting, stop) = (&fixture, &is_over);
    let report_on = move || {
        while !stop.load(Ordering::Relaxed) {
            (0..20).for_each(|_| reporting.report(ARRAY, "[1]"));
            is_sent.recv_timeout(PATIENCE).unwrap();
        }
    };
    let held = thread::scope(|scope| {
        let request_id = fixture.platform.invoke(PATIENCE);
        scope.spawn(report_on);
        fixture.received(3);
        post_telemetry(port, &runtime_done(&request_id));
        let ended = Instant::now();
        fixture.platform.wait_for_next(PATIENCE);
        is_over.store(true, Ordering::Relaxed);
        sent.send(()).unwrap();
        ended.elapsed()
    });
    assert!(held < AT_ONCE, "{held:?}");
    fixture.shut_down();
}
