//! Scenarios about polling: one `next` after the other, and no call in between.

use std::time::Duration;

use rustix::process::Signal;

use super::fixture::{Fixture, QUIET, TIMEOUT, WORKING, ms, pass, silent};
use super::{Kind, Scenario, Subject, Verdict};
use crate::invocation::Invocation;
use crate::lambda::Lambda;
use crate::setup::{Runtime, Setup};
use crate::timeline::Event;

pub const NEXT_HELD: &str = "next-held-open";
pub const LONG_FREEZE: &str = "frozen-for-long";

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        kind: Kind::Lifecycle,
        name: "next-after-each-invocation",
        proves: "After each of 30 invocations it polls once for the next event, and makes no call \
                 that Lambda refuses.",
        source: "AWS docs \"Using the Lambda Extensions API\", Next",
        play: next_after_each_invocation,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "invocations-not-held",
        proves: "It does not delay an invocation in which no agent reports.",
        source: "DataDog/datadog-lambda-extension#64, newrelic/newrelic-lambda-extension#341",
        play: invocations_not_held,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: NEXT_HELD,
        proves: "One `next` stays open for longer than a minute. No time limit ends it, and no \
                 second one begins.",
        source: "getsentry/sentry-javascript#24218, Nike-Inc/hal#54",
        play: next_held_open,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "frozen-between-invocations",
        proves: "The same process continues after short freezes and one of 4 s, as if no time had \
                 passed.",
        source: "AWS docs \"Lambda execution environment lifecycle\", Nike-Inc/hal#54",
        play: frozen_between_invocations,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: LONG_FREEZE,
        proves: "After a freeze of more than a minute, the `next` that was open all the time gets \
                 its event.",
        source: "getsentry/sentry-javascript#24219, Nike-Inc/hal#54",
        play: frozen_for_long,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "frozen-with-an-event",
        proves: "A freeze between an event and its next poll changes nothing except the time.",
        source: "DataDog/datadog-lambda-extension#195",
        play: frozen_with_an_event,
    },
];

const INVOCATIONS: usize = 30;
/// Limit of the time that an invocation without work takes. It is twice the shortest time in which the
/// Telemetry API reports the end, for extensions that wait for that.
const HELD_MAX: Duration = Duration::from_millis(50);
/// If this many more invocations are slow with the extension than without, the extension is the reason.
const HELD_ENOUGH: usize = 4;

fn next_after_each_invocation(subject: &Subject) -> Verdict {
    let fixture = subject.ready(|setup, _| setup);
    Verdict::judged((|| {
        let pid = fixture.pid();
        for _ in 1..INVOCATIONS {
            fixture.invoke()?;
        }
        // Gives the extension time for work besides its `next`, which the freezes delayed.
        fixture.succeeded(fixture.lambda.invoke(WORKING))?;
        let nexts = fixture.calls("/event/next");
        let due = if fixture.asks_for("INVOKE") { INVOCATIONS + 1 } else { 1 };
        if fixture.pid() != pid || nexts != due {
            let starts = fixture.starts();
            return Err(format!("{nexts} nexts instead of {due}, from {starts} processes"));
        }
        let end = fixture.finish()?;
        Ok(format!("{nexts} nexts for {INVOCATIONS} invocations; {end}"))
    })())
}

fn invocations_not_held(subject: &Subject) -> Verdict {
    Verdict::of_attempts(|| {
        let fixture = subject.ready(|setup, _| setup);
        let alone = Setup::new().silent_on_panic().timeout(TIMEOUT);
        let alone = alone.runtime(Runtime::function(silent)).start();
        Verdict::judged(match alone {
            Ok(alone) => held_with_and_without(fixture, &alone),
            Err(error) => Err(format!("no local Lambda for the function: {error}")),
        })
    })
}

fn held_with_and_without(fixture: Fixture, alone: &Lambda) -> Result<String, String> {
    let is_held = |invocation: &Invocation| invocation.duration >= HELD_MAX;
    let (mut count, mut with, mut without) = (0, 0, 0);
    // The two alternate, so that other load on the machine slows both.
    while count < INVOCATIONS && with < without + HELD_ENOUGH {
        without += usize::from(is_held(&alone.invoke(QUIET)));
        with += usize::from(is_held(&fixture.invoke()?));
        count += 1;
    }
    fixture.finish()?;
    let seen =
        format!("{with} of {count} invocations take {HELD_MAX:?} or longer, without it {without}");
    if with < without + HELD_ENOUGH { Ok(seen) } else { Err(seen) }
}

fn next_held_open(subject: &Subject) -> Verdict {
    // Nothing is frozen before the first invocation, so timers in the extension run.
    let fixture = subject.ready(|setup, _| setup);
    Verdict::judged((|| {
        pass(subject.next_held);
        fixture.is_blameless()?;
        let (nexts, starts) = (fixture.calls("/event/next"), fixture.starts());
        if nexts != 1 || starts != 1 {
            return Err(format!("{nexts} nexts of {starts} processes for one event"));
        }
        let lived = fixture.goes_on()?;
        Ok(format!("one next waits {:?}; then {lived}", subject.next_held))
    })())
}

fn frozen_between_invocations(subject: &Subject) -> Verdict {
    const SHORT: [u64; 5] = [50, 200, 400, 800, 1200];
    const LONG: Duration = Duration::from_secs(4);
    let fixture = subject.ready(|setup, _| setup);
    Verdict::judged((|| {
        let pid = fixture.pid();
        for freeze in SHORT.map(Duration::from_millis).into_iter().chain([LONG]) {
            fixture.invoke()?;
            pass(freeze);
        }
        fixture.invoke()?;
        if fixture.pid() != pid {
            return Err(format!("it was started {} times: {}", fixture.starts(), fixture.story()));
        }
        let end = fixture.finish()?;
        Ok(format!("process {pid} serves 7 invocations with 6 freezes between them; {end}"))
    })())
}

fn frozen_for_long(subject: &Subject) -> Verdict {
    /// Time between the thaw and the event, so that an expired timer in the extension fires first.
    const AWAKE: Duration = Duration::from_millis(500);
    let fixture = subject.ready(|setup, _| setup);
    Verdict::judged((|| {
        // Some time before the freeze, the extension polls, and a time limit of the `next` runs.
        fixture.succeeded(fixture.lambda.invoke(WORKING))?;
        let nexts = fixture.calls("/event/next");
        pass(subject.next_held);
        fixture.lambda.freezer().thaw();
        pass(AWAKE);
        fixture.is_blameless()?;
        let (later, starts) = (fixture.calls("/event/next"), fixture.starts());
        if later != nexts || starts != 1 {
            return Err(format!(
                "{later} nexts of {starts} processes after the freeze, not {nexts}"
            ));
        }
        let lived = fixture.goes_on()?;
        Ok(format!("frozen for {:?} after an invocation; then {lived}", subject.next_held))
    })())
}

fn frozen_with_an_event(subject: &Subject) -> Verdict {
    const FREEZE: Duration = Duration::from_secs(1);
    let fixture = subject.ready(|setup, _| setup);
    if !fixture.asks_for("INVOKE") {
        return Verdict::does_not_apply("it does not ask for INVOKE");
    }
    Verdict::judged((|| {
        // The extension is stopped before it gets the event, so it cannot have finished.
        fixture.signal(fixture.name(), Signal::STOP)?;
        let running = fixture.lambda.begin(WORKING);
        fixture.lambda.wait_for("invocation", |event| {
            matches!(event, Event::InvokeStarted { .. }).then_some(())
        });
        fixture.lambda.freezer().freeze();
        pass(FREEZE);
        let answers = fixture.answers("/event/next");
        fixture.lambda.freezer().thaw();
        fixture.signal(fixture.name(), Signal::CONT)?;
        if answers != 1 {
            return Err(format!("{answers} nexts were answered before the thaw, not 1"));
        }
        let invocation = fixture.succeeded(running.end(TIMEOUT * 2))?;
        let lived = fixture.goes_on()?;
        Ok(format!("an invocation with a freeze of 1 s takes {}; {lived}", ms(invocation.duration)))
    })())
}
