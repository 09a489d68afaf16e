//! The memory and wake-ups of processes, from proc(5).

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
    /// Resident pages of files. For a static program, these are the parts that were read so far.
    pub file_kb: u64,
    /// Resident pages that belong to no file.
    pub anonymous_kb: u64,
    /// The largest resident size so far. With several processes, the sum of each one's own peak.
    pub peak_kb: u64,
    /// How often threads slept to wait, and so woke up. A thread that ends takes its count along.
    pub wakes: u64,
}

impl Footprint {
    /// The footprint of all extensions and their children, and of a runtime that is a process.
    pub(crate) fn within(lambda: &Lambda) -> Self {
        lambda.pids().into_iter().map(Self::of).sum()
    }

    /// The footprint of one process. Zero if it is gone.
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
            // The second number is for files in memory, which files below /tmp may be.
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
