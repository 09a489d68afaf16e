//! `local-lambda bench`: compares the costs of extensions.
//!
//! Lambda starts the runtime when every external extension has registered. So the time from exec to register is
//! added to each cold start. Lambda also waits for the first `next`, but the runtime starts meanwhile (AWS docs
//! "Lambda execution environment lifecycle").

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
/// Measures the extensions in changing order, together with four comparators. `none` is no extension at all.
/// `floor` only registers and polls, which is the physical limit. `bare` is `floor` with a tiny_http server
/// that reads and answers reports. `async` is this repository's relay in the usual form, with AWS's
/// `lambda-extension` crate; with an extension for OTLP, it is also measured as `async-otlp`. A first round
/// fills the page cache and is not counted. Posts are measured only if the extension accepts reports at its
/// port.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(skip)]
#[command(group = ArgGroup::new(MEASURED).required(true).multiple(true))]
pub struct Arguments {
    /// An extension and its name in the results. Repeatable
    #[arg(long = "extension", value_name = "NAME=PATH", group = MEASURED, value_parser = Contender::parse)]
    extensions: Vec<Contender>,

    /// An extension that gets its reports over OTLP, and its name in the results. Repeatable. Each post is a
    /// span of the same size, in Protobuf. In `added` and `freezes` it is the agent's two spans, which are
    /// smaller
    #[arg(long, value_name = "NAME=PATH", group = MEASURED, value_parser = Contender::parse)]
    otlp: Vec<Contender>,

    /// A program that starts a runtime, as `AWS_LAMBDA_EXEC_WRAPPER` names one, and its name in the results.
    /// Repeatable. `floor` is the runtime
    #[arg(long = "wrapper", value_name = "NAME=PATH", value_parser = Contender::parse, conflicts_with = "no_comparators")]
    wrappers: Vec<Contender>,

    /// A variable of all extensions, or of the one with this name. In the value, `{port}` stands for the port
    /// for reports, `{remote}` for the remote's scheme, host and port, `{ca}` for a file with its certificate
    /// authority. The variables of this repository's extension are set already
    #[arg(long = "env", value_name = "[NAME:]VARIABLE=VALUE", value_parser = Variable::parse)]
    variables: Vec<Variable>,

    /// The directory of the binaries `floor`, `bare` and `async`. By default cargo builds them
    #[arg(long, value_name = "DIR", conflicts_with = "no_comparators")]
    comparators: Option<PathBuf>,

    /// Measure only the named extensions, without comparators
    #[arg(long)]
    no_comparators: bool,

    /// Measure only this. Repeatable
    #[arg(long, value_name = "GROUP")]
    only: Vec<Measure>,

    /// Measure only at this size
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,

    /// The number of rounds, up to 30. Each round measures all extensions. `posts` has a third of this number,
    /// `idle`, `added` and `freezes` a fifth
    #[arg(long, default_value = "30", value_parser = clap::value_parser!(u8).range(1..=RUNS_MAX))]
    runs: u8,

    /// Print one JSON object instead of the tables
    #[arg(long)]
    json: bool,

    /// Also write a page with tables and plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Also write a picture of some figures
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Check the figures against the budgets in this file. It has lines such as `first_next(mine) <= 1.25 *
    /// first_next(floor)`, below `[full]` or `[128]`. The exit code is 1 if a budget is broken or was not
    /// measured. Both sides come from the same round. Counts must hold in each round, all other figures in the
    /// middle one. A broken budget is measured again, up to three times
    #[arg(long, value_name = "FILE")]
    budgets: Option<PathBuf>,
}

/// Limit of rounds. Each start takes two new ports, for the extension and for its remote, and 12,000 ports
/// exist. A round with all measures of six contenders at two sizes takes about 100 of them, and four times as
/// many if all are measured three times more.
const RUNS_MAX: i64 = 30;
/// The group of options of which at least one must be given.
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
/// When a contender does not exist, or a file cannot be read or written.
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
    // JSON on standard output must stand alone.
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

/// All requested measures, with their sizes.
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
