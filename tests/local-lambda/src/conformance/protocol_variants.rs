//! Answers that HTTP and the API allow, but that AWS's daemon does not send today.

use std::time::Duration;

use super::fixture::{QUIET, TIMEOUT};
use super::{Kind, Scenario, Subject, Verdict};
use crate::runtime_event::CallerContext;
use crate::script::PlatformScript;
use crate::timeline::{Event, Status};
use crate::wire::{HeaderCase, Wire};

const HTTP: &str = "RFC 9112, sections 5 and 7.1";
const NEXT: &str = "AWS docs \"Using the Lambda Extensions API\", Next";

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        kind: Kind::Lifecycle,
        name: "chunked-answers",
        proves: "It reads bodies in chunks, as Go's server sends those above 2 kB.",
        source: HTTP,
        play: |subject| over(subject, Wire { chunked: true, ..Wire::default() }),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "headers-in-lower-case",
        proves: "It finds its identifier in a header of any case.",
        source: HTTP,
        play: |subject| over(subject, Wire { header_case: HeaderCase::Lower, ..Wire::default() }),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "headers-in-upper-case",
        proves: "It finds its identifier in a header of any case.",
        source: HTTP,
        play: |subject| over(subject, Wire { header_case: HeaderCase::Upper, ..Wire::default() }),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "answers-byte-by-byte",
        proves: "It reads an answer to its end, in however many segments it comes.",
        source: HTTP,
        play: |subject| over(subject, Wire { bytewise: true, ..Wire::default() }),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "additions-to-answers",
        proves: "Headers and fields that it does not know do not disturb it.",
        source: NEXT,
        play: |subject| over(subject, Wire { additions: true, ..Wire::default() }),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "telemetry-not-supported",
        proves: "If the Telemetry API answers 202, as in AWS's emulator, it works without \
                 telemetry.",
        source: "aws/aws-sam-cli#7110, honeycombio/honeycomb-lambda-extension v4",
        play: telemetry_not_supported,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "traced-invocation",
        proves: "INVOKE may come with a trace identifier, and without.",
        source: NEXT,
        play: traced_invocation,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "unknown-event",
        proves: "After an event of unknown type it polls again.",
        source: NEXT,
        play: unknown_event,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "huge-event",
        proves: "After an event of unknown type with 2 MB it polls again.",
        source: NEXT,
        play: huge_event,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "clock-ahead",
        proves: "If the platform's clock is five hours ahead of its own, it works, and ends in \
                 time.",
        source: NEXT,
        play: |subject| by_clock(subject, PlatformScript::clock_ahead),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "clock-behind",
        proves: "If the platform's clock is five hours behind its own, it works, and ends in time.",
        source: NEXT,
        play: |subject| by_clock(subject, PlatformScript::clock_behind),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "next-answered-500",
        proves: "If the API fails, it ends with an error, or polls again after pauses. It never \
                 polls in a busy loop.",
        source: "AWS docs \"Using the Lambda Extensions API\", Next; \
                 DataDog/datadog-lambda-extension#954",
        play: next_answered_500,
    },
];

/// Limit of polls in the observed second. An extension that pauses 50 ms stays below it.
const NEXTS_MAX: usize = 20;

fn over(subject: &Subject, wire: Wire) -> Verdict {
    let fixture = subject.ready(|setup, _| setup.script(PlatformScript::default().wire(wire)));
    Verdict::judged(fixture.live())
}

fn telemetry_not_supported(subject: &Subject) -> Verdict {
    let fixture = subject.ready(|setup, _| setup.without_telemetry());
    let calls = fixture.lambda.calls();
    let subscribes = calls.iter().filter(|call| call.method == "PUT").count();
    Verdict::judged(fixture.live().map(|seen| format!("{subscribes} subscriptions; {seen}")))
}

fn traced_invocation(subject: &Subject) -> Verdict {
    let fixture = subject.ready(|setup, _| setup);
    let trace_id = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let context = CallerContext { trace_id: Some(trace_id.to_owned()), ..CallerContext::default() };
    Verdict::judged((|| {
        fixture.succeeded(fixture.lambda.begin_with(QUIET, context).end(TIMEOUT * 2))?;
        let lived = fixture.live()?;
        Ok(format!("one invocation with a trace succeeds; without, {lived}"))
    })())
}

fn by_clock(subject: &Subject, set: fn(PlatformScript, Duration) -> PlatformScript) -> Verdict {
    const HOURS: Duration = Duration::from_secs(5 * 60 * 60);
    let script = set(PlatformScript::default(), HOURS);
    Verdict::judged(subject.ready(|setup, _| setup.script(script)).live())
}

fn unknown_event(subject: &Subject) -> Verdict {
    tells_nothing(
        subject,
        r#"{"eventType":"UNKNOWN","deadlineMs":4102444800000,"unknown":{"a":[null]}}"#,
    )
}

fn huge_event(subject: &Subject) -> Verdict {
    const BYTES: usize = 2_000_000;
    tells_nothing(
        subject,
        &format!(r#"{{"eventType":"UNKNOWN","unknown":"{}"}}"#, "x".repeat(BYTES)),
    )
}

/// Sends an event of unknown type between two others.
fn tells_nothing(subject: &Subject, event: &str) -> Verdict {
    let script = PlatformScript::default().next_answer(2, 200, event);
    let fixture = subject.ready(|setup, _| setup.script(script));
    if !fixture.asks_for("INVOKE") {
        return Verdict::does_not_apply(
            "it does not ask for INVOKE, so its second next is its last",
        );
    }
    Verdict::judged((|| {
        fixture.invoke()?;
        let nexts = fixture.calls("/event/next");
        if nexts != 3 {
            return Err(format!("{nexts} nexts, not 3, after INVOKE and UNKNOWN"));
        }
        let lived = fixture.live()?;
        Ok(format!("3 nexts for INVOKE and UNKNOWN; {lived}"))
    })())
}

fn next_answered_500(subject: &Subject) -> Verdict {
    /// Enough failures to expose a loop without a pause within the second.
    const FAILURES: usize = 1000;
    const LOOKED_AT: Duration = Duration::from_secs(1);
    let body = r#"{"errorMessage":"of the platform","errorType":"InternalServerError"}"#;
    let script = (2..FAILURES)
        .fold(PlatformScript::default(), |script, nth| script.next_answer(nth, 500, body));
    let fixture = subject.ready(|setup, _| setup.script(script).timeout(LOOKED_AT));
    if !fixture.asks_for("INVOKE") {
        return Verdict::does_not_apply(
            "it does not ask for INVOKE, so its first next is its last",
        );
    }
    let invocation = fixture.lambda.invoke(QUIET);
    let nexts = fixture.calls("/event/next");
    let seen = format!("{nexts} nexts, and the invocation ends in {}", invocation.status);
    let clean = fixture.lambda.timeline().iter().any(
        |entry| matches!(&entry.event, Event::Exited { status, .. } if status == "exit status: 0"),
    );
    let crashed = matches!(invocation.status, Status::Failure(_));
    if nexts > NEXTS_MAX {
        Verdict::broke(format!("it spins: {seen}"))
    } else if crashed && clean {
        Verdict::broke(format!("it says that all is well, and ends: {seen}"))
    } else {
        Verdict::held(seen)
    }
}
