//! `sandbox bench`: what extensions cost a cold start, side by side.
//!
//! Lambda starts the runtime only when every external extension has registered, so the time from
//! exec to register is added to each cold start; the first next is awaited too, but beside the
//! runtime's own start (AWS docs "Lambda execution environment lifecycle").

use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sandbox::{Launch, Platform};
use serde::Serialize;

use super::output;
use super::quartiles::Quartiles;

/// Compares what extensions add to a cold start
///
/// Starts each extension on a local Extensions API, RUNS times and in rotating order, and measures
/// the time from exec to the arrival of its register (Lambda starts the function's runtime only
/// then) and of its first next (init lasts at least so long). Each start ends with a SHUTDOWN. One
/// round before, which fills the page cache, is not counted. Prints median, quartiles, and medians
/// relative to the extension named first; `floor` of this package is the least that any can need.
#[derive(clap::Args)]
pub struct Arguments {
    /// An extension and what to call it; give it once for each
    #[arg(long = "extension", value_name = "NAME=PATH", required = true, value_parser = contender)]
    contenders: Vec<Contender>,

    /// How often each extension is started
    #[arg(long, default_value = "30")]
    runs: NonZeroUsize,

    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone)]
struct Contender {
    name: String,
    path: PathBuf,
}

/// How long any step of one start may take.
const STEP_WITHIN: Duration = Duration::from_secs(10);
/// What Lambda gives external extensions to shut down.
const SHUTDOWN_BUDGET: Duration = Duration::from_secs(2);

pub fn run(arguments: &Arguments) -> io::Result<()> {
    let contenders = &arguments.contenders;
    for Contender { name, path } in contenders {
        if !path.is_file() {
            return Err(io::Error::other(format!("no extension {name} at {}", path.display())));
        }
    }
    let mut samples: Vec<Samples> = contenders.iter().map(|_| Samples::default()).collect();
    for run in 0..=arguments.runs.get() {
        for turn in 0..contenders.len() {
            let index = (run + turn) % contenders.len();
            let start = measure(&contenders[index]);
            if run > 0 {
                samples[index].add(&start);
            }
        }
    }
    let results = results(contenders, &samples);
    output::print(&if arguments.json {
        format!("{}\n", serde_json::json!({ "runs": arguments.runs, "extensions": results }))
    } else {
        table(&results)
    })
}

struct Start {
    register: Duration,
    next: Duration,
}

fn measure(contender: &Contender) -> Start {
    let platform = Platform::start();
    let process = Launch::of(&contender.path).on(&platform).start();
    platform.wait_for_next(STEP_WITHIN);
    let registered_at = platform.registration(STEP_WITHIN).at;
    platform.shutdown("spindown", SHUTDOWN_BUDGET);
    process.exit(STEP_WITHIN);
    let calls = platform.calls();
    let next = calls.iter().find(|call| call.path.ends_with("/event/next"));
    let since_exec = |at: Instant| at.duration_since(process.started_at());
    Start {
        register: since_exec(registered_at),
        next: since_exec(next.expect("a next was pending").at),
    }
}

#[derive(Default)]
struct Samples {
    register: Vec<Duration>,
    next: Vec<Duration>,
}

impl Samples {
    fn add(&mut self, start: &Start) {
        self.register.push(start.register);
        self.next.push(start.next);
    }
}

#[derive(Serialize)]
struct Outcome<'a> {
    name: &'a str,
    register: Measure,
    first_next: Measure,
}

#[derive(Serialize)]
struct Measure {
    #[serde(flatten)]
    quartiles: Quartiles,
    ratio_to_first: f64,
}

fn results<'a>(contenders: &'a [Contender], samples: &[Samples]) -> Vec<Outcome<'a>> {
    let measures = |of: fn(&Samples) -> &[Duration]| {
        let first = Quartiles::of(of(&samples[0])).median;
        samples.iter().map(move |samples| {
            let quartiles = Quartiles::of(of(samples));
            Measure { quartiles, ratio_to_first: quartiles.median / first }
        })
    };
    let pairs = measures(|it| &it.register).zip(measures(|it| &it.next));
    contenders
        .iter()
        .zip(pairs)
        .map(|(Contender { name, .. }, (register, first_next))| Outcome {
            name,
            register,
            first_next,
        })
        .collect()
}

fn table(results: &[Outcome<'_>]) -> String {
    let width = results.iter().map(|outcome| outcome.name.len()).max().unwrap_or_default();
    let columns = format!("{:>8}{:>8}{:>8}{:>8}", "median", "q1", "q3", "ratio");
    let head = [
        format!("{:width$}  {:<32}   first next, ms\n", "", "register, ms"),
        format!("{:width$}{columns}   {columns}\n", ""),
    ];
    let row = |outcome: &Outcome<'_>| {
        let (register, next) = (outcome.register.cells(), outcome.first_next.cells());
        format!("{:width$}{register}   {next}\n", outcome.name)
    };
    head.into_iter().chain(results.iter().map(row)).collect()
}

impl Measure {
    fn cells(&self) -> String {
        let Quartiles { lower, median, upper } = self.quartiles;
        format!("{median:>8.2}{lower:>8.2}{upper:>8.2}{:>8.2}", self.ratio_to_first)
    }
}

fn contender(argument: &str) -> Result<Contender, String> {
    match argument.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok(Contender { name: name.to_owned(), path: PathBuf::from(path) })
        }
        _ => Err("expected NAME=PATH".to_owned()),
    }
}
