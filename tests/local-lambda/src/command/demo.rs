//! `local-lambda demo`: measures the same function with and without the extension.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use local_lambda::agent::Family;
use local_lambda::{CpuShare, Setup, User};

use super::build;
use super::environment::{MEMORY_MB, existing};
use super::output;
use super::pause::pause;
use super::span::duration;
use comparison::Comparison;
use way::Way;

mod comparison;
mod table;
mod way;

/// Shows the benefit of the extension: one function, reporting directly and through it
///
/// Runs the same function in two environments. In each, an agent reports every invocation before the response.
/// One agent reports to a remote collector that takes 4 ms to answer. The other reports to the extension, which
/// forwards the reports to such a collector. The invocations alternate, so that other load on the machine
/// affects both. After each invocation the environment is frozen, as on Lambda. Prints how long the caller
/// waits, the billed time, and how many reports arrived. Takes less than a minute. The exit code is 0 if no
/// invocation failed and each report arrived once, else 1.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The extension. By default cargo builds it from this repository's sources. It gets its port in
    /// `THUNDRA_EXTENSION_PORT` and its remote in `THUNDRA_EXTENSION_COLLECTOR_URL`. With an agent of
    /// OpenTelemetry's it gets them in `THUNDRA_EXTENSION_OTLP_PORT` and `THUNDRA_EXTENSION_OTLP_ENDPOINT`
    #[arg(long, value_name = "PATH")]
    extension: Option<PathBuf>,

    /// The agent in the function
    #[arg(long, value_name = "FAMILY", default_value = "thundra-python")]
    agent: Family,

    /// How often each function is invoked after its cold start
    #[arg(long, value_name = "COUNT", default_value = "50")]
    invocations: NonZeroUsize,

    /// How long an environment stays frozen between two invocations, at least
    #[arg(long, value_name = "DURATION", default_value = "40ms", value_parser = duration)]
    freeze: Duration,

    /// How long the remote collector takes to answer
    #[arg(long, value_name = "DURATION", default_value = "4ms", value_parser = duration)]
    latency: Duration,

    /// The function's memory size in MB. It limits the memory and the CPU share of each environment
    #[arg(long, value_name = "MB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(MEMORY_MB))]
    memory: u32,

    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  With the agent for Node.js, and a collector in another region:
    local-lambda demo --agent node --latency 80ms

  A function with a whole CPU:
    local-lambda demo --memory 1769";

pub fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let extension = match &arguments.extension {
        Some(path) => existing(path)?.clone(),
        None => build::extension()?,
    };
    let start_each = || Setup::new().memory_mb(arguments.memory).confined().user(User::Own);
    let (agent, latency) = (arguments.agent, arguments.latency);
    let mut progress = Progress::of(2 * (arguments.invocations.get() + 1));
    let mut direct = Way::direct(start_each(), agent, latency)?;
    progress.step()?;
    let mut through = Way::through(&extension, start_each(), agent, latency)?;
    progress.step()?;
    for round in 0..arguments.invocations.get() {
        let (first, second) = match round % 2 {
            0 => (&mut direct, &mut through),
            _ => (&mut through, &mut direct),
        };
        pause(arguments.freeze);
        for way in [first, second] {
            way.invoke();
            progress.step()?;
        }
    }
    output::progress("")?;
    let comparison = Comparison {
        memory_mb: arguments.memory,
        cpus: CpuShare::of_memory_mb(arguments.memory).cpus(),
        collector_latency: latency,
        invocations: arguments.invocations.get(),
        freeze: arguments.freeze,
        notes: way::notes([&direct, &through]),
        direct: direct.end(),
        through_extension: through.end(),
    };
    let mut text = Vec::new();
    if arguments.json {
        writeln!(text, "{}", serde_json::to_string(&comparison)?)?;
    } else {
        table::write(&comparison, &mut text)?;
    }
    output::print(&String::from_utf8_lossy(&text))?;
    Ok(if comparison.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many of all invocations have ended.
struct Progress {
    done: usize,
    all: usize,
}

impl Progress {
    fn of(all: usize) -> Self {
        Self { done: 0, all }
    }

    fn step(&mut self) -> io::Result<()> {
        self.done += 1;
        output::progress(&format!("{} of {} invocations ", self.done, self.all))
    }
}
