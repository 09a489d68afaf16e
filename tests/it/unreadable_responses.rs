//! Answers whose head the HTTP client cannot read to its end. Their status line counts.

use local_lambda::{Answer, Authority, End, Platform, Remote};
use rstest::rstest;

use crate::support::fixture::{ARRAY, COMPOSITE, each_at_once};
use crate::support::protocol::Protocol::Otlp;
use crate::support::report::text_of;

/// Heads that ureq cannot read, each with this status line.
fn unreadable(status_line: &str) -> [(&'static str, Vec<u8>); 6] {
    let lines = |count: usize, bytes: usize| format!("X: {}\r\n", "x".repeat(bytes)).repeat(count);
    let end = "Content-Length: 0\r\n\r\n";
    [
        ("more than 16 KiB", lines(40, 1_000) + end),
        ("one line of 20 KiB", lines(1, 20_000) + end),
        ("150 lines", lines(150, 1) + end),
        ("a folded line", format!("X: a\r\n b\r\n{end}")),
        ("a length that is none", "Content-Length: x\r\n\r\n".to_owned()),
        ("a head without an end", "X: a\r\n".to_owned()),
    ]
    .map(|(name, rest)| (name, format!("HTTP/1.1 {status_line}\r\n{rest}").into_bytes()))
}

#[rstest]
fn a_success_with_an_unreadable_head_is_a_success(#[values(false, true)] is_tls: bool) {
    let authority = Authority::new();
    let ca = authority.pem_file().to_str().unwrap().to_owned();
    for (name, head) in unreadable("200 OK") {
        let remote = if is_tls { Remote::start_tls(&authority) } else { Remote::start() };
        remote.answer_with(move |it| match it.number {
            // This comes after an answer that keeps its connection.
            1 => Answer::HalfAnswer(head.clone()),
            _ => Answer::ok(),
        });
        let fixture = Otlp.start_on(Platform::start(), remote, &[("SSL_CERT_FILE", &ca)]);
        for n in 1..=3 {
            fixture.report(ARRAY, &format!("[{n}]"));
            fixture.wait_for_account(|it| it["delivered"] == n);
        }
        let (log, bodies) = fixture.shut_down_leaving(|fixture| fixture.bodies_received(3));
        assert_eq!(bodies, ["[1]", "[2]", "[3]"], "{name}");
        assert_eq!(log, "", "{name}");
    }
}

#[test]
fn an_unreadable_failure_is_a_failure_and_delays_no_other_report() {
    let heads = unreadable("503 Service Unavailable").into_iter().chain([
        ("no status", b"HTTP/1.1 OK\r\n\r\n".to_vec()),
        ("HTTP/2", b"HTTP/2 200 OK\r\n\r\n".to_vec()),
        ("half a status line", b"HTTP/1.1 200 O".to_vec()),
        ("an early hint", b"HTTP/1.1 103 Early Hints\r\nX: a\r\n".to_vec()),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
    ]);
    each_at_once(heads, |(name, head)| {
        let fixture = Otlp.start();
        fixture.remote.answer_with(move |it| {
            if text_of(it).contains("bad") {
                Answer::HalfAnswer(head.clone())
            } else {
                Answer::ok()
            }
        });
        fixture.report(COMPOSITE, "{\"bad\":1}");
        fixture.report(COMPOSITE, "{\"n\":1}");
        fixture.wait_for_items(&["{\"n\":1}"]);
        let log = fixture.shut_down();
        assert!(log.contains("cannot deliver to http"), "{name}: {log}");
        let line = "2 accepted, 1 delivered, lost: 1 unsent";
        assert!(log.contains(line), "{name}: {log}");
    });
}

#[rstest]
fn a_proxy_that_answers_connect_with_another_status_is_a_failure(
    #[values(201, 202, 204, 407, 503)] status: u16,
) {
    let proxy = Remote::start();
    proxy.answer_with(move |_| Answer::status(status));
    let origin = proxy.origin();
    let fixture = Otlp.start_with(&[
        (Otlp.url_variable(), "https://collector.invalid"),
        ("THUNDRA_EXTENSION_PROXY", &origin),
    ]);
    fixture.report(ARRAY, "[1]");
    fixture.wait_for_log("cannot deliver to https://collector.invalid");
    let log = fixture.shut_down();
    assert!(log.contains("1 accepted, 0 delivered, lost: 1 unsent"), "{log}");
}

#[rstest]
fn a_report_whose_success_stops_within_the_head_is_not_repeated(
    #[values(End::Close, End::Reset, End::Hang)] end: End,
) {
    let fixture = Otlp.start();
    fixture.remote.answer_with(move |it| match it.number {
        0 => Answer::ok().cut_after("HTTP/1.1 200 OK\r\nCont".len(), end),
        _ => Answer::ok(),
    });
    for n in 1..=2 {
        fixture.report(ARRAY, &format!("[{n}]"));
        fixture.wait_for_account(|it| it["delivered"] == n);
    }
    let (log, bodies) = fixture.shut_down_leaving(|fixture| fixture.bodies_received(2));
    assert_eq!((log.as_str(), bodies), ("", vec!["[1]".to_owned(), "[2]".to_owned()]));
}
