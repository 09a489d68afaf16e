//! Scenarios about the end of the environment. SHUTDOWN is the only announcement, and SIGKILL the only signal.

use std::time::Duration;

use super::fixture::Fixture;
use super::subject::PATIENT;
use super::{Kind, Scenario, Subject, Verdict};
use crate::limits::TimeLimits;

const SHUTDOWN: &str = "AWS docs \"Using the Lambda Extensions API\", Shutdown phase";

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        kind: Kind::Lifecycle,
        name: "spindown",
        proves: "After SHUTDOWN (spindown) it ends by itself with code 0 within 2 s, and makes no \
                 call.",
        source: SHUTDOWN,
        play: |subject| ended(subject, Fixture::live),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "spindown-unused",
        proves: "It also ends well if SHUTDOWN is its first event.",
        source: SHUTDOWN,
        play: |subject| ended(subject, |fixture| fixture.shut_down("spindown")),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "timeout-and-failure",
        proves: "It also ends well for the reasons timeout and failure.",
        source: "elastic/apm-aws-lambda#411",
        play: |subject| for_reasons(subject, &["timeout", "failure"]),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "unknown-reason",
        proves: "It also ends for unknown reasons, such as those of AWS's emulator.",
        source: "aws/aws-lambda-runtime-interface-emulator: SandboxTerminated",
        play: |subject| for_reasons(subject, &["SandboxTerminated", ""]),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "runtime-ignores-sigterm",
        proves: "If the runtime ignores SIGTERM, 1.4 s of the 2 s are left, and it ends within \
                 these.",
        source: "aws/aws-lambda-runtime-interface-emulator: runtimeDeadlineShare",
        play: |subject| within(subject, Duration::from_millis(1400)),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "short-shutdown",
        proves: "Without work left, it ends within 400 ms if SHUTDOWN leaves no more time.",
        source: "DataDog/datadog-agent#19124",
        play: |subject| within(subject, Duration::from_millis(400)),
    },
];

fn ended(subject: &Subject, end: fn(Fixture) -> Result<String, String>) -> Verdict {
    let fixture = subject.ready(|setup, _| setup);
    if !fixture.asks_for("SHUTDOWN") {
        return Verdict::does_not_apply("it does not ask for SHUTDOWN");
    }
    Verdict::judged(end(fixture))
}

fn for_reasons(subject: &Subject, reasons: &[&str]) -> Verdict {
    let mut seen = Vec::new();
    for reason in reasons {
        let fixture = subject.ready(|setup, _| setup);
        if !fixture.asks_for("SHUTDOWN") {
            return Verdict::does_not_apply("it does not ask for SHUTDOWN");
        }
        match fixture.invoke().and_then(|_| fixture.shut_down(reason)) {
            Ok(end) => seen.push(format!("{reason:?}: {end}")),
            Err(why) => return Verdict::broke(why),
        }
    }
    Verdict::held(seen.join("; "))
}

fn within(subject: &Subject, shutdown: Duration) -> Verdict {
    let limits = TimeLimits { shutdown, ..PATIENT };
    Verdict::of_attempts(|| {
        let fixture = subject.ready(|setup, _| setup.limits(limits));
        if !fixture.asks_for("SHUTDOWN") {
            return Verdict::does_not_apply("it does not ask for SHUTDOWN");
        }
        Verdict::judged(fixture.live())
    })
}
