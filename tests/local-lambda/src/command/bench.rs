//! `local-lambda bench`: what extensions cost, side by side.
//!
//! Lambda starts the runtime only when every external extension has registered, so the time from exec
//! to register is added to each cold start; the first next is awaited too, but beside the runtime's
//! own start (AWS docs "Lambda execution environment lifecycle").

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ArgGroup;
use local_lambda::TempDir;

use super::output;
use contender::{Contender, Variable};
use measure::Measure;
use results::Results;
use rounds::Rounds;
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
mod rounds;
mod samples;
mod fixture;
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

    /// How many rounds there are, up to 35, in each of which all take their turns; `posts` has a third of
    /// them, `idle`, `added` and `freezes` a fifth
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
    /// `first_next(mine) <= 1.25 * first_next(floor)`, below `[full]` or `[128]`, and exit with 1 if one
    /// is broken or was not measured. Both sides are of the same round; counts hold in each round, and
    /// all else in the middle one. What is broken is measured again, up to twice
    #[arg(long, value_name = "FILE")]
    budgets: Option<PathBuf>,
}

/// Each start takes two ports that no other has had, for the extension and for its remote, and of those
/// there are 12,000. With all that can be measured of six contenders at two sizes a round takes about
/// 100 of them, and three times that if all is measured twice more.
const RUNS_MAX: i64 = 35;
/// What there must be one of at least.
const MEASURED: &str = "measured";

const EXAMPLES: &str = "\
Examples:
  All about one, as a page:
    local-lambda bench --extension mine=./my-extension --html bench.html

  Only what two builds add to a cold start:
    local-lambda bench --extension before=./old --extension after=./new --only start --no-comparators

  What a wrapper adds to the start of a runtime:
    local-lambda bench --extension mine=./my-extension --wrapper mine-wrapper=./my-wrapper --only wrapped

  The same extension for agents of Thundra and for those of OpenTelemetry:
    local-lambda bench --extension mine=./mine --otlp mine-otlp=./mine

  The same extension in two configurations:
    local-lambda bench --extension default=./mine --extension end=./mine \\
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
    let mut rounds = Rounds::of(&contenders, arguments.runs)?;
    let (results, failures) = rounds.measure(&plan(arguments))?;
    let json = || format!("{}\n", results.json());
    output::print(&if arguments.json { json() } else { table::text(&results) })?;
    draw(arguments, &results)?;
    all_well(&failures)?;
    let again = |plan: &[(Size, Measure)]| {
        let (results, failures) = rounds.measure(plan)?;
        all_well(&failures).map(|()| results)
    };
    // As JSON, the results have standard output for themselves.
    let say = |line: &str| {
        if arguments.json {
            eprintln!("{line}");
            return Ok(());
        }
        output::print(&format!("{line}\n"))
    };
    let is_kept = verdict::are_kept(&budgets, &results, again, say)?;
    Ok(if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All that is asked for.
fn plan(arguments: &Arguments) -> Vec<(Size, Measure)> {
    let is_asked_for = |(size, measure): &(Size, Measure)| {
        arguments.size.is_none_or(|only| only == *size)
            && (arguments.only.is_empty() || arguments.only.contains(measure))
    };
    Measure::at_each_size().filter(is_asked_for).collect()
}

fn all_well(failures: &[String]) -> io::Result<()> {
    if failures.is_empty() {
        Ok(())
    } else {
        Err(io::Error::other(failures.join("\nlocal-lambda: ")))
    }
}

fn draw(arguments: &Arguments, results: &Results) -> io::Result<()> {
    let subjects = arguments.extensions.iter().chain(&arguments.otlp);
    let subjects: Vec<String> = subjects.map(|it| it.name.clone()).collect();
    if let Some(path) = &arguments.html {
        write(path, &page::page(results, &subjects))?;
    }
    if let Some(path) = &arguments.svg {
        let picture = page::picture(results, &subjects);
        write(path, &picture.ok_or_else(|| io::Error::other("nothing to draw was measured"))?)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)
        .map_err(|error| io::Error::other(format!("can't write {}: {error}", path.display())))
}
