//! Scenarios about the extension's use of CPU, memory, descriptors and log.

use std::time::Duration;

use super::fixture::{Fixture, ms, pass};
use super::{Kind, Scenario, Subject, Verdict};
use crate::footprint::Footprint;
use crate::timeline::{Event, Role};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        kind: Kind::Lifecycle,
        name: "sleeps-while-idle",
        proves: "While it waits for an event, it does nothing: it has no busy loop, and no timer \
                 wakes it up again and again.",
        source: "DataDog/datadog-lambda-extension#954",
        play: sleeps_while_idle,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "steady-footprint",
        proves: "After 200 invocations it has as many processes and descriptors, and as much \
                 memory, as before.",
        source: "DataDog/datadog-lambda-extension#1049, axiomhq/axiom-lambda-extension#48",
        play: steady_footprint,
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "quiet-log",
        proves: "It does not flood the log, because the customer pays for each line.",
        source: "DataDog/datadog-lambda-extension#954",
        play: quiet_log,
    },
];

fn sleeps_while_idle(subject: &Subject) -> Verdict {
    // On demand, nothing is frozen before the first invocation.
    let fixture = subject.ready(|setup, _| setup);
    Verdict::judged((|| {
        let unused = quiet_span(&fixture)?;
        fixture.invoke()?;
        // A function that works for long also prevents a freeze, which would hide the extension's activity.
        fixture.lambda.freezer().thaw();
        let used = quiet_span(&fixture).map_err(|seen| format!("after its first event {seen}"))?;
        fixture.finish()?;
        Ok(format!("before its first event {unused}; after it {used}"))
    })())
}

/// Requires one quiet span, which proves that the extension sleeps. On a busy machine, its work after the start
/// may fill the first span.
fn quiet_span(fixture: &Fixture) -> Result<String, String> {
    const SETTLED: Duration = Duration::from_millis(500);
    const IDLE: Duration = Duration::from_secs(2);
    /// Limit of CPU time: one per cent of a CPU. A function of 128 MB has seven.
    const CPU_MAX: Duration = Duration::from_millis(20);
    /// Limit of wake-ups: ten a second, fewer than the slowest busy loop has.
    const WAKES_MAX: u64 = 20;
    const SPANS: usize = 3;
    let used = || (fixture.lambda.cpu_time(), Footprint::within(&fixture.lambda).wakes);
    pass(SETTLED);
    let mut seen = String::new();
    for _ in 0..SPANS {
        let before = used();
        pass(IDLE);
        let after = used();
        let cpu = after.0.saturating_sub(before.0);
        let wakes = after.1.saturating_sub(before.1);
        let limits = format!("limits {CPU_MAX:?} and {WAKES_MAX}");
        seen = format!("{} of CPU time and {wakes} waits in {IDLE:?}, {limits}", ms(cpu));
        if cpu <= CPU_MAX && wakes <= WAKES_MAX {
            return Ok(seen);
        }
    }
    Err(seen)
}

fn steady_footprint(subject: &Subject) -> Verdict {
    const WARM_UP: usize = 20;
    const INVOCATIONS: usize = 200;
    const MORE_PROCESSES_MAX: usize = 2;
    const MORE_DESCRIPTORS_MAX: usize = 2;
    /// Limit of growth in memory. An allocator takes memory in steps. A leak of 20 kB in each invocation would
    /// be twice this.
    const MORE_MEMORY_KB_MAX: u64 = 2048;
    let fixture = subject.ready(|setup, _| setup);
    Verdict::judged((|| {
        let after = |invocations| -> Result<Footprint, String> {
            for _ in 0..invocations {
                fixture.invoke()?;
            }
            Ok(Footprint::within(&fixture.lambda))
        };
        let (before, after) = (after(WARM_UP)?, after(INVOCATIONS)?);
        let end = fixture.finish()?;
        let seen = format!(
            "before and after {INVOCATIONS} invocations {} and {} processes, {} and {} descriptors, \
             {} and {} kB of memory; {end}",
            before.processes,
            after.processes,
            before.descriptors,
            after.descriptors,
            before.resident_kb,
            after.resident_kb
        );
        let steady = after.processes <= before.processes + MORE_PROCESSES_MAX
            && after.descriptors <= before.descriptors + MORE_DESCRIPTORS_MAX
            && after.resident_kb <= before.resident_kb + MORE_MEMORY_KB_MAX;
        if steady { Ok(seen) } else { Err(seen) }
    })())
}

fn quiet_log(subject: &Subject) -> Verdict {
    const INVOCATIONS: usize = 20;
    /// Limit of lines for one invocation, on average.
    const LINES_MAX: usize = 100;
    let fixture = subject.ready(|setup, _| setup);
    Verdict::judged((|| {
        let at_start = lines(&fixture);
        for _ in 0..INVOCATIONS {
            fixture.invoke()?;
        }
        let later = lines(&fixture) - at_start;
        fixture.finish()?;
        let seen = format!("{at_start} lines at its start, {later} in {INVOCATIONS} invocations");
        if later > LINES_MAX * INVOCATIONS { Err(seen) } else { Ok(seen) }
    })())
}

fn lines(fixture: &Fixture) -> usize {
    let ours = Role::Extension(fixture.name().to_owned());
    let is_line = |event: &Event| matches!(event, Event::Log { process, .. } if *process == ours);
    fixture.lambda.timeline().iter().filter(|entry| is_line(&entry.event)).count()
}
