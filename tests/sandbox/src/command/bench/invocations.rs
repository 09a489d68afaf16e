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

pub fn measure(contender: &Contender, size: Size) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let Some(started) = Started::start(contender, size, Over::Tls)? else { return Ok(samples) };
    started.notes(&mut samples);
    let mut agent = started.agent();
    invoke(&started, WARM_UP, agent.as_mut())?;
    let silent = cpu_of(&started, None)?;
    samples.add("silent_cpu", microseconds(silent.all));
    if let Some(kernel) = silent.kernel {
        samples.add("silent_kernel", microseconds(kernel));
    }
    if let Some(agent) = &mut agent {
        let reporting = cpu_of(&started, Some(agent))?;
        samples.add("report_cpu", microseconds(reporting.all));
        if let Some(kernel) = reporting.kernel {
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
fn cpu_of(started: &Started, agent: Option<&mut Agent>) -> io::Result<Cpu> {
    let before = started.settled_cpu();
    invoke(started, INVOCATIONS, agent)?;
    Ok((started.settled_cpu() - before).of_each(INVOCATIONS))
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
