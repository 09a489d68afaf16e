//! What invocations cost in CPU time and leave in memory.

use std::io;

use super::agent::Agent;
use super::contender::Contender;
use super::cpu::Cpu;
use super::figure::{microseconds, number};
use super::samples::Samples;
use super::size::Size;
use super::started::{Over, Started};

/// More than the first ten, which this repository's extension takes for sparse.
pub const WARM_UP: u32 = 12;
const INVOCATIONS: u32 = 1_000;
/// What is posted in them, 0.6 MB, fits into each buffer if the machine lets nobody send meanwhile; before
/// more is posted, what is sent has been.
const AT_ONCE: u32 = 200;

pub fn measure(contender: &Contender, size: Size) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let Some(started) = Started::start(contender, size, Over::Tls)? else { return Ok(samples) };
    started.notes(&mut samples);
    let mut agent = started.agent();
    invoke(&started, WARM_UP, agent.as_mut())?;
    let silent = cost_of(&started, None)?;
    samples.add("silent_cpu", microseconds(silent.cpu.all));
    samples.add("silent_wakes", silent.wakes);
    if let Some(kernel) = silent.cpu.kernel {
        samples.add("silent_kernel", microseconds(kernel));
    }
    if let Some(agent) = &mut agent {
        let reporting = cost_of(&started, Some(agent))?;
        samples.add("report_cpu", microseconds(reporting.cpu.all));
        samples.add("report_wakes", reporting.wakes);
        if let Some(kernel) = reporting.cpu.kernel {
            samples.add("report_kernel", microseconds(kernel));
        }
    }
    let footprint = started.footprint();
    samples.add("after_peak", number(footprint.peak_kb));
    samples.add("after_anonymous", number(footprint.anonymous_kb));
    started.shut_down();
    Ok(samples)
}

/// Of one invocation, on average.
struct Cost {
    cpu: Cpu,
    /// What of it does not depend on what else the machine does, as the CPU time of a wake-up does:
    /// by half, where a CPU that is woken has slept.
    wakes: f64,
}

fn cost_of(started: &Started, mut agent: Option<&mut Agent>) -> io::Result<Cost> {
    let settled = || (started.settled_cpu(), started.footprint().wakes);
    let (cpu_before, wakes_before) = settled();
    for _ in 0..INVOCATIONS / AT_ONCE {
        invoke(started, AT_ONCE, agent.as_deref_mut())?;
        if agent.is_some() {
            started.settled_cpu();
        }
    }
    let (cpu, wakes) = settled();
    Ok(Cost {
        cpu: (cpu - cpu_before).of_each(INVOCATIONS),
        wakes: number(wakes.saturating_sub(wakes_before)) / f64::from(INVOCATIONS),
    })
}

/// The agent reports when the extension has asked for its next event, as on Lambda, where the
/// function takes longer than that.
pub fn invoke(started: &Started, times: u32, mut agent: Option<&mut Agent>) -> io::Result<()> {
    for _ in 0..times {
        started.invoke()?;
        if let Some(agent) = &mut agent {
            agent.post()?;
        }
    }
    Ok(())
}
