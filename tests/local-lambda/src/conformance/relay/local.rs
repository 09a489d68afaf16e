//! Scenarios about the local server, apart from its proper use.

use std::cell::Cell;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use super::aftermath::counts;
use super::fixture::{ARRAYS, COMPOSITES, POLL, items, play, play_in};
use crate::agent::{post, request};
use crate::conformance::fixture::pass;
use crate::conformance::{Kind, Scenario, Subject, Verdict};
use crate::port::TakenPort;

/// Time for an extension's work at an INVOKE, also on a busy machine. An extension that is ready ends the wait.
const LISTENS_WITHIN: Duration = Duration::from_secs(5);

pub const ALL: &[Scenario] = &[
    Scenario {
        kind: Kind::Relay,
        name: "local-port-taken",
        proves: "If its port is taken, it still registers and polls, and the function is not \
                 affected.",
        source: "aws-observability/aws-otel-lambda#1011",
        play: port_taken,
    },
    Scenario {
        kind: Kind::Relay,
        name: "local-port-freed",
        proves: "If its port is taken at its start and becomes free later, it accepts reports from \
                 then on.",
        source: "aws-observability/aws-otel-lambda#1011",
        play: port_freed,
    },
    Scenario {
        kind: Kind::Relay,
        name: "local-empty-array",
        proves: "An empty array gets a 200. Node's agent sends one when it has trimmed a whole \
                 batch away.",
        source: "thundra-io/thundra-agent-nodejs v2.14.4, src/Reporter.ts",
        play: |subject| takes_nothing(subject, b"[]"),
    },
    Scenario {
        kind: Kind::Relay,
        name: "local-empty-body",
        proves: "A report without a body gets an answer and does no harm.",
        source: "RFC 9112, 6.3",
        play: empty_body,
    },
    Scenario {
        kind: Kind::Relay,
        name: "local-unknown-path",
        proves: "A path or a method that it does not serve gets an HTTP answer.",
        source: "RFC 9110, 15.5.5 and 15.5.6",
        play: unknown_path,
    },
    Scenario {
        kind: Kind::Relay,
        name: "local-odd-headers",
        proves: "A report is not lost because of a query, or of header names in an unusual case.",
        source: "RFC 9110, 5.1",
        play: odd_headers,
    },
];

fn port_taken(subject: &Subject) -> Verdict {
    let mut taken = None;
    let take = |setup, port| {
        taken = Some(TakenPort::new(port));
        setup
    };
    let verdict = play_in(subject, take, |mut fixture| {
        let durations = [(); 3].map(|()| fixture.invoke_silently().duration);
        let end = fixture.shut_down();
        let (well, seen) = end.ended_well();
        Verdict::of(well, format!("invocations of {durations:.0?}; {seen}"))
    });
    drop(taken);
    verdict
}

fn port_freed(subject: &Subject) -> Verdict {
    let taken = Cell::new(None);
    let take = |setup, port| {
        taken.set(Some(TakenPort::new(port)));
        setup
    };
    play_in(subject, take, |mut fixture| {
        fixture.invoke_silently();
        drop(taken.take());
        let (listens, _) = fixture.invoke(|fixture| listens(fixture.port));
        if !listens {
            return Verdict::broke("its port is free, and it does not listen there");
        }
        fixture.invoke(|fixture| drop(fixture.report(1)));
        fixture.shut_down().each_once()
    })
}

/// Waits until the port listens. False if it does not within [`LISTENS_WITHIN`].
fn listens(port: u16) -> bool {
    let deadline = Instant::now() + LISTENS_WITHIN;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() >= deadline {
            return false;
        }
        pass(POLL);
    }
    true
}

fn takes_nothing(subject: &Subject, body: &'static [u8]) -> Verdict {
    play(subject, |mut fixture| {
        let (status, _) = fixture.invoke(|fixture| post(fixture.port, ARRAYS, body).status);
        fixture.invoke(|fixture| drop(fixture.report(1)));
        let end = fixture.shut_down();
        let delivery = end.delivery();
        let kept = status == 200 && delivery.is_exact();
        Verdict::of(kept, format!("answered {status}; {}", counts(&delivery)))
    })
}

fn empty_body(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let (statuses, _) = fixture.invoke(|fixture| {
            [ARRAYS, COMPOSITES].map(|path| post(fixture.port, path, b"").status)
        });
        fixture.invoke(|fixture| drop(fixture.report(1)));
        let end = fixture.shut_down();
        let delivery = end.delivery();
        let seen = format!("answered {statuses:?}; {}", counts(&delivery));
        Verdict::of(delivery.missing.is_empty() && delivery.repeated.is_empty(), seen)
    })
}

fn unknown_path(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let (statuses, _) = fixture.invoke(|fixture| {
            let get = format!("GET {ARRAYS} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let delete = "DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            [
                post(fixture.port, "/nowhere", b"{}").status,
                request(fixture.port, get.as_bytes()).status,
                request(fixture.port, delete.as_bytes()).status,
            ]
        });
        fixture.invoke(|fixture| drop(fixture.report(1)));
        let end = fixture.shut_down();
        let delivery = end.delivery();
        // An extension may forward or drop a report that it does not know.
        let kept = delivery.missing.is_empty() && delivery.repeated.is_empty();
        Verdict::of(kept, format!("answered {statuses:?}; {}", counts(&delivery)))
    })
}

fn odd_headers(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let items = items(&fixture.agent, 1, 2);
        let body = format!("[{}]", items[0]);
        let bytes = format!(
            "POST {ARRAYS}?x=1 HTTP/1.1\r\nhost: localhost\r\nCONTENT-TYPE: application/json\r\n\
             aUTHORIZATION: ApiKey k\r\ncontent-LENGTH:{}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let (status, _) = fixture.invoke(|fixture| request(fixture.port, bytes.as_bytes()).status);
        if status != 200 {
            return Verdict::broke(format!("answered {status}"));
        }
        fixture.accept(items);
        fixture.shut_down().each_once()
    })
}
