//! `local-lambda conformance`: tests whether an extension does what Lambda requires of any extension.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use local_lambda::conformance::{self, Finding, Kind, Scenario, Subject, Verdict};

use super::output;

mod choice;
mod text;

/// Tests an extension against the requirements of Lambda, agents and remotes
///
/// Runs named scenarios, each on its own local Lambda, several at a time. A scenario holds, breaks, does not
/// apply, or could not run. Each one proves a sentence and names its source: a page of AWS's documentation, or
/// the issue of an extension that broke. Scenarios of kind lifecycle apply to any extension. Scenarios of kind
/// relay apply to an extension that forwards the reports of agents. They need `{remote}` in a variable, and
/// `{port}` in a variable or else `--port`. Scenarios about TLS also need `{ca}` in a variable. All of these
/// together take one to two minutes. Scenarios of kind attack send a relay's port anything that code in the
/// function could send, while two healthy agents post. They run one after the other, take minutes, and run only
/// with `--kind` or `--only`. The exit code is 0 if nothing broke, 1 if a scenario broke, and 2 after wrong
/// use. It is 3 if nothing broke, but a scenario could not run or could not be reported, as on a full disk.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Arguments {
    /// The extension, any executable file
    #[arg(long, value_name = "PATH", required_unless_present = "list")]
    extension: Option<PathBuf>,

    /// A variable of the function. Repeatable. In VALUE, `{port}` stands for a free port, and `{remote}` for
    /// the URL of a collector, http://127.0.0.1:PORT or https://localhost:PORT. `{ca}` stands for a PEM file
    /// with the certificate authority of the https one
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, String)>,

    /// The port for reports, if no variable sets it. Then the scenarios run one at a time
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// Run only the scenarios of this kind
    #[arg(long, value_enum)]
    kind: Option<OfKind>,

    /// Run only this scenario. Repeatable
    #[arg(long, value_name = "NAME", value_parser = scenario)]
    only: Vec<Scenario>,

    /// Leave this scenario out. Repeatable
    #[arg(long, value_name = "NAME", value_parser = scenario)]
    except: Vec<Scenario>,

    /// Report over OTLP instead of by arrays. Of the scenarios of kind relay, only those named malformed-…
    /// support that
    #[arg(long)]
    otlp: bool,

    /// How many scenarios run at a time, by default as many as there are CPUs. Use 1 for an extension with a
    /// fixed port, or `--port` if agents report to that port. Otherwise its copies collide, and nearly all
    /// scenarios break
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// How long next-held-open and frozen-for-long keep a `next` waiting, such as 310s
    #[arg(long, value_name = "TIME", default_value = "61s", value_parser = super::span::positive)]
    next_held: Duration,

    /// Keep it waiting for only 5 s, which proves less
    #[arg(long, conflicts_with = "next_held")]
    quick: bool,

    /// Print each scenario with its kind, its sentence and its source, and run none
    #[arg(long)]
    list: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,

    /// Print a table in Markdown instead of text, for documents
    #[arg(long, conflicts_with = "json")]
    table: bool,
}

const EXAMPLES: &str = "\
Examples:
  Any extension:
    local-lambda conformance --extension target/debug/my-extension

  One that takes reports of agents at a port, and sends them on:
    local-lambda conformance --extension my-extension \\
        --env 'MY_PORT={port}' --env 'MY_COLLECTOR={remote}/v1' --env 'SSL_CERT_FILE={ca}'

  What its port bears, in numbers:
    local-lambda conformance --kind attack --extension my-extension \\
        --env 'MY_PORT={port}' --env 'MY_COLLECTOR={remote}/v1'

  The one scenario that is broken, alone:
    local-lambda conformance --extension my-extension --only frozen-between-invocations

  What there is:
    local-lambda conformance --list";

const QUICK_NEXT_HELD: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, ValueEnum)]
enum OfKind {
    Lifecycle,
    Relay,
    Attack,
}

/// The exit code of clap for wrong arguments.
const WRONG_USE: u8 = 2;
/// The exit code if nothing broke, but not all results are known.
const NOT_ALL_TOLD: u8 = 3;

pub fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let wrong_use = |why: String| {
        eprintln!("local-lambda: {why}");
        Ok(ExitCode::from(WRONG_USE))
    };
    let scenarios = match choice::scenarios(arguments) {
        Ok(scenarios) => scenarios,
        Err(why) => return wrong_use(why),
    };
    if arguments.list {
        output::print(&text::list(&scenarios, arguments.json))?;
        return Ok(ExitCode::SUCCESS);
    }
    let subject = match choice::subject(arguments, &scenarios) {
        Ok(subject) => subject,
        Err(why) => return wrong_use(why),
    };
    keep_panics_of_scenarios_quiet();
    let (findings, told) = play(arguments, &subject, &scenarios);
    Ok(exit_code(&findings, &told))
}

/// Runs the scenarios. Returns the findings, and whether they could be printed.
fn play(
    arguments: &Arguments,
    subject: &Subject,
    scenarios: &[Scenario],
) -> (Vec<Finding>, io::Result<()>) {
    let cpus = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let are_attacks = scenarios.iter().any(|it| it.kind == Kind::Attack);
    let most = if are_attacks { NonZeroUsize::MIN } else { arguments.jobs.unwrap_or_else(cpus) };
    let at_once = conformance::at_once(subject, most);
    let host_limits = conformance::host_limits();
    let is_for_later = arguments.json || arguments.table;
    let begun = if is_for_later {
        Ok(())
    } else {
        output::print(&text::heading(scenarios.len(), at_once, host_limits.as_deref()))
    };
    let progress = Mutex::new(Progress { told: 0, written: begun });
    let findings = conformance::play(subject, scenarios, at_once, |finding| {
        let mut progress = progress.lock().expect("writing does not panic");
        progress.tell(finding, scenarios, is_for_later);
    });
    let written = progress.into_inner().expect("writing does not panic").written;
    let whole = if arguments.json {
        text::json(&findings, host_limits.as_deref())
    } else if arguments.table {
        text::table(&findings)
    } else {
        text::summary(&findings)
    };
    let written = written.and_then(|()| output::print(&whole));
    (findings, written)
}

struct Progress {
    told: usize,
    /// After a failure nothing more is written. The scenarios continue, because the exit code needs them.
    written: io::Result<()>,
}

impl Progress {
    fn tell(&mut self, finding: &Finding, scenarios: &[Scenario], is_for_later: bool) {
        self.told += 1;
        let line = text::line(self.told, finding, scenarios);
        if is_for_later {
            // Standard output gets the whole result. The result does not depend on whether progress could be
            // printed.
            let _unread = io::stderr().write_all(line.as_bytes());
        } else if self.written.is_ok() {
            self.written = output::print(&line);
        }
    }
}

fn exit_code(findings: &[Finding], told: &io::Result<()>) -> ExitCode {
    let any = |is_it: fn(&Verdict) -> bool| findings.iter().any(|it| is_it(&it.verdict));
    if let Err(error) = told {
        eprintln!("local-lambda: can't tell what came out: {error}");
    }
    if any(|it| matches!(it, Verdict::Broke(_))) {
        ExitCode::FAILURE
    } else if told.is_err() || any(|it| matches!(it, Verdict::NotPlayed(_))) {
        ExitCode::from(NOT_ALL_TOLD)
    } else {
        ExitCode::SUCCESS
    }
}

/// Prints no panic of a scenario, because its message is in the verdict.
fn keep_panics_of_scenarios_quiet() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !conformance::is_playing() {
            print(panic);
        }
    }));
}

impl From<OfKind> for Kind {
    fn from(kind: OfKind) -> Self {
        match kind {
            OfKind::Lifecycle => Self::Lifecycle,
            OfKind::Relay => Self::Relay,
            OfKind::Attack => Self::Attack,
        }
    }
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let found = choice::all().into_iter().find(|it| it.name == name);
    found.ok_or_else(|| "no such scenario; `--list` shows all".to_owned())
}

fn variable(argument: &str) -> Result<(String, String), String> {
    match argument.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
