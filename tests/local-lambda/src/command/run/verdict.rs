//! Decides whether a run succeeded, and lists its problems.

use local_lambda::{Ended, Entry, Event, Invocation, Role, ShutdownReport, Status};
use serde_json::Value;

use super::ends::{End, ends};

pub struct Verdict {
    /// One line for each problem.
    pub problems: Vec<String>,
}

impl Verdict {
    pub fn of(
        invocations: &[Invocation],
        report: &ShutdownReport,
        entries: &[Entry],
        violations: Vec<String>,
    ) -> Self {
        let mut problems: Vec<String> = unregistered(entries);
        problems.extend(failed_inits(entries));
        let failed = (1..).zip(invocations).filter(|(_, it)| it.status != Status::Success);
        problems.extend(failed.map(|(number, it)| failure(number, it)));
        problems.extend(ends(entries).iter().filter_map(End::problem));
        problems.extend(report.processes.iter().filter_map(left_behind));
        problems.extend(strays(report));
        problems.extend(violations);
        Self { problems }
    }

    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

fn unregistered(entries: &[Entry]) -> Vec<String> {
    let registered = |name: &str| {
        let is_it =
            |it: &Event| matches!(it, Event::Registered { extension, .. } if extension == name);
        entries.iter().any(|entry| is_it(&entry.event))
    };
    let mut problems: Vec<(&str, String)> = Vec::new();
    for entry in entries {
        let (name, problem) = match &entry.event {
            Event::NotExecuted { process: Role::Extension(name), why } => {
                // The entries also contain its attempted start.
                problems.retain(|(whose, _)| whose != name);
                (name, format!("{name} can't be executed: {why}"))
            }
            Event::Started { process: Role::Extension(name) } => {
                (name, format!("{name} never registered: {}", how_to_register(name)))
            }
            _ => continue,
        };
        if !registered(name) && !problems.iter().any(|(whose, _)| whose == name) {
            problems.push((name, problem));
        }
    }
    problems.into_iter().map(|(_, problem)| problem).collect()
}

fn failed_inits(entries: &[Entry]) -> impl Iterator<Item = String> {
    let statuses = entries.iter().filter_map(|entry| match &entry.event {
        Event::InitEnded { status, .. } => Some(status),
        _ => None,
    });
    let failed = (1..).zip(statuses).filter(|(_, status)| **status != Status::Success);
    failed.map(|(number, status)| format!("init {number}: {status}"))
}

fn how_to_register(name: &str) -> String {
    format!(
        "an extension must POST /2020-01-01/extension/register with the header \
         `Lambda-Extension-Name: {name}`"
    )
}

fn failure(number: usize, invocation: &Invocation) -> String {
    let Invocation { status, reply, .. } = invocation;
    let payload = serde_json::from_slice::<Value>(&reply.payload).unwrap_or_default();
    match payload["errorMessage"].as_str() {
        Some(message) if reply.status == *status => {
            format!("invocation {number}: {status}: {message}")
        }
        // The caller already had its reply when something else failed the invocation.
        _ => format!("invocation {number}: {status}"),
    }
}

/// Processes that an extension left behind, as the conformance suite judges them. A runtime may leave processes
/// behind.
fn left_behind(ended: &Ended) -> Option<String> {
    match (&ended.process, ended.left_behind) {
        (Role::Runtime, _) | (_, 0) => None,
        (Role::Extension(name), left) => Some(format!("{left} processes outlive {name}")),
    }
}

/// Processes of unknown origin. Without an extension, they come from the function.
fn strays(report: &ShutdownReport) -> Option<String> {
    let is_extension = |it: &Ended| matches!(it.process, Role::Extension(_));
    match report.strays {
        0 => None,
        _ if !report.processes.iter().any(is_extension) => None,
        strays => Some(format!(
            "{strays} processes outlive the shutdown: they left the group of their parent"
        )),
    }
}
