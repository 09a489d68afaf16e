//! The state after an environment has ended, for the verdict.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use super::fixture::POLL;
use crate::conformance::Verdict;
use crate::conformance::fixture::pass;
use crate::items::Delivery;
use crate::phases::ShutdownReport;
use crate::remote::Remote;
use crate::timeline::{Entry, Event, Role};

/// How long a request that was sent before a process's end may take to be recorded by the remote.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// Words that make a line of the log a complaint, in lower case.
const COMPLAINTS: [&str; 5] = ["error", "fail", "panic", "retries", "exception"];

pub struct Aftermath {
    pub remote: Arc<Remote>,
    pub shutdown: ShutdownReport,
    pub extension: String,
    pub accepted: Vec<String>,
    pub timeline: Vec<Entry>,
}

impl Aftermath {
    /// How often each accepted item was delivered, once that is final.
    pub fn delivery(&self) -> Delivery {
        let mut delivery = self.remote.delivery(&self.accepted);
        for _ in 0..(ON_ITS_WAY.as_millis() / POLL.as_millis()) {
            if delivery.missing.is_empty() {
                break;
            }
            pass(POLL);
            delivery = self.remote.delivery(&self.accepted);
        }
        delivery
    }

    /// Requires that each item arrived exactly once, and nothing else arrived.
    pub fn each_once(&self) -> Verdict {
        let delivery = self.delivery();
        Verdict::of(delivery.is_exact(), self.seen(&delivery))
    }

    /// Requires that each item arrived at least once, and nothing else arrived.
    pub fn each_at_least_once(&self) -> Verdict {
        let delivery = self.delivery();
        let kept = delivery.missing.is_empty() && delivery.unknown.is_empty();
        Verdict::of(kept, self.seen(&delivery))
    }

    /// Whether the extension was alive at the end, got SHUTDOWN if it had registered for it, and then ended
    /// well. Also what was observed.
    pub fn ended_well(&self) -> (bool, String) {
        match self.shutdown.extension(&self.extension) {
            Some(ended) if ended.told => {
                let kept = !ended.killed && ended.status == "exit status: 0";
                (kept, format!("at SHUTDOWN: {}, killed: {}", ended.status, ended.killed))
            }
            Some(_) => (true, "it did not ask for SHUTDOWN".to_owned()),
            None => (false, "it was not there any more".to_owned()),
        }
    }

    pub fn log(&self) -> Vec<String> {
        lines_of(&self.timeline, &self.extension)
    }

    /// Lines of the log that report a failure.
    pub fn complaints(&self) -> Vec<String> {
        let complains = |line: &String| {
            let line = line.to_lowercase();
            COMPLAINTS.iter().any(|word| line.contains(word))
        };
        self.log().into_iter().filter(complains).collect()
    }

    fn seen(&self, delivery: &Delivery) -> String {
        let mut seen = counts(delivery);
        let requests = self.remote.received().len();
        let _ = write!(seen, ", in {requests} requests");
        let ended = self.shutdown.extension(&self.extension);
        if let Some(ended) = ended.filter(|ended| ended.killed) {
            let _ = write!(seen, "; killed at the end of SHUTDOWN ({})", ended.status);
        }
        seen
    }
}

/// The counts without the items, which can be large.
pub fn counts(delivery: &Delivery) -> String {
    let Delivery { once, repeated, missing, unknown, .. } = delivery;
    let (once, repeated) = (once.len(), repeated.len());
    let (missing, unknown) = (missing.len(), unknown.len());
    format!("items: {once} once, {repeated} repeated, {missing} missing, {unknown} unknown")
}

/// The lines that the extension wrote.
pub fn lines_of(timeline: &[Entry], extension: &str) -> Vec<String> {
    let whose = Role::Extension(extension.to_owned());
    let line = |entry: &Entry| match &entry.event {
        Event::Log { process, line } if *process == whose => Some(line.clone()),
        _ => None,
    };
    timeline.iter().filter_map(line).collect()
}
