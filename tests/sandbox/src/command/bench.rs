//! `sandbox bench`: what extensions cost, side by side.
//!
//! Lambda starts the runtime only when every external extension has registered, so the time from exec
//! to register is added to each cold start; the first next is awaited too, but beside the runtime's
//! own start (AWS docs "Lambda execution environment lifecycle").

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgGroup;
use fastrand::Rng;
use sandbox::TempDir;

use super::output;
use super::pause::pause;
use contender::{Contender, Variable};
use figure::number;
use machine::Machine;
use measure::Measure;
use results::Results;
use samples::Samples;
use size::Size;

mod added;
mod agent;
mod budget;
mod contender;
mod cpu;
mod figure;
mod freezes;
mod idle;
mod invocations;
mod lineup;
mod machine;
mod measure;
mod page;
mod plot;
mod posts;
mod report;
mod results;
mod samples;
mod scene;
mod size;
mod start;
mod started;
mod table;
mod verdict;
mod wrapped;

/// Compares what extensions cost
///
/// Measures each extension, in an order that changes, beside three that it brings along: `floor`, which
/// registers and polls and nothing else, the physical limit; `bare`, the same with a tiny_http server
/// that reads and answers; `async`, the relay of this repository as it is usually written, with AWS's
/// `lambda-extension` crate; and beside `none`, no extension at all. Where one is reported to over OTLP,
/// `async` is too, as `async-otlp`. One round before, which fills the page cache, is not counted. What
/// takes reports at its port is measured at that too.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(skip)]
#[command(group = ArgGroup::new(MEASURED).required(true).multiple(true))]
pub struct Arguments {
    /// An extension and what to call it; give it once for each
    #[arg(long = "extension", value_name = "NAME=PATH", group = MEASURED, value_parser = Contender::parse)]
    extensions: Vec<Contender>,

    /// An extension that is reported to over OTLP, and what to call it; give it once for each. What is
    /// posted is a span of the same size, in Protobuf; in `added` and `freezes`, where an agent reports,
    /// it is the agent's two spans, which are smaller
    #[arg(long, value_name = "NAME=PATH", group = MEASURED, value_parser = Contender::parse)]
    otlp: Vec<Contender>,

    /// A program that starts a runtime, as `AWS_LAMBDA_EXEC_WRAPPER` names one, and what to call it; give
    /// it once for each. `floor` stands for the runtime
    #[arg(long = "wrapper", value_name = "NAME=PATH", value_parser = Contender::parse, conflicts_with = "no_comparators")]
    wrappers: Vec<Contender>,

    /// A variable of all extensions, or of that of this name. In the value, `{port}` stands for where
    /// agents report to, `{remote}` for the remote's scheme, host and port, `{ca}` for a file with the
    /// authority to trust. Those that this repository's extension has are set
    #[arg(long = "env", value_name = "[NAME:]VARIABLE=VALUE", value_parser = Variable::parse)]
    variables: Vec<Variable>,

    /// Where binaries `floor`, `bare` and `async` are; unless given, cargo builds them
    #[arg(long, value_name = "DIR", conflicts_with = "no_comparators")]
    comparators: Option<PathBuf>,

    /// Measure only the extensions that are named
    #[arg(long)]
    no_comparators: bool,

    /// Measure only this; give it once for each
    #[arg(long, value_name = "GROUP")]
    only: Vec<Measure>,

    /// Measure only at this size
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,

    /// How often each is started for `start`, up to 200 times; what takes longer is repeated a third,
    /// or a fifth as often
    #[arg(long, default_value = "30", value_parser = clap::value_parser!(u8).range(1..=RUNS_MAX))]
    runs: u8,

    /// Print one JSON object instead of the tables
    #[arg(long)]
    json: bool,

    /// Write a page with tables and plots as well
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write a picture of some of the figures as well
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Hold the figures to what is in this file, in lines such as
    /// `first_next(mine) <= 1.25 * first_next(floor)`, and exit with 1 if one is broken, and broken
    /// again when what it is about is measured twice more
    #[arg(long, value_name = "FILE")]
    budgets: Option<PathBuf>,
}

/// Each start takes a port that no other has had, and of those there are 12,000.
const RUNS_MAX: i64 = 200;
/// What there must be one of at least.
const MEASURED: &str = "measured";

const EXAMPLES: &str = "\
Examples:
  All about one, as a page:
    sandbox bench --extension mine=./my-extension --html bench.html

  Only what two builds add to a cold start:
    sandbox bench --extension before=./old --extension after=./new --only start --no-comparators

  What a wrapper adds to the start of a runtime:
    sandbox bench --extension mine=./my-extension --wrapper mine-wrapper=./my-wrapper --only wrapped

  The same extension for agents of Thundra and for those of OpenTelemetry:
    sandbox bench --extension mine=./mine --otlp mine-otlp=./mine

  The same extension in two configurations:
    sandbox bench --extension default=./mine --extension end=./mine \\
                  --env end:THUNDRA_EXTENSION_FLUSH=end";

/// # Errors
///
/// When a contender is not there, or a file can't be read or written.
pub fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let budgets = arguments.budgets.as_deref().map(budget::read).transpose()?.unwrap_or_default();
    let mut contenders = lineup::lineup(arguments)?;
    let home = TempDir::new()?;
    for contender in &mut contenders {
        contender.move_to(home.path())?;
    }
    let chosen = |it: &Measure| arguments.only.is_empty() || arguments.only.contains(it);
    let all: Vec<Measure> = Measure::ALL.into_iter().filter(chosen).collect();
    let (results, failures) = measure(arguments, &contenders, &all)?;
    let json = || format!("{}\n", results.json());
    output::print(&if arguments.json { json() } else { table::text(&results) })?;
    let again = |measures: &[Measure]| Ok(measure(arguments, &contenders, measures)?.0);
    let is_kept = verdict::verdict(&budgets, &results, again, arguments.json)?;
    let subjects = arguments.extensions.iter().chain(&arguments.otlp);
    let subjects: Vec<String> = subjects.map(|it| it.name.clone()).collect();
    if let Some(path) = &arguments.html {
        write(path, &page::page(&results, &subjects))?;
    }
    if let Some(path) = &arguments.svg {
        let picture = page::picture(&results, &subjects);
        write(path, &picture.ok_or_else(|| io::Error::other("nothing to draw was measured"))?)?;
    }
    if !failures.is_empty() {
        return Err(io::Error::other(failures.join("\nsandbox: ")));
    }
    Ok(if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// For what is left of the one before to be gone.
const BETWEEN_TWO: Duration = Duration::from_millis(30);

/// The results, and what failed: a contender is not measured again at what it fails in.
fn measure(
    arguments: &Arguments,
    contenders: &[Contender],
    chosen: &[Measure],
) -> io::Result<(Results, Vec<String>)> {
    let sizes = Size::ALL.into_iter().filter(|it| arguments.size.is_none_or(|only| only == *it));
    let mut results = Results {
        machine: Machine::this(),
        runs: arguments.runs.into(),
        contenders: contenders.iter().map(|it| it.name.clone()).collect(),
        variables: contenders.iter().map(Contender::own_variables).collect(),
        doubts: Vec::new(),
        sizes: Vec::new(),
    };
    let (mut dice, mut failures) = (Rng::with_seed(0), Vec::new());
    let of_files: Vec<Samples> = of_files(contenders, &mut results.doubts)?;
    for size in sizes {
        let mut samples = of_files.clone();
        for measure in chosen {
            let rounds = measure.rounds(results.runs);
            let is_for = |&index: &usize| measure.applies_to(&contenders[index]);
            let mut order: Vec<usize> = (0..contenders.len()).filter(is_for).collect();
            for round in 0..=rounds {
                output::progress(&format!("{size:?}: {measure:?}, round {round} of {rounds}"))?;
                // Not in the same order: whoever follows a certain one would have its traces.
                dice.shuffle(&mut order);
                order.retain(|&index| {
                    pause(BETWEEN_TWO);
                    let measured = measure.once(&contenders[index], size);
                    match measured {
                        Ok(measured) if round > 0 => samples[index].extend(measured),
                        Ok(_) => {}
                        Err(error) => {
                            failures.push(error.to_string());
                            return false;
                        }
                    }
                    true
                });
            }
        }
        results.sizes.push((size, samples));
    }
    output::progress("")?;
    Ok((results, failures))
}

fn of_files(contenders: &[Contender], doubts: &mut Vec<String>) -> io::Result<Vec<Samples>> {
    let (mut all, mut linked) = (Vec::new(), [Vec::new(), Vec::new()]);
    for Contender { name, path, .. } in contenders {
        let mut samples = Samples::default();
        if let Some(path) = path {
            let on_disk = contender::on_disk(path)?;
            samples.add("binary", number(on_disk.bytes));
            samples.add("deflated", number(on_disk.deflated));
            if let Some(is_dynamic) = on_disk.is_dynamic {
                linked[usize::from(is_dynamic)].push(name.as_str());
            }
        }
        all.push(samples);
    }
    let [fixed, dynamic] = linked.map(|names| names.join(", "));
    if !fixed.is_empty() && !dynamic.is_empty() {
        doubts.push(format!(
            "static: {fixed}; loaded with their libraries, which takes longer: {dynamic}"
        ));
    }
    Ok(all)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)
        .map_err(|error| io::Error::other(format!("can't write {}: {error}", path.display())))
}
