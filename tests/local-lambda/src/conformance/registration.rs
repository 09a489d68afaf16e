//! Scenarios from the start of the process to its registration.

use std::time::Duration;

use super::fixture::{Fixture, ms, pass};
use super::{Kind, Scenario, Subject, Verdict};
use crate::limits::TimeLimits;
use crate::script::PlatformScript;
use crate::timeline::Event;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        kind: Kind::Lifecycle,
        name: "registers-in-time",
        proves: "It registers with its file's name within the 10 s of init, and polls for its \
                 first event.",
        source: "AWS docs \"Lambda execution environment lifecycle\"",
        play: registers_in_time,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "renamed-file",
        proves: "It registers with the name of its file, even if the packer of the layer renamed \
                 the file.",
        source: "AWS docs \"Using the Lambda Extensions API\", Register",
        play: renamed_file,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "events-that-exist",
        proves: "It registers for INVOKE, SHUTDOWN or nothing, and is never refused.",
        source: "AWS docs \"Using the Lambda Extensions API\", Register",
        play: events_that_exist,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "small-share-of-a-cpu",
        proves: "With the CPU of a 128 MB function it registers within 3 s. That is the default \
                 timeout, and a repeated init counts against it.",
        source: "DataDog/datadog-lambda-extension#191",
        play: small_share_of_a_cpu,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "refused-register",
        proves: "If no more extensions may register, it ends with an error. It neither tries again \
                 without a pause nor delays init until the time limit.",
        source: "AWS docs \"Using the Lambda Extensions API\", Register",
        play: refused_register,
    },
];

/// Time limit of a start with a 128 MB function's CPU. It is the default timeout of a function, which also
/// limits a repeated init (AWS docs "Lambda execution environment lifecycle").
const CONFINED_WITHIN: Duration = Duration::from_secs(3);
/// The number of starts, of which the fastest counts. Other load slows the rest.
const CONFINED_STARTS: usize = 3;
const MEMORY_MB: u32 = 128;
/// The memory size with a whole CPU, in MB (AWS docs "Configure Lambda function memory").
const MEMORY_MB_OF_A_CPU: f64 = 1769.0;
/// More registrations than this are a loop without a pause.
const REGISTERS_MAX: usize = 20;
/// Between two looks for that.
const LOOK: Duration = Duration::from_millis(20);

fn registers_in_time(subject: &Subject) -> Verdict {
    let fixture = subject.ready(|setup, _| setup.limits(TimeLimits::LAMBDA));
    let took =
        register_took(&fixture).map(|took| format!("registered {} after its start", ms(took)));
    Verdict::judged(took.and_then(|took| Ok(format!("{took}; {}", fixture.finish()?))))
}

fn renamed_file(subject: &Subject) -> Verdict {
    const NAME: &str = "renamed by its user-2.0";
    let fixture = subject.ready(|mut setup, _| {
        NAME.clone_into(&mut setup.extensions[0].name);
        setup
    });
    Verdict::judged(fixture.goes_on().map(|seen| format!("registered as {NAME:?}; {seen}")))
}

fn events_that_exist(subject: &Subject) -> Verdict {
    let fixture = subject.ready(|setup, _| setup);
    let asked: Vec<_> =
        ["INVOKE", "SHUTDOWN"].into_iter().filter(|it| fixture.asks_for(it)).collect();
    let registers = fixture.calls("/register");
    Verdict::judged(
        fixture
            .finish()
            .map(|_| format!("asks for [{}] in {registers} accepted register", asked.join(", "))),
    )
}

fn small_share_of_a_cpu(subject: &Subject) -> Verdict {
    let mut least = Duration::MAX;
    for _ in 0..CONFINED_STARTS {
        let fixture = subject.ready(|setup, _| setup.memory_mb(MEMORY_MB).confined());
        if let Some(note) = fixture.lambda.notes().iter().find(|it| it.contains("CPU share")) {
            return Verdict::does_not_apply(note);
        }
        match register_took(&fixture) {
            Ok(took) => least = least.min(took),
            Err(why) => return Verdict::broke(why),
        }
        if least < CONFINED_WITHIN {
            break;
        }
    }
    let seen = format!("registered {} after its start, limit {CONFINED_WITHIN:?}", ms(least));
    if least < CONFINED_WITHIN {
        return Verdict::held(seen);
    }
    let Ok(alone) = expected_with_cpu(subject, f64::from(MEMORY_MB) / MEMORY_MB_OF_A_CPU) else {
        return Verdict::broke(seen);
    };
    let seen = format!("{seen}; by its CPU time it needs {} where nothing else runs", ms(alone));
    Verdict::of(alone < CONFINED_WITHIN, seen)
}

/// How long a start would take with this share of an idle CPU. A busy machine does not always provide even a
/// small share.
fn expected_with_cpu(subject: &Subject, share: f64) -> Result<Duration, String> {
    let mut least = Duration::MAX;
    for _ in 0..CONFINED_STARTS {
        let fixture = subject.ready(|setup, _| setup);
        let computing = fixture.lambda.cpu_time().div_f64(share);
        least = least.min(register_took(&fixture)? + computing);
    }
    Ok(least)
}

fn refused_register(subject: &Subject) -> Verdict {
    let body = r#"{"errorMessage":"Extension limit (10) reached","errorType":"Extension.TooManyExtensions"}"#;
    let fixture = subject.started(|setup, _| {
        let script = PlatformScript::default().register_answer(403, body);
        setup.limits(TimeLimits::LAMBDA).script(script)
    });
    let is_end = |event: &Event| matches!(event, Event::ShutdownEnded { .. });
    let is_over = || fixture.lambda.timeline().iter().any(|entry| is_end(&entry.event));
    while !is_over() && fixture.calls("/register") < REGISTERS_MAX {
        pass(LOOK);
    }
    let registers = fixture.calls("/register");
    let (status, killed) = end_of(&fixture);
    let seen = format!("{registers} registers, then {status}");
    match (registers, killed, status.as_str()) {
        (0, ..) => Verdict::broke(format!("it never registered: {}", fixture.story())),
        (REGISTERS_MAX.., ..) => Verdict::broke(format!("it spins: {seen}")),
        (_, true, _) => Verdict::broke(format!(
            "{registers} registers, then it holds init until it is killed: {}",
            fixture.story()
        )),
        (_, false, "exit status: 0") => Verdict::broke(format!("it says that all is well: {seen}")),
        _ => Verdict::held(seen),
    }
}

/// How its first process ended, and whether the platform had to kill it.
fn end_of(fixture: &Fixture) -> (String, bool) {
    let timeline = fixture.lambda.timeline();
    let of_ours = |process: &crate::timeline::Role| process.to_string() == fixture.name();
    let killed = timeline
        .iter()
        .any(|entry| matches!(&entry.event, Event::Killed { process } if of_ours(process)));
    let status = timeline.iter().find_map(|entry| match &entry.event {
        Event::Exited { process, status } if of_ours(process) => Some(status.clone()),
        _ => None,
    });
    (status.unwrap_or_else(|| "no end".to_owned()), killed)
}

fn register_took(fixture: &Fixture) -> Result<Duration, String> {
    let timeline = fixture.lambda.timeline();
    let started = timeline.iter().find(|entry| matches!(entry.event, Event::Started { .. }));
    let registered = timeline.iter().find(|entry| matches!(entry.event, Event::Registered { .. }));
    match (started, registered) {
        (Some(started), Some(registered)) => Ok(registered.at.saturating_sub(started.at)),
        _ => Err(format!("it did not register: {}", fixture.story())),
    }
}
