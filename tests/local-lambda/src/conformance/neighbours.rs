//! Scenarios with other extensions in the same environment: copies of the subject with other names.

use std::time::Duration;

use rustix::process::Signal;

use super::fixture::{Fixture, NEIGHBOUR, QUIET, TIMEOUT, ms, pass};
use super::{Kind, Scenario, Subject, Verdict};
use crate::extensions_api::EXTENSIONS_MAX;
use crate::timeline::Event;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        kind: Kind::Lifecycle,
        name: "crash-beside-it",
        proves: "When another extension crashes, it ends at SHUTDOWN (failure), and a new process \
                 handles the next invocation.",
        source: "AWS docs \"Lambda execution environment lifecycle\"",
        play: crash_beside_it,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "ten-at-once",
        proves: "Ten extensions, as many as Lambda allows, live side by side.",
        source: "AWS docs \"Using the Lambda Extensions API\", elastic/apm-aws-lambda#105",
        play: ten_at_once,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "slow-one-beside-it",
        proves: "While another extension delays the end of an invocation, it waits and makes no \
                 call.",
        source: "AWS docs \"Using the Lambda Extensions API\", Invoke phase",
        play: slow_one_beside_it,
    },
];

const FIXED_PORT: &str = "its port is fixed: a copy would take it away";

/// An environment with this many copies. `None` if all would use the same port.
fn among(subject: &Subject, copies: usize) -> Option<Fixture> {
    if subject.fixed_port.is_some() {
        return None;
    }
    Some(subject.ready(|setup, far| {
        (0..copies).fold(setup, |setup, number| {
            subject.copied(setup, &format!("{NEIGHBOUR}{number}"), far)
        })
    }))
}

fn crash_beside_it(subject: &Subject) -> Verdict {
    let Some(fixture) = among(subject, 1) else { return Verdict::does_not_apply(FIXED_PORT) };
    Verdict::judged((|| {
        fixture.invoke()?;
        fixture.signal(&format!("{NEIGHBOUR}0"), Signal::KILL)?;
        let failed = fixture.invoke_with_a_dead_process()?;
        let name = fixture.name().to_owned();
        let clean = fixture.lambda.timeline().iter().any(|entry| {
            matches!(&entry.event, Event::Exited { process, status }
                if process.to_string() == name && status == "exit status: 0")
        });
        if fixture.asks_for("SHUTDOWN") && !clean {
            return Err(format!("it does not leave by SHUTDOWN: {}", fixture.story()));
        }
        let invocation = fixture.invoke()?;
        let end = fixture.finish()?;
        let took = ms(invocation.duration);
        Ok(format!("{}; the next invocation succeeds in {took}; {end}", failed.status))
    })())
}

fn ten_at_once(subject: &Subject) -> Verdict {
    match among(subject, EXTENSIONS_MAX - 1) {
        Some(fixture) => Verdict::judged(fixture.goes_on()),
        None => Verdict::does_not_apply(FIXED_PORT),
    }
}

fn slow_one_beside_it(subject: &Subject) -> Verdict {
    const HELD: Duration = Duration::from_secs(1);
    let Some(fixture) = among(subject, 1) else { return Verdict::does_not_apply(FIXED_PORT) };
    if !fixture.asks_for("INVOKE") {
        return Verdict::does_not_apply("it does not ask for INVOKE, and so holds no invocation");
    }
    Verdict::judged((|| {
        let copy = format!("{NEIGHBOUR}0");
        fixture.signal(&copy, Signal::STOP)?;
        let running = fixture.lambda.begin(QUIET);
        pass(HELD);
        fixture.signal(&copy, Signal::CONT)?;
        let invocation = fixture.succeeded(running.end(TIMEOUT * 2))?;
        // Each copy polls twice: before and after the invocation.
        let nexts = fixture.calls("/event/next");
        if nexts != 4 {
            return Err(format!("{nexts} nexts of two extensions after one invocation, not 4"));
        }
        let lived = fixture.goes_on()?;
        Ok(format!("held {} by the other; {lived}", ms(invocation.extension_overhead)))
    })())
}
