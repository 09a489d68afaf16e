//! Attacks with requests that end too early, or with heads that no client should send.

use super::attack;
use super::attack_run::run_attack;

use super::volley::{PATIENCE, volley, volleys};
use crate::conformance::raw_requests::{Then, head, report, send_raw};
use crate::conformance::{Scenario, Speech};

/// An attacker's report with these header lines, which the extension must accept.
fn taken(speech: Speech, headers: &str) -> Vec<u8> {
    report(speech, headers, &speech.report(r#"{"attacker":true}"#).0)
}

pub const ALL: &[Scenario] = &[
    attack(
        "attack-resets-after-report",
        "20,000 connections that are reset right after a whole report do no harm.",
        "tiny-http/tiny-http v0.12.0, src/client.rs",
        |it| run_attack(it, |port| volley(port, 20_000, &taken(it.speech, ""), Then::Reset)),
    ),
    attack(
        "attack-resets-inside-body",
        "2,000 connections that are reset in the middle of a body do no harm.",
        "RFC 9112, 8",
        |it| run_attack(it, |port| volley(port, 2_000, &half_a_report(it.speech), Then::Reset)),
    ),
    attack(
        "attack-half-requests",
        "1,000 requests that end in the middle of their head or body do no harm.",
        "RFC 9112, 8",
        |it| {
            let half_a_head = head(it.speech, "X: y\r\n")[..60].to_vec();
            run_attack(it, move |port| {
                volleys(port, 500, &[half_a_head.clone(), half_a_report(it.speech)], Then::Close)
            })
        },
    ),
    attack(
        "attack-garbage",
        "900 connections that send bytes of no protocol, TLS, or only line ends do no harm.",
        "RFC 8446, 4.1.2",
        |it| run_attack(it, |port| volleys(port, 300, &garbage(), Then::Wait)),
    ),
    attack(
        "attack-later-versions",
        "400 requests of HTTP/2 and HTTP/3 do no harm.",
        "RFC 9113, 3.4",
        |it| run_attack(it, |port| volleys(port, 200, &later_versions(), Then::Wait)),
    ),
    attack(
        "attack-odd-heads",
        "Requests of other versions, with whole URLs, with `..` in their paths, with upgrades, and \
         with bytes that are not ASCII or not UTF-8, each 100 times, do no harm.",
        "RFC 9112, 3.2 and 5; RFC 9110, 7.8",
        |it| run_attack(it, |port| volleys(port, 100, &odd_heads(it.speech), Then::Wait)),
    ),
    attack("attack-header-floods", "20 heads of 10,000 lines do no harm.", "RFC 6585, 5", |it| {
        let flood = "X-Header: 0123456789\r\n".repeat(10_000);
        run_attack(it, move |port| volley(port, 20, &taken(it.speech, &flood), Then::Wait))
    }),
    attack(
        "attack-giant-header-lines",
        "20 header lines of 16 MB do no harm.",
        "RFC 6585, 5",
        |it| {
            let line = format!("X-Header: {}\r\n", "x".repeat(16_000_000));
            run_attack(it, move |port| volley(port, 20, &taken(it.speech, &line), Then::Wait))
        },
    ),
    attack(
        "attack-pipelines",
        "50 connections with 500 pipelined requests each do no harm.",
        "RFC 9112, 9.3.2",
        |it| {
            let requests = report(it.speech, "", it.speech.nothing()).repeat(500);
            run_attack(it, move |port| volley(port, 50, &requests, Then::Wait))
        },
    ),
    attack(
        "attack-unread-answers",
        "20 connections that send requests as long as they can, and read no response, do no harm.",
        "RFC 9112, 9.3.2",
        |it| run_attack(it, unread_answers),
    ),
];

fn half_a_report(speech: Speech) -> Vec<u8> {
    [head(speech, "Content-Length: 5000\r\n"), b"[{\"a\":".to_vec()].concat()
}

fn garbage() -> [Vec<u8>; 3] {
    [
        (0..4_096_u32).map(|it| (it * 31 % 251) as u8).collect(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"\r\n\r\n\r\n".to_vec(),
    ]
}

/// The preface of HTTP/2, and a head with the version HTTP/3, which has no such heads.
fn later_versions() -> [Vec<u8>; 2] {
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        b"GET /health HTTP/3.0\r\nHost: a\r\n\r\n".to_vec(),
    ]
}

fn odd_heads(speech: Speech) -> Vec<Vec<u8>> {
    let start = |line: &str| format!("{line}\r\nHost: a\r\n\r\n").into_bytes();
    let mut odd: Vec<Vec<u8>> = [
        "GET / HTTP/0.9",
        "GET /health HTTP/1.0",
        "GET / HTTP/1.2",
        "GET / HTTP/9.9",
        "GET http://elsewhere.example/v1/monitoring-data HTTP/1.1",
        "POST //elsewhere.example/v1/monitoring-data HTTP/1.1",
        "GET /v1/../../etc/passwd HTTP/1.1",
        "GET /v1/%2e%2e/%2e%2e/etc/passwd HTTP/1.1",
        "CONNECT elsewhere.example:443 HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET",
    ]
    .map(start)
    .into();
    odd.push(report(
        speech,
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
        speech.nothing(),
    ));
    odd.push(report(speech, "Connection: upgrade\r\nUpgrade: websocket\r\n", speech.nothing()));
    odd.push(report(speech, "X-Umlaut: \u{e4}\u{f6}\r\n", speech.nothing()));
    let line = format!("POST {} HTTP/1.1\r\n", speech.path());
    odd.push([line.as_bytes(), b"X: \xff\xfe\r\n\r\n"].concat());
    odd.push(report(speech, "no colon\r\n", speech.nothing()));
    odd.push(report(speech, " folded: x\r\n y\r\n", speech.nothing()));
    odd
}

fn unread_answers(port: u16) -> usize {
    use std::io::Write;
    let some = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1_000);
    let mut open: Vec<_> = (0..20).filter_map(|_| send_raw(port, b"", PATIENCE)).collect();
    // Sends until the extension reads no more for a while, or has sent far more answers than any buffer holds.
    for stream in &mut open {
        let _ = (0..200).try_for_each(|_| stream.write_all(some.as_bytes()));
    }
    open.len()
}
