//! What the system holds for processes, as proc(5) shows it.

use std::fs;
use std::iter::Sum;
use std::ops::Add;

use crate::lambda::Lambda;

#[derive(Debug, Default)]
pub struct Footprint {
    pub processes: usize,
    pub threads: usize,
    pub descriptors: usize,
    pub resident_kb: u64,
    /// What of it is a file's: of a static program, what was read of it so far.
    pub file_kb: u64,
    /// What of it is no file's.
    pub anonymous_kb: u64,
    /// The largest that was resident so far, of each process at a time of its own.
    pub peak_kb: u64,
    /// How often threads went to sleep to wait for something, and so how often they woke up; one that has
    /// ended takes its number along.
    pub wakes: u64,
}

impl Footprint {
    /// Of all extensions in it, and of what they have started; of a runtime too, if it is a process.
    pub(crate) fn within(lambda: &Lambda) -> Self {
        lambda.pids().into_iter().map(Self::of).sum()
    }

    /// Of a process that is gone, nothing.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let process = format!("/proc/{pid}");
        let read = |path: String| fs::read_to_string(path).unwrap_or_default();
        let threads = fs::read_dir(format!("{process}/task")).into_iter().flatten().flatten();
        let status = read(format!("{process}/status"));
        Self {
            processes: usize::from(!status.is_empty()),
            threads: number(&status, "Threads:").try_into().unwrap_or_default(),
            descriptors: fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count),
            resident_kb: number(&status, "VmRSS:"),
            // The second is of files in memory, as below /tmp they may be.
            file_kb: number(&status, "RssFile:") + number(&status, "RssShmem:"),
            anonymous_kb: number(&status, "RssAnon:"),
            peak_kb: number(&status, "VmHWM:"),
            wakes: threads
                .map(|thread| read(thread.path().join("status").display().to_string()))
                .map(|status| number(&status, "voluntary_ctxt_switches:"))
                .sum(),
        }
    }
}

impl Add for Footprint {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            processes: self.processes + other.processes,
            threads: self.threads + other.threads,
            descriptors: self.descriptors + other.descriptors,
            resident_kb: self.resident_kb + other.resident_kb,
            file_kb: self.file_kb + other.file_kb,
            anonymous_kb: self.anonymous_kb + other.anonymous_kb,
            peak_kb: self.peak_kb + other.peak_kb,
            wakes: self.wakes + other.wakes,
        }
    }
}

impl Sum for Footprint {
    fn sum<I: Iterator<Item = Self>>(footprints: I) -> Self {
        footprints.fold(Self::default(), Add::add)
    }
}

fn number(status: &str, key: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(key));
    let first = value.and_then(|value| value.split_whitespace().next());
    first.and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_files_memory_and_threads_that_waited() {
        std::thread::park_timeout(std::time::Duration::from_millis(1));
        let own = Footprint::of(std::process::id());
        assert!(own.processes == 1 && own.threads > 1 && own.descriptors > 2 && own.wakes > 0);
        assert!(
            own.resident_kb > 100
                && own.anonymous_kb > 10
                && own.file_kb > 100
                && own.peak_kb > 100
        );
    }
}
