//! The resources and the activity of an idle extension.

use std::env;
use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use local_lambda::{RUNNER, TempDir};

use super::contender::Contender;
use super::figure::number;
use super::samples::Samples;
use super::size::Size;
use super::started::{Over, Started};
use crate::command::pause::pause;

const SETTLED: Duration = Duration::from_millis(500);
const IDLE: Duration = Duration::from_millis(500);

pub fn measure(contender: &Contender, size: Size) -> io::Result<Samples> {
    let mut samples = Samples::default();
    let Some(started) = Started::start(contender, size, Over::Tcp)? else { return Ok(samples) };
    started.notes(&mut samples);
    pause(SETTLED);
    let before = started.footprint();
    pause(IDLE);
    let after = started.footprint();
    samples.add("idle_peak", number(after.peak_kb));
    samples.add("idle_anonymous", number(after.anonymous_kb));
    samples.add("threads", number(after.threads));
    samples.add("descriptors", number(after.descriptors));
    samples.add("wakes", number(after.wakes.saturating_sub(before.wakes)));
    started.shut_down();
    if let Some(calls) = calls_to_first_next(contender, size)? {
        samples.add("calls", number(calls));
    }
    Ok(samples)
}

/// System calls of the polling thread up to its first `next`, from strace(1). Other threads make a different
/// number of calls in each run, above all under strace. `None` if strace is missing, may not trace, or would
/// trace the program that runs the extension.
fn calls_to_first_next(contender: &Contender, size: Size) -> io::Result<Option<usize>> {
    let mut tries = Command::new("strace");
    let can_trace = tries.args(["--output=/dev/null", "true"]).output();
    if !can_trace.is_ok_and(|it| it.status.success()) || env::var_os(RUNNER).is_some() {
        return Ok(None);
    }
    let home = TempDir::new()?;
    let trace = home.path().join("trace");
    let strace = format!(
        "strace --follow-forks --quiet=all --string-limit=200 --output={}",
        trace.display()
    );
    let started = Started::launch(contender, size, Over::Tcp, |launch| launch.under(&strace))?;
    let Some(started) = started else { return Ok(None) };
    started.shut_down();
    let trace = fs::read_to_string(trace)?;
    Ok(to_first_next(&trace))
}

/// The number of calls in the trace. A call that is interrupted by another thread's takes two lines. Lines
/// about signals and exits do not count.
fn to_first_next(trace: &str) -> Option<usize> {
    let until = trace.find("/event/next")?;
    let lines = trace[..until].lines().filter_map(|line| line.trim_start().split_once(' '));
    let (asking, _) = lines.clone().next_back()?;
    let is_call = |(thread, call): &(&str, &str)| {
        *thread == asking && !call.trim_start().starts_with(['<', '-', '+'])
    };
    Some(lines.filter(is_call).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_the_thread_that_asks_are_counted_once_each_until_the_first_next() {
        let trace = "71 execve(\"x\", [\"x\"], 0x7f /* 3 vars */) = 0\n\
            71 clone3({flags=CLONE_VM} <unfinished ...>\n\
            72 rseq(0x7f) = 0\n\
            71 <... clone3 resumed>) = 72\n\
            72 --- SIGCHLD {} ---\n\
            72 +++ exited with 0 +++\n\
            71 sendto(5, \"GET /2020-01-01/extension/event/next HTTP\", 9) = 9\n\
            71 recvfrom(5, \"\", 9) = 9\n";
        assert_eq!(to_first_next(trace), Some(3));
        assert_eq!(to_first_next("71 execve(\"x\") = 0\n"), None);
    }
}
