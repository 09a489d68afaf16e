//! The system's processes, from proc(5), for questions that no cgroup answers.

use std::fs;
use std::time::Duration;

use rustix::process::Pid;

use super::mark::Mark;

/// All live processes of these groups, those with these marks, and all their live descendants in any group.
pub fn members(groups: &[Pid], marks: &[Mark]) -> Vec<Pid> {
    let groups: Vec<i32> = groups.iter().map(|group| group.as_raw_nonzero().get()).collect();
    let (mut found, mut others): (Vec<Process>, Vec<Process>) = processes().partition(|it| {
        groups.contains(&it.group)
            || groups.contains(&it.pid)
            || marks.iter().any(|mark| mark.is_on(it.pid, it.started))
    });
    loop {
        let is_child = |it: &Process| found.iter().any(|parent| parent.pid == it.parent);
        let (children, rest) = others.into_iter().partition::<Vec<_>, _>(is_child);
        others = rest;
        if children.is_empty() {
            break;
        }
        found.extend(children);
    }
    found.iter().filter(|it| !it.has_ended).filter_map(|it| Pid::from_raw(it.pid)).collect()
}

/// The live processes of one group.
pub fn of_group(group: Pid) -> impl Iterator<Item = Pid> {
    let group = group.as_raw_nonzero().get();
    let members = processes().filter(move |it| it.group == group && !it.has_ended);
    members.filter_map(|it| Pid::from_raw(it.pid))
}

/// The start of the process, in ticks since the system's start.
pub fn started(pid: Pid) -> Option<u64> {
    Some(Process::read(pid.as_raw_nonzero().get())?.started)
}

/// Whether the process runs no code until it is continued. A thread in uninterruptible sleep, such as a parent
/// in vfork(2) that waits for its child, stops before it runs any of its code.
pub fn is_stopped(pid: Pid) -> bool {
    threads(pid, "stat").all(|stat| matches!(state(&stat), Some('T' | 't' | 'D' | 'Z' | 'X')))
}

/// As [`is_stopped`], but not for a process that waits for the disk, because it will run on.
pub fn is_stopped_itself(pid: Pid) -> bool {
    threads(pid, "stat").all(|stat| state(&stat) == Some('T'))
}

/// The CPU time of the threads that are alive.
pub fn cpu_time(pid: Pid) -> Duration {
    let nanoseconds = |line: String| line.split(' ').next()?.parse::<u64>().ok();
    Duration::from_nanos(threads(pid, "schedstat").filter_map(nanoseconds).sum())
}

struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    has_ended: bool,
    started: u64,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        /// The number of fields between a process's group and its start.
        const OTHER_FIELDS: usize = 16;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = fields(&stat)?;
        let has_ended = matches!(fields.next()?, "Z" | "X");
        let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let started = fields.nth(OTHER_FIELDS)?.parse().ok()?;
        Some(Self { pid, parent, group, has_ended, started })
    }
}

fn processes() -> impl Iterator<Item = Process> {
    let directories = fs::read_dir("/proc").into_iter().flatten().flatten();
    directories.filter_map(|it| Process::read(it.file_name().to_str()?.parse().ok()?))
}

fn threads(pid: Pid, file: &'static str) -> impl Iterator<Item = String> {
    let directory = format!("/proc/{}/task", pid.as_raw_nonzero());
    let threads = fs::read_dir(directory).into_iter().flatten().flatten();
    threads.filter_map(move |thread| fs::read_to_string(thread.path().join(file)).ok())
}

fn state(stat: &str) -> Option<char> {
    fields(stat)?.next()?.chars().next()
}

/// The fields from the state on. The name before it may contain spaces and parentheses.
fn fields(stat: &str) -> Option<std::str::SplitWhitespace<'_>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_contain_parentheses() {
        assert_eq!(state("71 (a) R (b) T 1 71 71 0"), Some('T'));
    }
}
