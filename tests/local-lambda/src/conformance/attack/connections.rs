//! Attacks with many connections, slow ones and silent ones.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use super::attack;
use super::attack_run::run_attack;

use super::volley::PATIENCE;
use crate::conformance::fixture::pass;
use crate::conformance::raw_requests::{head, send_raw};
use crate::conformance::{Scenario, Speech};

/// How long a waiting connection stays open.
const WAIT: Duration = Duration::from_secs(5);

pub const ALL: &[Scenario] = &[
    attack(
        "attack-slow-bodies",
        "50 clients at once, each of which sends one byte of its body per second, do no harm.",
        "CVE-2007-6750 (slowloris)",
        |it| run_attack(it, |port| slow_bodies(it.speech, port)),
    ),
    attack(
        "attack-stalled-heads",
        "100 connections at once that stop inside a head do no harm.",
        "CVE-2007-6750 (slowloris)",
        |it| {
            run_attack(it, |port| {
                hold(
                    &(0..100)
                        .filter_map(|_| begin(port, &head(it.speech, "")[..50]))
                        .collect::<Vec<_>>(),
                )
            })
        },
    ),
    attack(
        "attack-idle-connections",
        "300 silent connections at once do no harm.",
        "AWS docs, Lambda quotas: 1,024 file descriptors",
        |it| run_attack(it, |port| idle(port, 300)),
    ),
    attack(
        "attack-idle-connections-beyond-descriptors",
        "2,000 silent connections at once, with a limit of 1,024 descriptors, do no harm.",
        "AWS docs, Lambda quotas: 1,024 file descriptors",
        |it| run_attack(it, |port| idle(port, 2_000)),
    ),
    attack(
        "attack-short-connections",
        "5,000 connections that are closed before they send a byte do no harm.",
        "aws-observability/aws-otel-lambda#1011",
        |it| run_attack(it, |port| (0..5_000).filter(|_| begin(port, b"").is_some()).count()),
    ),
];

fn begin(port: u16, bytes: &[u8]) -> Option<TcpStream> {
    send_raw(port, bytes, PATIENCE)
}

fn idle(port: u16, count: usize) -> usize {
    hold(&(0..count).filter_map(|_| begin(port, b"")).collect::<Vec<_>>())
}

fn hold(open: &[TcpStream]) -> usize {
    pass(WAIT);
    open.len()
}

fn slow_bodies(speech: Speech, port: u16) -> usize {
    let head = head(speech, "Content-Length: 5000\r\n");
    let mut open: Vec<_> = (0..50).filter_map(|_| begin(port, &head)).collect();
    for _ in 0..WAIT.as_secs() {
        pass(Duration::from_secs(1));
        for stream in &mut open {
            let _ = stream.write_all(b"x");
        }
    }
    open.len()
}
