//! `sandbox conformance`: what Lambda asks of any extension, tried on this one.

use std::num::NonZeroUsize;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sandbox::conformance::{self, Finding, Scenario, Subject, Verdict};

/// Tries on an extension what Lambda, agents and remotes ask of one
///
/// Plays named scenarios, each in a sandbox of its own, several at a time. A scenario is held, is
/// broken, or does not apply. Each says what it proves and what it stands on: a page of AWS's
/// documentation, or the issue of an extension that broke. Those of the kind lifecycle are for any
/// extension; those of the kind relay apply to one that takes reports of agents and sends them on,
/// for which `{remote}` has to be in a variable, and `{port}` or else `--port` be given. All of them
/// take one to two minutes. Exits with 0 when nothing is broken, with 1 when something is, with 2
/// when it was called in a wrong way.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The extension: any executable file
    #[arg(long, value_name = "PATH", required_unless_present = "list")]
    extension: Option<PathBuf>,

    /// A variable of the function; in VALUE `{port}` stands for a free port, and `{remote}` for
    /// http://127.0.0.1:PORT of a collector. Give it once for each
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, String)>,

    /// The port where agents report to it, if no variable says so; scenarios are played one at a
    /// time then
    #[arg(long)]
    port: Option<u16>,

    /// Play this scenario; give it once for each. Without, all are played
    #[arg(long, value_name = "NAME", value_parser = scenario)]
    only: Vec<Scenario>,

    /// Leave this scenario out; give it once for each
    #[arg(long, value_name = "NAME", value_parser = scenario)]
    except: Vec<Scenario>,

    /// How many to play at a time; as many as there are CPUs, unless told
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// How long next-held-open and frozen-for-long keep a next waiting, such as 310s
    #[arg(long, value_name = "TIME", default_value = "61s", value_parser = super::span::positive)]
    next_held: Duration,

    /// Keep it waiting for 5 s only, which proves less
    #[arg(long, conflicts_with = "next_held")]
    quick: bool,

    /// Print each scenario with its kind, what it proves, and its source, and play none
    #[arg(long)]
    list: bool,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  Any extension:
    sandbox conformance --extension target/debug/my-extension

  One that takes reports of agents at a port, and sends them on:
    sandbox conformance --extension my-extension \\
        --env 'MY_PORT={port}' --env 'MY_COLLECTOR={remote}/v1'

  The one scenario that is broken, alone:
    sandbox conformance --extension my-extension --only frozen-between-invocations

  What there is:
    sandbox conformance --list";

const QUICK_NEXT_HELD: Duration = Duration::from_secs(5);

pub fn run(arguments: &Arguments) -> ExitCode {
    let scenarios = chosen(arguments);
    if arguments.list {
        print!("{}", list(&scenarios, arguments.json));
        return ExitCode::SUCCESS;
    }
    let subject = match subject(arguments) {
        Ok(subject) => subject,
        Err(why) => {
            eprintln!("sandbox: {why}");
            return ExitCode::from(WRONG_USE);
        }
    };
    keep_panics_of_scenarios_quiet();
    let findings = play(arguments, &subject, &scenarios);
    if arguments.json {
        println!("{}", serde_json::json!({ "findings": findings }));
    } else {
        print!("{}", summary(&findings));
    }
    let broke = findings.iter().any(|finding| matches!(finding.verdict, Verdict::Broke(_)));
    if broke { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// As for what the parser of the arguments refuses.
const WRONG_USE: u8 = 2;

fn chosen(arguments: &Arguments) -> Vec<Scenario> {
    let named = |names: &[Scenario], it: &Scenario| names.iter().any(|name| name.name == it.name);
    let mut scenarios = conformance::scenarios();
    scenarios.retain(|it| arguments.only.is_empty() || named(&arguments.only, it));
    scenarios.retain(|it| !named(&arguments.except, it));
    scenarios
}

fn subject(arguments: &Arguments) -> Result<Subject, String> {
    let path = arguments.extension.as_ref().ok_or("--extension is missing")?;
    let binary = path
        .canonicalize()
        .map_err(|error| format!("no extension at {}: {error}", path.display()))?;
    if !binary.is_file() {
        return Err(format!("no extension at {}: it is not a file", path.display()));
    }
    // The name under which it was given is the extension's, also where that is a link.
    let binary = path.parent().filter(|it| !it.as_os_str().is_empty()).map_or_else(
        || PathBuf::from(".").join(path),
        |parent| parent.join(path.file_name().unwrap_or_default()),
    );
    let variables = arguments.variables.clone();
    let next_held = if arguments.quick { QUICK_NEXT_HELD } else { arguments.next_held };
    Ok(Subject { binary, variables, fixed_port: arguments.port, next_held })
}

fn play(arguments: &Arguments, subject: &Subject, scenarios: &[Scenario]) -> Vec<Finding> {
    let cpus = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let at_once = conformance::at_once(subject, arguments.jobs.unwrap_or_else(cpus));
    let width = scenarios.iter().map(|it| it.name.len()).max().unwrap_or_default();
    let (told, count) = (AtomicUsize::new(0), scenarios.len());
    if !arguments.json {
        println!("{count} scenarios, {at_once} at a time\n");
    }
    conformance::play(subject, scenarios, at_once, |finding| {
        let nth = told.fetch_add(1, Ordering::Relaxed) + 1;
        let (word, seen) = word_and_seen(&finding.verdict);
        let line = format!(
            "{nth:>3}/{count}  {word:<14}  {:<width$}  {:>5.1} s  {}",
            finding.scenario,
            finding.took.as_secs_f64(),
            seen.lines().next().unwrap_or_default()
        );
        // With --json, stdout is the machine's.
        if arguments.json { eprintln!("{line}") } else { println!("{line}") }
    })
}

fn word_and_seen(verdict: &Verdict) -> (&'static str, &str) {
    match verdict {
        Verdict::Held(seen) => ("held", seen),
        Verdict::Broke(seen) => ("BROKE", seen),
        Verdict::DoesNotApply(why) => ("does not apply", why),
    }
}

fn summary(findings: &[Finding]) -> String {
    let count = |wanted: &str| {
        findings.iter().filter(|finding| word_and_seen(&finding.verdict).0 == wanted).count()
    };
    let mut text = format!(
        "\n{} held, {} broke, {} do not apply\n",
        count("held"),
        count("BROKE"),
        count("does not apply")
    );
    for finding in findings {
        if let Verdict::Broke(seen) = &finding.verdict {
            let Finding { scenario, proves, source, .. } = finding;
            let seen = seen.replace('\n', "\n      ");
            for line in [
                format!("\nBROKE {scenario}\n"),
                format!("  proves: {proves}\n"),
                format!("  source: {source}\n"),
                format!("  seen:   {seen}\n"),
            ] {
                text.push_str(&line);
            }
        }
    }
    text
}

fn list(scenarios: &[Scenario], as_json: bool) -> String {
    if as_json {
        let entry = |it: &Scenario| {
            let Scenario { kind, name, proves, source, .. } = *it;
            serde_json::json!({ "scenario": name, "kind": kind, "proves": proves, "source": source })
        };
        let entries: Vec<_> = scenarios.iter().map(entry).collect();
        return format!("{}\n", serde_json::json!({ "scenarios": entries }));
    }
    let entry = |it: &Scenario| {
        let Scenario { kind, name, proves, source, .. } = it;
        format!("{name} ({kind})\n  {proves}\n  {source}\n")
    };
    scenarios.iter().map(entry).collect()
}

/// Their messages are in the verdicts.
fn keep_panics_of_scenarios_quiet() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !conformance::is_playing() {
            print(panic);
        }
    }));
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let found = conformance::scenarios().into_iter().find(|it| it.name == name);
    found.ok_or_else(|| "no such scenario; `--list` shows all".to_owned())
}

fn variable(argument: &str) -> Result<(String, String), String> {
    match argument.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
