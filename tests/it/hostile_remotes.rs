//! Remotes that fail in unusual ways, and freezes at the worst moments. No report may be lost or doubled, and
//! no other report may wait.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use local_lambda::{Answer, Authority, Platform, Received, Remote, free_port};
use rstest::rstest;

use crate::support::fixture::{
    ARRAY, COLLECTS, COMPOSITE, Fixture, PATIENCE, SHUTDOWN, array_of, each_at_once, pass, spawn,
};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};
use crate::support::report::items_of;

/// Longer than an attempt may take.
const FREEZE: Duration = Duration::from_secs(4);

#[test]
fn a_hanging_request_is_given_up_even_if_invocations_are_shorter_than_an_attempt() {
    let fixture = Fixture::start();
    fixture.remote.answer_with(|it| match (it.connection, it.number) {
        (0, 1..) => Answer::Hang,
        _ => Answer::ok(),
    });
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    fixture.report(ARRAY, "[2]");
    fixture.received(2);
    // All attempts together take twice as long as one may take.
    for _ in 0..12 {
        pass(Duration::from_millis(500));
        fixture.process.stop();
        fixture.process.resume();
    }
    assert_eq!(fixture.bodies_received(3), ["[1]", "[2]", "[2]"]);
    fixture.shut_down();
}

/// Carries bytes between the extension and a TLS remote. The remote's first bytes on the first connection wait
/// until the sender of `held` is dropped.
fn hold_the_handshake(
    remote_port: u16,
    held: mpsc::Receiver<()>,
    is_held: mpsc::Sender<()>,
) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut first = Some((held, is_held));
    spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect(("127.0.0.1", remote_port)).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            spawn(move || drop(std::io::copy(&mut from, &mut to)));
            let first = first.take();
            let (mut from, mut to) = (server, client);
            spawn(move || {
                if let Some((held, is_held)) = first {
                    from.peek(&mut [0]).unwrap();
                    is_held.send(()).unwrap();
                    let _ = held.recv_timeout(PATIENCE);
                }
                drop(std::io::copy(&mut from, &mut to));
            });
        }
    });
    port
}

#[test]
fn a_freeze_in_the_handshake_costs_neither_a_line_nor_a_second_request() {
    let authority = Authority::new();
    let remote = Remote::start_tls(&authority);
    remote.answer_with(|_| Answer::ok().after(Duration::from_millis(100)));
    let remote_port = remote.origin().rsplit(':').next().unwrap().parse().unwrap();
    let ((go_on, held), (is_held, holding)) = (mpsc::channel(), mpsc::channel());
    let port = hold_the_handshake(remote_port, held, is_held);
    let url = Thundra.url_at(&format!("https://localhost:{port}"));
    let ca = authority.pem_file().to_str().unwrap().to_owned();
    let environment = [("SSL_CERT_FILE", &*ca), (Thundra.url_variable(), &url)];
    let fixture = Fixture::on(Platform::start(), remote, &environment);
    fixture.report(ARRAY, "[1]");
    holding.recv_timeout(PATIENCE).unwrap();
    fixture.process.stop();
    drop(go_on);
    pass(FREEZE);
    fixture.process.resume();
    fixture.wait_for_an_empty_buffer();
    let (log, bodies) = fixture.shut_down_leaving(|fixture| fixture.bodies_received(1));
    assert_eq!((log.as_str(), bodies), ("", vec!["[1]".to_owned()]));
}

#[test]
fn a_dead_kept_connection_leaves_half_of_the_shutdown_to_a_new_one() {
    let fixture = Fixture::with(&[COLLECTS]);
    // Half of the buffer is sent at once, so a connection is open afterwards.
    fixture.report(ARRAY, &array_of(3_000_000));
    fixture.received(1);
    fixture.wait_for_an_empty_buffer();
    fixture.remote.lose_idle();
    fixture.report(ARRAY, "[2]");
    let (log, bodies) = fixture.shut_down_leaving(|fixture| fixture.bodies_received(2));
    assert_eq!(bodies[1..], ["[2]"]);
    assert!(!log.contains("lost"), "{log}");
}

/// Sends a head with a large length before it has read the body, and closes.
fn start_remote_that_answers_early(lengths: mpsc::Sender<usize>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut head) = (client.unwrap(), Vec::new());
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            let _ = lengths.send(length);
            let status = if length > 200_000 { "413 Content Too Large" } else { "200 OK" };
            if length <= 200_000 {
                client.read_exact(&mut vec![0; length]).unwrap();
            }
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = client.write_all(answer.as_bytes());
        }
    });
    format!("http://127.0.0.1:{port}/v1")
}

#[test]
fn a_response_before_the_body_is_sent_counts() {
    let (sender, lengths) = mpsc::channel();
    let url = start_remote_that_answers_early(sender);
    let fixture =
        Fixture::with(&[(Thundra.url_variable(), &url), ("THUNDRA_EXTENSION_BUFFER", "16MiB")]);
    for (body, case) in [
        (array_of(9_000_000), "the large one"),
        ("[1]".to_owned(), "the large one is not tried again"),
    ] {
        fixture.report(COMPOSITE, &body);
        let length = Thundra.report(COMPOSITE, &body).body.len();
        assert_eq!(lengths.recv_timeout(PATIENCE), Ok(length), "{case}");
    }
    let log = fixture.shut_down();
    assert!(log.contains("lost: 1 too_large"), "{log}");
}

#[rstest]
fn a_remote_to_which_everything_is_too_large_is_neither_flooded_nor_a_line_for_each(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start();
    fixture.remote.answer_with(|_| Answer::status(413));
    let items = vec!["{\"a\":1}"; 20_000].join(",");
    fixture.report(ARRAY, &format!("[{items}]"));
    fixture.wait_for_an_empty_buffer();
    let log = fixture.shut_down();
    assert_eq!(log.matches("cannot deliver a report").count(), 1, "{log}");
}

#[rstest]
fn a_413_makes_later_requests_small_only_for_a_while(#[values(Thundra, Otlp)] protocol: Protocol) {
    let fixture = protocol.start();
    fixture.remote.answer_with(|it| Answer::status(if it.number == 0 { 413 } else { 200 }));
    let report = |items: usize| {
        let item = format!("\"{}\"", "x".repeat(998));
        fixture.report(ARRAY, &format!("[{}]", vec![item; items].join(",")));
        fixture.wait_for_an_empty_buffer();
        fixture.remote.received().len()
    };
    let mut before = report(60);
    assert!(before > 2, "cut in two at least");
    for _ in 0..10 {
        before = report(60);
    }
    assert_eq!(report(60), before + 1);
    fixture.shut_down();
}

#[test]
fn a_report_larger_than_half_of_the_backlog_evicts_no_other() {
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_BUFFER", "1MiB")]);
    fixture.remote.answer_with(|_| Answer::status(503).header("Retry-After", "60"));
    for n in 0..20 {
        fixture.report(ARRAY, &format!("[{n}]"));
    }
    fixture.wait_for_log("cannot deliver to http");
    fixture.report(ARRAY, &array_of(500_000));
    fixture.wait_for_account(|it| it["dropped"]["evicted"] == 1);
    fixture.remote.answer_with(|_| Answer::ok());
    let (log, items) = fixture.shut_down_leaving(Fixture::accepted_items);
    assert_eq!(items.len(), 20);
    assert!(log.contains("21 accepted, 20 delivered, lost: 1 evicted"), "{log}");
}

#[rstest]
fn reports_of_two_keys_in_turn_go_in_one_request_for_each_key(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start_with(&[COLLECTS]);
    for n in 0..40 {
        let key = format!("Authorization: ApiKey {}\r\n", n % 2);
        assert_eq!(fixture.post_with(&key, ARRAY, &format!("[{n}]")).status, 200);
    }
    let (_, received) = fixture.shut_down_leaving(|fixture| fixture.received(2));
    let counts: Vec<usize> = received.iter().map(|it| items_of(it).len()).collect();
    assert_eq!(counts, [20, 20]);
}

#[rstest]
fn a_remote_with_a_limit_of_ten_kilobytes_gets_all_reports_that_can_be_cut(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let fixture = protocol.start();
    fixture.remote.answer_with(|it| Answer::status(if it.body.len() > 10_000 { 413 } else { 200 }));
    let item = |n: usize| format!("\"{n:03}{}\"", "x".repeat(990));
    let items: Vec<String> = (0..60).map(item).collect();
    for part in items.chunks(12) {
        fixture.report(ARRAY, &format!("[{}]", part.join(",")));
    }
    let delivery = fixture.wait_for_items(&items);
    assert!(delivery.missing.is_empty(), "{delivery}");
    fixture.shut_down();
}

#[test]
fn a_report_that_takes_most_of_the_buffer_is_retried_until_others_need_the_room() {
    let fixture = Fixture::with(&[("THUNDRA_EXTENSION_BUFFER", "1MiB")]);
    let fails_once = |it: &Received| Answer::status(if it.number == 0 { 503 } else { 200 });
    fixture.remote.answer_with(fails_once);
    fixture.report(ARRAY, &array_of(750_000));
    fixture.received(2);
    let log = fixture.shut_down();
    assert!(!log.contains("lost"), "{log}");
}

/// Accepts connections and sends this again and again on each, whatever the client sends.
fn say_on_and_on(what: &'static str, each: Duration) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            spawn(move || {
                while client.write_all(what.as_bytes()).is_ok() {
                    pass(each);
                }
            });
        }
    });
    port
}

#[test]
fn an_endless_response_is_given_up_like_a_missing_one() {
    let remote = say_on_and_on("HTTP/1.1 100 Continue\r\n\r\n", Duration::from_millis(10));
    let proxy = say_on_and_on("HTTP/1.1 200 OK\r\nX: ", Duration::from_millis(100));
    let (remote, proxy) =
        (format!("http://127.0.0.1:{remote}/v1"), format!("http://127.0.0.1:{proxy}"));
    let elsewhere = Thundra.url_at("https://127.0.0.1:9");
    let environments = [
        vec![(Thundra.url_variable(), remote.as_str())],
        vec![
            (Thundra.url_variable(), elsewhere.as_str()),
            ("THUNDRA_EXTENSION_PROXY", proxy.as_str()),
        ],
    ];
    each_at_once(environments, |environment| {
        let fixture = Fixture::with(&environment);
        fixture.report(ARRAY, "[1]");
        fixture.process.wait_for_log("cannot deliver", PATIENCE / 2);
        fixture.shut_down();
    });
}

#[rstest]
fn a_remote_that_is_the_extension_itself_is_a_loss_and_no_loop(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let port = free_port();
    let path = if protocol == Otlp { "" } else { "/v1" };
    let url = format!("http://0x7f000001:{port}{path}"); // 127.0.0.1, as the system understands it
    let environment =
        [(protocol.port_variable(), &*port.to_string()), (protocol.url_variable(), &url)];
    let fixture = Fixture { port, ..protocol.start_with(&environment) };
    fixture.report(ARRAY, "[1]");
    fixture.wait_for_account(|it| it["dropped"]["rejected"] == 1);
    assert_eq!(fixture.health()[protocol.account()]["accepted"], 1);
    fixture.shut_down();
}

#[test]
fn a_short_shutdown_is_used() {
    /// The number of attempts. On a busy machine, some have too little time.
    const TRIALS: usize = 5;
    let arrives = |left| {
        let fixture = Fixture::with(&[COLLECTS]);
        fixture.report(ARRAY, "[1]");
        fixture.platform.shutdown("timeout", left);
        assert!(fixture.process.exit(SHUTDOWN).success());
        // The extension either had the answer before its end, or never got it.
        fixture.remote.received().len() == 1
    };
    for left in [50, 100, 200].map(Duration::from_millis) {
        assert!((0..TRIALS).any(|_| arrives(left)), "{left:?}");
    }
}
