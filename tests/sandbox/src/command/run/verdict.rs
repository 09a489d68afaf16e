//! Whether a run went well, and what went wrong in it.

use sandbox::{Ended, Entry, Event, EventType, Invocation, Role, ShutdownReport, Status};
use serde_json::Value;

pub struct Verdict {
    /// A line each; none if all is well.
    pub problems: Vec<String>,
}

impl Verdict {
    pub fn of(
        initialised: bool,
        invocations: &[Invocation],
        report: &ShutdownReport,
        entries: &[Entry],
        violations: Vec<String>,
    ) -> Self {
        let mut problems: Vec<String> = unregistered(entries);
        if invocations.is_empty() && !initialised {
            problems.push("the init failed".to_owned());
        }
        let failed = (1..).zip(invocations).filter(|(_, it)| it.status != Status::Success);
        problems.extend(failed.map(|(number, it)| failure(number, it)));
        problems.extend(report.processes.iter().filter_map(|it| bad_end(it, entries)));
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
                // That it was about to be started is in the entries too.
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
        Some(message) if reply.status != Status::Success => {
            format!("invocation {number}: {status}: {message}")
        }
        // The caller got a good reply before an extension failed the invocation.
        _ => format!("invocation {number}: {status}"),
    }
}

/// Lambda kills an extension that did not register for SHUTDOWN, without a word: no fault of it.
fn bad_end(ended: &Ended, entries: &[Entry]) -> Option<String> {
    let Role::Extension(name) = &ended.process else { return None };
    let wants_shutdown = |it: &Event| match it {
        Event::Registered { extension, events } => {
            extension == name && events.contains(&EventType::Shutdown)
        }
        _ => false,
    };
    let is_told_ever = entries.iter().any(|entry| wants_shutdown(&entry.event));
    match (ended.killed, ended.told) {
        (true, true) => {
            Some(format!("{name} was killed: it had SHUTDOWN and did not end in its time"))
        }
        (true, false) if is_told_ever => {
            Some(format!("{name} was killed: it never asked for the SHUTDOWN it registered for"))
        }
        (true, false) => None,
        (false, _) if ended.status == "exit status: 0" => None,
        (false, _) => Some(format!("{name} ended with {}", ended.status)),
    }
}
