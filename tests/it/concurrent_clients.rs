//! Many clients at once, clients that stall, and clients that declare wrong lengths. None of them delays
//! another.

use local_lambda::agent::Connection;
use rstest::rstest;

use crate::support::fixture::{ARRAY, Fixture, array_of};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};

#[test]
fn lengths_beyond_memory_neither_end_the_process_nor_stop_the_collector() {
    let fixture = Fixture::start();
    for length in ["200000000", "9223372036854775807", "18446744073709551615"] {
        let mut connection = Connection::open(fixture.port);
        let head = Thundra.report(ARRAY, "[1]").framed(&format!("Content-Length: {length}\r\n"));
        connection.send(head.as_bytes());
        connection.send(b"[1]");
        connection.half_close();
        let statuses = [(); 2].map(|()| connection.response().status);
        assert_eq!(statuses, [100, 413], "{length}");
    }
    assert!(fixture.process.is_running());
    fixture.report(ARRAY, "[1]");
    assert_eq!(fixture.health()[Thundra.account()]["refused"]["too_large"], 3);
    fixture.shut_down();
}

#[test]
fn stalled_clients_block_no_other_and_their_late_reports_count() {
    let fixture = Fixture::start();
    let mut stalled: Vec<Connection> = (0..40).map(|_| Connection::open(fixture.port)).collect();
    let report = Thundra.report(ARRAY, &array_of(4_000)).request("");
    let (begun, rest) = report.split_at(report.len() - 3_990);
    for connection in &mut stalled {
        connection.send(begun);
    }
    for n in 1..=20 {
        fixture.report(ARRAY, &array_of(2_000));
        fixture.items_received(n);
    }
    for connection in &mut stalled {
        connection.send(rest);
        assert_eq!(connection.response().status, 200);
    }
    fixture.items_received(60);
    fixture.shut_down();
}

#[test]
fn kept_connections_that_all_arrive_at_once_are_all_served() {
    let fixture = Fixture::start();
    for _ in 0..3 {
        // While the process is stopped, connections gather in the kernel's queue, as during a freeze.
        fixture.process.stop();
        let mut connections: Vec<_> = (0..20).map(|_| Connection::open(fixture.port)).collect();
        for connection in &mut connections {
            connection.send(&Thundra.report(ARRAY, "[1]").request(""));
        }
        fixture.process.resume();
        for connection in &mut connections {
            assert_eq!(connection.response().status, 200);
        }
    }
    fixture.items_received(60);
    assert_eq!(fixture.shut_down(), "");
}

#[test]
fn clients_that_stall_before_a_small_body_block_no_other() {
    let fixture = Fixture::start();
    let mut stalled = Vec::new();
    for n in 0..20 {
        let header =
            if n % 2 == 0 { "Expect: 100-continue\r\n" } else { "Connection: upgrade\r\n" };
        let mut connection = Connection::open(fixture.port);
        connection.send(Thundra.report(ARRAY, "[1]").head(header).as_bytes());
        stalled.push(connection);
        fixture.report(ARRAY, &array_of(2_000));
    }
    fixture.items_received(20);
    drop(stalled);
    fixture.shut_down();
}

#[test]
fn a_client_with_two_lengths_that_stalls_blocks_no_other() {
    let fixture = Fixture::start();
    let mut stalled = Connection::open(fixture.port);
    let report = Thundra.report(ARRAY, &array_of(5_001));
    stalled.send(report.head("Content-Length: 5000\r\n").as_bytes());
    for n in 1..=5 {
        fixture.report(ARRAY, &array_of(2_000));
        fixture.received(n);
    }
    fixture.shut_down();
}

#[test]
fn a_client_with_malformed_chunks_is_answered_at_once() {
    let fixture = Fixture::start();
    let mut connection = Connection::open(fixture.port);
    let head = Thundra.report(ARRAY, "[1]").framed("Transfer-Encoding: chunked\r\n");
    connection.send(format!("{head}zz\r\n").as_bytes());
    assert_eq!(connection.response().status, 400);
    fixture.shut_down();
}

#[test]
fn a_stalled_client_uses_no_more_of_the_buffer_than_it_sent() {
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_BUFFER", "1MiB")]);
    let mut stalled: Vec<Connection> = (0..10).map(|_| Connection::open(fixture.port)).collect();
    let report = Thundra.report(ARRAY, &array_of(1_000_000)).request("");
    let begun = &report[..report.len() - 999_000];
    for connection in &mut stalled {
        connection.send(begun);
    }
    fixture.report(ARRAY, &array_of(500_000));
    fixture.received(1);
    drop(stalled);
    fixture.shut_down();
}

/// At either port, because the same kind of server serves both.
#[rstest]
fn twenty_agents_at_once_are_all_answered_and_delivered(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start();
    std::thread::scope(|scope| {
        for agent in 0..20 {
            let fixture = &fixture;
            scope.spawn(move || {
                for n in 0..20 {
                    fixture.report(ARRAY, &format!("[[{agent},{n},\"{}\"]]", "x".repeat(3_000)));
                }
            });
        }
    });
    let mut items = fixture.items_received(400);
    items.sort();
    items.dedup();
    assert_eq!(items.len(), 400, "each once");
    assert_eq!(fixture.shut_down(), "");
}

#[test]
fn clients_that_reset_right_after_sending_do_no_harm() {
    let fixture = Fixture::start();
    for _ in 0..300 {
        let mut connection = Connection::open(fixture.port);
        connection.send(&Thundra.report(ARRAY, "[1]").request(""));
        connection.reset();
    }
    assert!(fixture.process.is_running());
    fixture.report(ARRAY, "[2]");
    let log = fixture.shut_down();
    assert!(!log.contains("panicked"), "{log}");
}
