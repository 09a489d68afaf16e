//! Scenarios about the end of the environment. Reports that were accepted before must be delivered.

use std::thread;
use std::time::Duration;

use super::fixture::{RelayFixture, items, play, play_in, stubborn};
use crate::agent::{Agent, Family};
use crate::answer::Answer;
use crate::conformance::fixture::pass;
use crate::conformance::subject::PATIENT;
use crate::conformance::{Kind, Scenario, Subject, Verdict};
use crate::limits::TimeLimits;
use crate::remote::{Received, Remote};
use crate::timeline::Event;

/// Time limit of a step that follows at once.
const SOON: Duration = Duration::from_secs(20);
/// The shortest timeout that a function can have.
const TIMEOUT: Duration = Duration::from_secs(2);

pub const ALL: &[Scenario] = &[
    Scenario {
        kind: Kind::Relay,
        name: "shutdown-after-one-invocation",
        proves: "After a single invocation everything arrives by the end of SHUTDOWN.",
        source: "open-telemetry/opentelemetry-collector#8509",
        play: after_one_invocation,
    },
    Scenario {
        kind: Kind::Relay,
        name: "shutdown-slow-remote",
        proves: "Five pending reports arrive within SHUTDOWN at a remote that takes 300 ms for \
                 each answer.",
        source: "AWS docs \"Lambda execution environment lifecycle\" (2 s)",
        play: slow_remote,
    },
    Scenario {
        kind: Kind::Relay,
        name: "shutdown-after-outage",
        proves: "Reports that have waited since an outage arrive at SHUTDOWN if the remote works \
                 again.",
        source: "getsentry/sentry-python#1510",
        play: after_outage,
    },
    Scenario {
        kind: Kind::Relay,
        name: "shutdown-hanging-remote",
        proves: "With a remote that never answers it ends by itself within the 2 s of \
                 SHUTDOWN.",
        source: "AWS docs \"Lambda execution environment lifecycle\"",
        play: |subject| hanging_remote(subject, Duration::from_secs(2)),
    },
    Scenario {
        kind: Kind::Relay,
        name: "shutdown-short-deadline",
        proves: "With a remote that never answers, and SHUTDOWN's deadline after 1 s, it also ends \
                 by itself, because it obeys the deadline.",
        source: "DataDog/datadog-agent#19124",
        play: |subject| hanging_remote(subject, Duration::from_secs(1)),
    },
    Scenario {
        kind: Kind::Relay,
        name: "shutdown-behind-a-hang",
        proves: "Reports that wait behind a request that is never answered arrive within SHUTDOWN.",
        source: "newrelic/newrelic-lambda-extension#90",
        play: behind_a_hang,
    },
    Scenario {
        kind: Kind::Relay,
        name: "shutdown-late-report",
        proves: "Reports that the function sends after its SIGTERM, before the extension's \
                 SHUTDOWN, arrive.",
        source: "honeycombio/honeycomb-lambda-extension#162",
        play: late_report,
    },
    Scenario {
        kind: Kind::Relay,
        name: "shutdown-after-timeout",
        proves: "Reports that were accepted before the function's timeout arrive.",
        source: "newrelic/newrelic-lambda-extension#91",
        play: after_timeout,
    },
    Scenario {
        kind: Kind::Relay,
        name: "shutdown-after-crash",
        proves: "Reports that were accepted before the function's process crashed arrive.",
        source: "elastic/apm-aws-lambda#352",
        play: after_crash,
    },
];

fn after_one_invocation(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        is_slow(&fixture.remote);
        fixture.invoke(|fixture| report(fixture, 3));
        fixture.shut_down().each_once()
    })
}

/// Makes the remote so slow that the extension still has reports when the environment ends.
fn is_slow(remote: &Remote) {
    remote.answer_with(|_| Answer::ok().after(Duration::from_millis(300)));
}

fn report(fixture: &RelayFixture, times: usize) {
    for _ in 0..times {
        fixture.report(1);
    }
}

fn slow_remote(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        is_slow(&fixture.remote);
        fixture.invoke(|fixture| report(fixture, 5));
        fixture.shut_down().each_once()
    })
}

fn after_outage(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        fixture.remote.go_down();
        for _ in 0..3 {
            fixture.invoke(|fixture| drop(fixture.report(1)));
        }
        fixture.remote.come_back();
        fixture.shut_down().each_once()
    })
}

fn behind_a_hang(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let first = |it: &Received| if it.number == 0 { Answer::Hang } else { Answer::ok() };
        fixture.remote.answer_with(first);
        // A very short invocation may leave no time to send, and after a hang nothing would be sent.
        fixture.invoke(|fixture| {
            drop(fixture.report(1));
            fixture.await_request(Duration::from_secs(1));
        });
        for _ in 0..2 {
            fixture.invoke(|fixture| drop(fixture.report(1)));
        }
        fixture.shut_down().each_once()
    })
}

fn hanging_remote(subject: &Subject, shutdown: Duration) -> Verdict {
    let limits = TimeLimits { shutdown, ..PATIENT };
    Verdict::of_attempts(|| play_in(subject, |setup, _| setup.limits(limits), ended_beside_a_hang))
}

fn ended_beside_a_hang(mut fixture: RelayFixture) -> Verdict {
    fixture.remote.answer_with(|_| Answer::Hang);
    fixture.invoke(|fixture| drop(fixture.report(1)));
    let end = fixture.shut_down();
    let took = end.shutdown.duration;
    let (well, seen) = end.ended_well();
    Verdict::of(well, format!("{seen}, after {took:.1?}"))
}

fn late_report(subject: &Subject) -> Verdict {
    play_in(
        subject,
        |setup, _| setup.runtime(stubborn()),
        |mut fixture| {
            is_slow(&fixture.remote);
            fixture.invoke(|fixture| report(fixture, 3));
            let agent = Agent::local(Family::CatchpointPython, fixture.port);
            let items = items(&agent, 1, 2);
            let timeline = fixture.timeline();
            thread::scope(|scope| {
                let late = scope.spawn(|| {
                    let told =
                        |event: &Event| matches!(event, Event::Terminated { .. }).then_some(());
                    timeline.wait_for(SOON, told)?;
                    Some(agent.report(&items))
                });
                let mut end = fixture.shut_down();
                let reported = late.join().expect("reporting does not panic");
                match reported.as_ref().map(crate::agent::Reported::failure) {
                    Some(None) => end.accepted.extend(items.iter().cloned()),
                    Some(Some(failure)) => {
                        return Verdict::broke(format!("the agent saw: {failure}"));
                    }
                    None => return Verdict::broke("the runtime got no SIGTERM"),
                }
                end.each_once()
            })
        },
    )
}

fn after_timeout(subject: &Subject) -> Verdict {
    play_in(
        subject,
        |setup, _| setup.timeout(TIMEOUT),
        |mut fixture| {
            is_slow(&fixture.remote);
            let in_flight = fixture.begin();
            pass(TIMEOUT / 2);
            report(&fixture, 6);
            let invocation = in_flight.end(SOON);
            let verdict = fixture.shut_down().each_once();
            say_after(&invocation.status, verdict)
        },
    )
}

fn after_crash(subject: &Subject) -> Verdict {
    play_in(
        subject,
        |setup, _| setup.runtime(stubborn()),
        |mut fixture| {
            is_slow(&fixture.remote);
            let in_flight = fixture.begin();
            report(&fixture, 3);
            fixture.kill_runtime();
            let invocation = in_flight.end(SOON);
            let verdict = fixture.shut_down().each_once();
            say_after(&invocation.status, verdict)
        },
    )
}

fn say_after(status: &crate::timeline::Status, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Held(seen) => Verdict::held(format!("{seen}; the invocation: {status}")),
        Verdict::Broke(seen) => Verdict::broke(format!("{seen}; the invocation: {status}")),
        other @ (Verdict::DoesNotApply(_) | Verdict::NotPlayed(_)) => other,
    }
}
