//! Scenarios in which another part fails. The extension gets SHUTDOWN, and a new process of it starts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use super::fixture::{Fixture, QUIET, ms, silent};
use super::subject::PATIENT;
use super::{Kind, Scenario, Subject, Verdict};
use crate::function::{Function, Init};
use crate::invocation::Invocation;
use crate::limits::TimeLimits;
use crate::setup::Runtime;
use crate::timeline::{Event, Role, Status};

const LIFECYCLE: &str = "AWS docs \"Lambda execution environment lifecycle\"";

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        kind: Kind::Lifecycle,
        name: "function-timeout",
        proves: "When the function times out, it ends at SHUTDOWN (timeout), and a new process \
                 handles the next invocation.",
        source: "DataDog/datadog-lambda-extension#191, newrelic/newrelic-lambda-extension#91",
        play: |subject| after(subject, r#"{"reports":0,"outcome":"hang"}"#, "timeout"),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "runtime-crash",
        proves: "When the runtime crashes, it ends at SHUTDOWN (failure), and a new process \
                 handles the next invocation.",
        source: LIFECYCLE,
        play: |subject| after(subject, r#"{"reports":0,"outcome":"crash"}"#, "failure"),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "runtime-exit",
        proves: "If the runtime exits with code 0, that counts as a crash too: it ends at SHUTDOWN \
                 (failure).",
        source: LIFECYCLE,
        play: |subject| after(subject, r#"{"reports":0,"outcome":"exit-0"}"#, "failure"),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "function-error",
        proves: "An error of the function resets nothing, so the process continues.",
        source: LIFECYCLE,
        play: function_error,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "killed",
        proves: "When its own process is killed without notice, the next invocation fails, and a \
                 new process handles the one after it.",
        source: LIFECYCLE,
        play: killed,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "failed-init",
        proves: "When the function's init fails, a new process takes part in the next one.",
        source: LIFECYCLE,
        play: |subject| after_init(subject, Init::Fails),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "slow-init",
        proves: "When init takes too long, a new process takes part in the one that is repeated \
                 within the first invocation.",
        source: "DataDog/datadog-lambda-extension#191, open-telemetry/opentelemetry-lambda#986",
        play: |subject| after_init(subject, Init::Hangs),
    },
];

/// The function's timeout if no invocation reaches it. Also time for the init that is repeated within an
/// invocation, on a busy machine.
const LONG_TIMEOUT: Duration = Duration::from_secs(30);
/// The function's timeout if an invocation reaches it.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Replaces the limit of an init that reaches it.
const INIT_LIMIT: Duration = Duration::from_secs(8);

fn after(subject: &Subject, event: &str, reason: &str) -> Verdict {
    let timeout = if reason == "timeout" { TIMEOUT } else { LONG_TIMEOUT };
    let fixture = subject.ready(|setup, _| setup.timeout(timeout));
    Verdict::judged((|| {
        fixture.invoke()?;
        let failed = fixture.lambda.invoke(event);
        if !matches!(failed.status, Status::Timeout | Status::Failure(_)) {
            return Err(format!("the invocation ends in {}: {}", failed.status, fixture.story()));
        }
        left_by(&fixture, reason)?;
        let left = format!("{}; SHUTDOWN ({reason}), exit status: 0", failed.status);
        started_over(fixture).map(|lived| format!("{left}; {lived}"))
    })())
}

fn function_error(subject: &Subject) -> Verdict {
    let fixture = subject.ready(|setup, _| setup);
    let failed: Invocation = fixture.lambda.invoke(r#"{"reports":0,"outcome":"error"}"#);
    if !matches!(failed.status, Status::Error(_)) {
        return Verdict::broke(format!("the invocation ends in {}", failed.status));
    }
    Verdict::judged(fixture.goes_on().map(|seen| format!("{}; then {seen}", failed.status)))
}

fn killed(subject: &Subject) -> Verdict {
    let fixture = subject.ready(|setup, _| setup);
    Verdict::judged((|| {
        fixture.invoke()?;
        fixture.signal(fixture.name(), Signal::KILL)?;
        let failed = fixture.invoke_with_a_dead_process()?;
        let took = ms(fixture.invoke()?.duration);
        fixture.invoke()?;
        if fixture.starts() != 2 {
            return Err(format!("{} processes, not 2: {}", fixture.starts(), fixture.story()));
        }
        // An extension that was killed did not abandon its `next` on its own.
        drop(fixture.lambda.take_down("spindown"));
        Ok(format!("{}; with a new process the next succeeds in {took}", failed.status))
    })())
}

/// Gives the function this first init. Its later ones succeed.
fn after_init(subject: &Subject, first: Init) -> Verdict {
    let fixture = subject.started(|setup, _| {
        let limits = match first {
            Init::Hangs => TimeLimits { init: INIT_LIMIT, ..PATIENT },
            _ => PATIENT,
        };
        let inits = AtomicUsize::new(0);
        let function = move || -> Function {
            match inits.fetch_add(1, Ordering::Relaxed) {
                0 => silent().init(first),
                _ => silent(),
            }
        };
        setup.limits(limits).timeout(LONG_TIMEOUT).runtime(Runtime::function(function))
    });
    if fixture.lambda.wait_for_init() {
        return Verdict::broke(format!("the first init does not fail: {}", fixture.story()));
    }
    Verdict::judged(started_over(fixture).map(|lived| format!("the first init fails; {lived}")))
}

/// Requires that a second process has registered and serves invocations.
fn started_over(fixture: Fixture) -> Result<String, String> {
    let invocation = fixture.invoke()?;
    if fixture.starts() != 2 {
        return Err(format!("{} processes for two inits: {}", fixture.starts(), fixture.story()));
    }
    fixture.succeeded(fixture.lambda.invoke(QUIET))?;
    let end = fixture.finish()?;
    let took = ms(invocation.duration);
    Ok(format!("with a new process the next invocation succeeds in {took}; {end}"))
}

fn left_by(fixture: &Fixture, reason: &str) -> Result<(), String> {
    if !fixture.asks_for("SHUTDOWN") {
        return Ok(());
    }
    let timeline = fixture.lambda.timeline();
    let has = |wanted: &dyn Fn(&Event) -> bool| timeline.iter().any(|entry| wanted(&entry.event));
    let ours = Role::Extension(fixture.name().to_owned());
    let began = has(&|it| matches!(it, Event::ShutdownStarted { reason: why } if why == reason));
    let killed = has(&|it| matches!(it, Event::Killed { process } if *process == ours));
    let clean = has(
        &|it| matches!(it, Event::Exited { process, status } if *process == ours && status == "exit status: 0"),
    );
    if began && clean && !killed {
        return Ok(());
    }
    Err(format!("it does not leave by SHUTDOWN ({reason}) with code 0: {}", fixture.story()))
}
