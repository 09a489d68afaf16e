//! The local server beside its proper use.

use std::cell::RefCell;
use std::net::TcpListener;
use std::time::Duration;

use super::aftermath::counts;
use super::stage::{ARRAYS, COMPOSITES, items, pass, play, play_in};
use crate::agent::{post, request};
use crate::conformance::{Scenario, Subject, Verdict};

/// For what an extension does at an INVOKE, beside the invocation.
const A_MOMENT: Duration = Duration::from_millis(300);

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "local-port-taken",
        proves: "When its port is taken it still registers and polls, and the function is not \
                     affected.",
        source: "aws-observability/aws-otel-lambda#1011",
        play: port_taken,
    },
    Scenario {
        name: "local-port-freed",
        proves: "When its port was taken at its start and is free later, it takes reports from \
                 then on.",
        source: "aws-observability/aws-otel-lambda#1011",
        play: port_freed,
    },
    Scenario {
        name: "local-empty-array",
        proves: "An empty array, as Node's agent sends when nothing is left of a batch, is \
                     answered with 200.",
        source: "thundra-io/thundra-agent-nodejs v2.14.4, src/Reporter.ts",
        play: |subject| takes_nothing(subject, b"[]"),
    },
    Scenario {
        name: "local-empty-body",
        proves: "A report without a body gets an answer and does no harm.",
        source: "RFC 9112, 6.3",
        play: empty_body,
    },
    Scenario {
        name: "local-unknown-path",
        proves: "A path or a method that it does not serve gets an HTTP answer.",
        source: "RFC 9110, 15.5.5 and 15.5.6",
        play: unknown_path,
    },
    Scenario {
        name: "local-odd-headers",
        proves: "Header names in any case and a query are no reason to lose a \
                     report.",
        source: "RFC 9110, 5.1",
        play: odd_headers,
    },
];

fn port_taken(subject: &Subject) -> Verdict {
    let mut taken = Vec::new();
    let take = |setup, port| {
        let addresses = [format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
        taken.extend(addresses.iter().filter_map(|it| TcpListener::bind(it).ok()));
        setup
    };
    let verdict = play_in(subject, take, |mut stage| {
        let durations = [(); 3].map(|()| stage.invoke_silently().duration);
        let end = stage.shut_down();
        let ended = end.shutdown.extension(&end.extension);
        let lives = ended.is_some_and(|ended| ended.told && !ended.killed);
        let seen = format!("invocations of {durations:.0?}; told of SHUTDOWN, and ended: {lives}");
        Verdict::of(lives, seen)
    });
    drop(taken);
    verdict
}

fn port_freed(subject: &Subject) -> Verdict {
    let taken = RefCell::new(Vec::new());
    let take = |setup, port| {
        let addresses = [format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
        let listeners = addresses.iter().filter_map(|it| TcpListener::bind(it).ok());
        taken.borrow_mut().extend(listeners);
        setup
    };
    play_in(subject, take, |mut stage| {
        stage.invoke_silently();
        taken.borrow_mut().clear();
        stage.invoke(|_| pass(A_MOMENT));
        stage.invoke(|stage| drop(stage.report(1)));
        stage.shut_down().each_once()
    })
}

fn takes_nothing(subject: &Subject, body: &'static [u8]) -> Verdict {
    play(subject, |mut stage| {
        let (status, _) = stage.invoke(|stage| post(stage.port, ARRAYS, body).status);
        stage.invoke(|stage| drop(stage.report(1)));
        let end = stage.shut_down();
        let delivery = end.delivery();
        let kept = status == 200 && delivery.is_exact();
        Verdict::of(kept, format!("answered {status}; {}", counts(&delivery)))
    })
}

fn empty_body(subject: &Subject) -> Verdict {
    play(subject, |mut stage| {
        let (statuses, _) = stage
            .invoke(|stage| [ARRAYS, COMPOSITES].map(|path| post(stage.port, path, b"").status));
        stage.invoke(|stage| drop(stage.report(1)));
        let end = stage.shut_down();
        let delivery = end.delivery();
        let seen = format!("answered {statuses:?}; {}", counts(&delivery));
        Verdict::of(delivery.missing.is_empty() && delivery.repeated.is_empty(), seen)
    })
}

fn unknown_path(subject: &Subject) -> Verdict {
    play(subject, |mut stage| {
        let (statuses, _) = stage.invoke(|stage| {
            let get = format!("GET {ARRAYS} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let delete = "DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            [
                post(stage.port, "/nowhere", b"{}").status,
                request(stage.port, get.as_bytes()).status,
                request(stage.port, delete.as_bytes()).status,
            ]
        });
        stage.invoke(|stage| drop(stage.report(1)));
        let end = stage.shut_down();
        let delivery = end.delivery();
        // Whether it hands on what it does not know is its own choice.
        let kept = delivery.missing.is_empty() && delivery.repeated.is_empty();
        Verdict::of(kept, format!("answered {statuses:?}; {}", counts(&delivery)))
    })
}

fn odd_headers(subject: &Subject) -> Verdict {
    play(subject, |mut stage| {
        let items = items(&stage.agent, 1, 2);
        let body = format!("[{}]", items[0]);
        let bytes = format!(
            "POST {ARRAYS}?x=1 HTTP/1.1\r\nhost: localhost\r\nCONTENT-TYPE: application/json\r\n\
             aUTHORIZATION: ApiKey k\r\ncontent-LENGTH:{}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let (status, _) = stage.invoke(|stage| request(stage.port, bytes.as_bytes()).status);
        if status != 200 {
            return Verdict::broke(format!("answered {status}"));
        }
        stage.accept(items);
        stage.shut_down().each_once()
    })
}
