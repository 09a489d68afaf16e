//! The comparison as a table for people.

use std::io::{self, Write};

use super::comparison::Comparison;
use super::way::Outcome;
use crate::command::reports::Reports;
use crate::command::span::ms;

pub fn write(comparison: &Comparison, out: &mut impl Write) -> io::Result<()> {
    let Comparison { memory_mb, cpus, notes, direct, through_extension, .. } = comparison;
    let (answers_after, pause) = (ms(comparison.collector_latency), ms(comparison.freeze));
    let (count, percent) = (comparison.invocations, cpus * 100.0);
    writeln!(
        out,
        "A function of {memory_mb} MB that reports to a collector {answers_after} ms away,"
    )?;
    let held = if notes.is_empty() { "" } else { ", as far as the notes below allow" };
    writeln!(out, "invoked {count} times each way and frozen for {pause} ms between,")?;
    writeln!(out, "with {percent:.0} % of a CPU{held}:\n")?;
    let ways = [("directly", direct), ("through the extension", through_extension)];
    let width = ways.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    writeln!(out, "{:width$}   caller waits, ms          billed, ms   reports", "")?;
    writeln!(out, "{:width$}   median      q1      q3         total   delivered", "")?;
    for (name, way) in ways {
        writeln!(out, "{name:width$}{}", row(way))?;
    }
    writeln!(out, "\n{:width$}   init, ms   first invocation, ms   billed, ms", "cold start")?;
    for (name, way) in ways {
        let cold = &way.cold_start;
        let (init, first, billed) = (ms(cold.init), ms(cold.latency), cold.billed_ms);
        writeln!(out, "{name:width$}{init:>11.1}{first:>23.1}{billed:>13}")?;
    }
    writeln!(out, "\n{}", comparison.sentence())?;
    for note in notes {
        writeln!(out, "note: {note}")?;
    }
    for (name, way) in ways {
        if let Some(first) = way.failures.first() {
            writeln!(out, "{name}, {} invocations failed, with {first}", way.failures.len())?;
        }
    }
    Ok(())
}

fn row(way: &Outcome) -> String {
    let Outcome { latency, billed_ms, reports, .. } = way;
    let (median, lower, upper) = (latency.median, latency.lower, latency.upper);
    format!("{median:>9.1}{lower:>8.1}{upper:>8.1}{billed_ms:>14}   {}", delivered(reports))
}

fn delivered(reports: &Reports) -> String {
    let Reports { sent, once, repeated, .. } = reports;
    match repeated {
        0 => format!("{once} of {sent}, once each"),
        _ => format!("{} of {sent}, {repeated} more than once", once + repeated),
    }
}
