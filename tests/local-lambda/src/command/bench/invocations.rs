//! CPU time and wake-ups of invocations, and memory after them.

use std::io;

use super::agent::Agent;
use super::contender::Contender;
use super::cpu::Cpu;
use super::figure::{microseconds, number};
use super::samples::Samples;
use super::size::Size;
use super::started::{Over, Started};

/// More than ten invocations, because this repository's extension treats the first ten as sparse traffic.
pub const WARM_UP: u32 = 12;
/// Invocations between two pauses. Their reports, 0.6 MB, fit into each contender's buffer, even if it cannot
/// send meanwhile. The pause lasts until the extension is idle.
const AT_ONCE: u32 = 200;
const BATCHES: u32 = 5;
const INVOCATIONS: u32 = BATCHES * AT_ONCE;

pub fn measure(contender: &Contender, size: Size) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let Some(started) = Started::start(contender, size, Over::Tls)? else { return Ok(samples) };
    started.notes(&mut samples);
    let mut agent = started.agent();
    invoke(&started, WARM_UP, agent.as_mut())?;
    let silent = cost_of(&started, None)?;
    silent.add_to(&mut samples, ["silent_cpu", "silent_wakes", "silent_kernel"]);
    if let Some(agent) = &mut agent {
        let reporting = cost_of(&started, Some(agent))?;
        reporting.add_to(&mut samples, ["report_cpu", "report_wakes", "report_kernel"]);
    }
    let footprint = started.footprint();
    samples.add("after_peak", number(footprint.peak_kb));
    samples.add("after_anonymous", number(footprint.anonymous_kb));
    started.shut_down();
    Ok(samples)
}

/// The average cost of one invocation.
struct Cost {
    cpu: Cpu,
    /// Wake-ups of the threads that exist at the end. A thread that ends takes its count along.
    wakes: f64,
}

impl Cost {
    fn add_to(&self, samples: &mut Samples, [cpu, wakes, kernel]: [&str; 3]) {
        samples.add(cpu, microseconds(self.cpu.all));
        samples.add(wakes, self.wakes);
        if let Some(of_kernel) = self.cpu.kernel {
            samples.add(kernel, microseconds(of_kernel));
        }
    }
}

fn cost_of(started: &Started, mut agent: Option<&mut Agent>) -> io::Result<Cost> {
    let settled = || (started.settled_cpu(), started.footprint().wakes);
    let (cpu_before, wakes_before) = settled();
    for _ in 1..BATCHES {
        invoke(started, AT_ONCE, agent.as_deref_mut())?;
        if agent.is_some() {
            started.settled_cpu();
        }
    }
    invoke(started, AT_ONCE, agent)?;
    let (cpu, wakes) = settled();
    Ok(Cost {
        cpu: (cpu - cpu_before).of_each(INVOCATIONS),
        wakes: number(wakes.saturating_sub(wakes_before)) / f64::from(INVOCATIONS),
    })
}

/// Invokes the extension, and posts a report each time when it has polled again. On Lambda it also polls before
/// the report, because the function takes longer.
pub fn invoke(started: &Started, times: u32, mut agent: Option<&mut Agent>) -> io::Result<()> {
    for _ in 0..times {
        started.invoke()?;
        if let Some(agent) = &mut agent {
            agent.post()?;
        }
    }
    Ok(())
}
