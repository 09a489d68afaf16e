//! Scenarios about the kinds of environments, and about the user of Lambda's processes.

use std::fs;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::fixture::{Fixture, TIMEOUT, WORKING, pass, silent};
use super::subject::PATIENT;
use super::{Kind, Scenario, Subject, Verdict};
use crate::configuration::Initialization;
use crate::function::Environment;
use crate::limits::TimeLimits;
use crate::setup::Runtime;
use crate::timeline::Event;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        kind: Kind::Lifecycle,
        name: "lambdas-user",
        proves: "It works as uid 993, in a directory that it cannot write to.",
        source: "aws/aws-lambda-runtime-interface-emulator: internal/lambda-managed-instances, \
                 process.go",
        play: lambdas_user,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "provisioned-concurrency",
        proves: "A freeze between init and the first invocation is like any other.",
        source: "AWS docs \"Lambda execution environment lifecycle\"",
        play: provisioned_concurrency,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "snap-start",
        proves: "The process of the snapshot continues after the restore, and does not register \
                 again.",
        source: "AWS docs \"Improving startup performance with Lambda SnapStart\", \
                 hashicorp/vault-lambda-extension#113",
        play: snap_start,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "managed-instances",
        proves: "On Lambda Managed Instances, where INVOKE is refused, it registers for SHUTDOWN \
                 only, at once or after the refusal, and gets it.",
        source: "honeycombio/honeycomb-lambda-extension#170",
        play: managed_instances,
    },
];

fn lambdas_user(subject: &Subject) -> Verdict {
    const LAMBDA_UID: &str = "993";
    if !rustix::process::geteuid().is_root() {
        return Verdict::does_not_apply("only root can start processes as another user");
    }
    let fixture = subject.ready(|setup, _| setup);
    let status = fs::read_to_string(format!("/proc/{}/status", fixture.pid())).unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next());
    if uid != Some(LAMBDA_UID) {
        return Verdict::broke(format!("it runs as uid {uid:?}: it changes its own user"));
    }
    Verdict::judged(fixture.live().map(|seen| format!("uid 993; {seen}")))
}

/// Short limits. An init that no invocation waits for may take 13 times as long.
const LIMITS: TimeLimits = TimeLimits { init: Duration::from_secs(1), ..PATIENT };

fn provisioned_concurrency(subject: &Subject) -> Verdict {
    let fixture = subject.ready(|setup, _| {
        setup.initialization(Initialization::ProvisionedConcurrency).limits(LIMITS)
    });
    await_freeze(&fixture);
    Verdict::judged(fixture.live())
}

/// Waits until the environment is frozen, and half a second more.
fn await_freeze(fixture: &Fixture) {
    fixture.lambda.wait_for("freeze", |event| matches!(event, Event::Frozen).then_some(()));
    pass(Duration::from_millis(500));
}

fn snap_start(subject: &Subject) -> Verdict {
    let fixture = subject.ready(|setup, _| {
        let function = || silent().environment(Environment::SnapStart);
        setup
            .initialization(Initialization::SnapStart)
            .limits(LIMITS)
            .runtime(Runtime::function(function))
    });
    await_freeze(&fixture);
    let registers = fixture.calls("/register");
    Verdict::judged((|| {
        fixture.invoke()?;
        if fixture.calls("/register") != registers {
            return Err(format!("it registers again after the restore: {}", fixture.story()));
        }
        let lived = fixture.live()?;
        Ok(format!("registered once, restored after a freeze of 0.5 s; {lived}"))
    })())
}

fn managed_instances(subject: &Subject) -> Verdict {
    const AT_ONCE: usize = 2;
    let at_once = NonZeroUsize::new(AT_ONCE).expect("two is not zero");
    let fixture = subject.ready(|setup, _| {
        let environment = Environment::ManagedInstances(at_once);
        setup
            .initialization(Initialization::ManagedInstances { max_concurrency: AT_ONCE })
            .limits(LIMITS)
            .runtime(Runtime::function(move || silent().environment(environment)))
    });
    let mut ready = 0;
    fixture.lambda.wait_for("both workers", |event| {
        ready += usize::from(matches!(event, Event::RuntimeReady));
        (ready == AT_ONCE).then_some(())
    });
    let invoked = (|| {
        let running = [(); AT_ONCE].map(|()| fixture.lambda.begin(WORKING));
        for invocation in running {
            fixture.succeeded(invocation.end(TIMEOUT * 2))?;
        }
        if most_at_once(&fixture) < AT_ONCE {
            return Err(format!("one invocation waits for the other: {}", fixture.story()));
        }
        match fixture.calls("/event/next") {
            1 => Ok(fixture.calls("/register") - 1),
            nexts => Err(format!("{nexts} nexts where there is no event: {}", fixture.story())),
        }
    })();
    Verdict::judged(invoked.and_then(|refused| {
        let end = fixture.shut_down("spindown")?;
        Ok(format!("registered after {refused} refusals, {AT_ONCE} invocations at once; {end}"))
    }))
}

/// The largest number of invocations that the function had at the same time.
fn most_at_once(fixture: &Fixture) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for entry in fixture.lambda.timeline() {
        match entry.event {
            Event::InvokeStarted { .. } => now += 1,
            Event::Replied { .. } => now = now.saturating_sub(1),
            _ => {}
        }
        most = most.max(now);
    }
    most
}
