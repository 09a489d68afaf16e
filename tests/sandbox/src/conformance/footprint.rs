//! What the system holds for a process, as proc(5) shows it.

use std::fs;

pub struct Footprint {
    pub descriptors: usize,
    pub resident_kb: u64,
    /// How often its threads went to sleep to wait for something, and so how often they woke up.
    pub wakes: u64,
}

impl Footprint {
    /// Of a process that is gone, nothing.
    pub fn of(pid: u32) -> Self {
        let process = format!("/proc/{pid}");
        let read = |path: String| fs::read_to_string(path).unwrap_or_default();
        let threads = fs::read_dir(format!("{process}/task")).into_iter().flatten().flatten();
        Self {
            descriptors: fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count),
            resident_kb: number(&read(format!("{process}/status")), "VmRSS:"),
            wakes: threads
                .map(|thread| read(thread.path().join("status").display().to_string()))
                .map(|status| number(&status, "voluntary_ctxt_switches:"))
                .sum(),
        }
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
    fn this_process_has_files_and_memory() {
        let Footprint { descriptors, resident_kb, wakes } = Footprint::of(std::process::id());
        assert!(descriptors > 2 && resident_kb > 100 && wakes > 0);
    }
}
