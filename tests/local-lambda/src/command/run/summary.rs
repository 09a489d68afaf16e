//! The summary at the end.

use std::io::{self, Write};
use std::time::Duration;

use local_lambda::{Ended, Invocation, Role, ShutdownReport};
use serde_json::json;

use super::verdict::Verdict;

/// Limit of a printed reply in characters. A longer one is cut. `--json` prints it whole.
const REPLY_CHARS_MAX: usize = 60;

pub fn lines(report: &ShutdownReport, notes: &[String], verdict: &Verdict) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", json!({ "shutdown": report }))?;
    for note in notes {
        writeln!(out, "{}", json!({ "note": note }))?;
    }
    for problem in &verdict.problems {
        writeln!(out, "{}", json!({ "problem": problem }))?;
    }
    Ok(())
}

pub fn table(
    invocations: &[Invocation],
    report: &ShutdownReport,
    notes: &[String],
    verdict: &Verdict,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !invocations.is_empty() {
        let head = ["caller waits", "duration", "billed", "extensions"];
        let [latency, duration, billed, extensions] = head.map(|it| format!("{it:>14}"));
        writeln!(out, "\ninvocation{latency}{duration}{billed}{extensions}  outcome and reply")?;
    }
    for (number, invocation) in (1..).zip(invocations) {
        writeln!(out, "{number:>10}{}", row(invocation))?;
    }
    if report.processes.is_empty() && report.strays == 0 {
        // They ended with the failed invocation.
        writeln!(out, "\nshutdown ({}): no process was left", report.reason)?;
    } else {
        writeln!(out, "\nshutdown ({}) took {}", report.reason, ms(report.duration))?;
    }
    match report.strays {
        0 => {}
        strays => writeln!(out, "  {strays} more lived, which had left the group of their parent")?,
    }
    let width = report.processes.iter().map(|it| it.process.to_string().len()).max();
    for ended in &report.processes {
        let (name, width) = (ended.process.to_string(), width.unwrap_or_default());
        writeln!(out, "  {name:width$}  {}", end(ended))?;
    }
    if !notes.is_empty() || !verdict.is_good() {
        writeln!(out)?;
    }
    for note in notes {
        writeln!(out, "note: {note}")?;
    }
    for problem in &verdict.problems {
        writeln!(out, "problem: {problem}")?;
    }
    Ok(())
}

fn row(invocation: &Invocation) -> String {
    let Invocation { reply, status, duration, billed, extension_overhead, .. } = invocation;
    let billed = format!("{} ms", billed.as_millis());
    let cells = [ms(reply.latency), ms(*duration), billed, ms(*extension_overhead)];
    let cells = cells.map(|cell| format!("{cell:>14}")).concat();
    let text = String::from_utf8_lossy(&reply.payload);
    let mut shown: String = text.chars().take(REPLY_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{cells}  {status}: {}", shown.replace('\n', " "))
}

fn end(ended: &Ended) -> String {
    let told = match (&ended.process, ended.told) {
        (Role::Runtime, true) => "got SIGTERM",
        (Role::Extension(_), true) => "got SHUTDOWN",
        (Role::Runtime, false) => "got no SIGTERM",
        (Role::Extension(_), false) => "got no SHUTDOWN",
    };
    let killed = if ended.killed { ", was killed" } else { "" };
    format!("{told}{killed}: {}", ended.status)
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
