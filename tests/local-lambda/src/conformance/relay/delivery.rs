//! Scenarios with a healthy remote: every report arrives once, unchanged.

use std::thread;
use std::time::Duration;

use super::aftermath::counts;
use super::fixture::{RelayFixture, items, play};
use crate::agent::{Agent, Attempt, Endpoint, Failure, Family, Localhost};
use crate::conformance::{Kind, Scenario, Subject, Verdict};

const FAMILIES: [Family; 5] = [
    Family::ThundraPython,
    Family::CatchpointPython,
    Family::Node,
    Family::NodeComposite,
    Family::Go,
];

pub const ALL: &[Scenario] = &[
    Scenario {
        kind: Kind::Relay,
        name: "relay-every-agent",
        proves: "Reports of each agent family arrive once, byte for byte: with a declared length \
                 and in chunks, on kept and on closed connections, as arrays and composites.",
        source: "elastic/apm-aws-lambda#309",
        play: every_agent,
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-many-items",
        proves: "250 items of one invocation, which agents send in parallel batches of 100, \
                 arrive once.",
        source: "newrelic/newrelic-lambda-extension-rust 45a4c80 (#41)",
        play: many_items,
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-ipv6-only",
        proves: "Agents for which localhost is only ::1, such as those on Node.js 17 to 19, can \
                 connect to it.",
        source: "nodejs/node#40537",
        play: ipv6_only,
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-several-reports",
        proves: "Each of several reports within one invocation arrives once.",
        source: "newrelic/newrelic-lambda-extension#42",
        play: several_reports,
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-before-shutdown",
        proves: "A report arrives at the latest during the next invocation, of up to 5 s, because \
                 SHUTDOWN may be hours away.",
        source: "DataDog/datadog-lambda-extension#98",
        play: before_shutdown,
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-twenty-at-once",
        proves: "Twenty connections that report at the same time are all served.",
        source: "aws/aws-lambda-rust-runtime#837",
        play: twenty_at_once,
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-one-megabyte",
        proves: "A report of 1 MB is delivered, or refused with a status, but never by a reset.",
        source: "DataDog/datadog-lambda-extension#899",
        play: |subject| large(subject, 1_000_000),
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-six-megabytes",
        proves: "A report of 6 MB, as with a function's largest response, is delivered, or refused \
                 with a status, but never by a reset.",
        source: "DataDog/datadog-lambda-extension#1041",
        play: |subject| large(subject, 6_000_000),
    },
];

fn every_agent(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let agents = FAMILIES.map(|family| Agent::local(family, fixture.port));
        for _ in 0..2 {
            for agent in &agents {
                fixture.invoke(|fixture| drop(fixture.report_as(agent, 3, 2)));
            }
        }
        fixture.shut_down().each_once()
    })
}

fn many_items(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        for family in FAMILIES {
            let agent = Agent::local(family, fixture.port);
            fixture.invoke(|fixture| drop(fixture.report_as(&agent, 250, 2)));
        }
        fixture.shut_down().each_once()
    })
}

fn ipv6_only(subject: &Subject) -> Verdict {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return Verdict::does_not_apply("this machine has no IPv6");
    }
    play(subject, |mut fixture| {
        let agent = Agent::to(Family::Node, Endpoint::local(fixture.port, Localhost::V6Only));
        fixture.invoke(|fixture| drop(fixture.report_as(&agent, 2, 2)));
        fixture.shut_down().each_once()
    })
}

fn several_reports(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let several = |fixture: &RelayFixture| {
            for _ in 0..10 {
                fixture.report(2);
            }
        };
        fixture.invoke(several);
        fixture.invoke(several);
        fixture.shut_down().each_once()
    })
}

fn before_shutdown(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        fixture.invoke(|fixture| drop(fixture.report(2)));
        let (delivery, _) =
            fixture.invoke(|fixture| fixture.await_delivery(Duration::from_secs(5)));
        Verdict::of(delivery.is_exact(), counts(&delivery))
    })
}

fn twenty_at_once(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        fixture.invoke(|fixture| {
            let (port, batch) = (fixture.port, 5);
            let report = move || {
                let agent = Agent::local(Family::ThundraPython, port);
                let items = items(&agent, batch, 2);
                (agent.report(&items).failure().cloned(), items)
            };
            let reported = thread::scope(|scope| {
                let running = [(); 20].map(|()| scope.spawn(report));
                running.map(|thread| thread.join().expect("reporting does not panic"))
            });
            for (failure, items) in reported {
                assert_eq!(failure, None, "a report beside 19 others failed");
                fixture.accept(items);
            }
        });
        fixture.shut_down().each_once()
    })
}

/// Reports this many bytes, in chunks and with a declared length.
fn large(subject: &Subject, bytes: usize) -> Verdict {
    play(subject, |mut fixture| {
        let mut outcomes = Vec::new();
        for family in [Family::Node, Family::ThundraPython] {
            let agent = Agent::local(family, fixture.port);
            let items = items(&agent, 2, bytes);
            let (reported, _) = fixture.invoke(|_| agent.report(&items));
            for Attempt { outcome, .. } in &reported.attempts {
                outcomes.push(match outcome {
                    Ok(status) | Err(Failure::Status(status)) => *status,
                    Err(failure) => {
                        return Verdict::broke(format!("the agent {family:?} saw: {failure}"));
                    }
                });
            }
            if outcomes.last() == Some(&200) {
                fixture.accept(items);
            }
        }
        // The extension still works afterwards.
        fixture.invoke(|fixture| drop(fixture.report(1)));
        match fixture.shut_down().each_once() {
            Verdict::Held(seen) => Verdict::held(format!("answered {outcomes:?}; {seen}")),
            Verdict::Broke(seen) => Verdict::broke(format!("answered {outcomes:?}; {seen}")),
            other @ (Verdict::DoesNotApply(_) | Verdict::NotPlayed(_)) => other,
        }
    })
}
