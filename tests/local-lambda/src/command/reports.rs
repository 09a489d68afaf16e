//! Counts the reports of invocations at the remote.

use local_lambda::{Invocation, Received, Remote};
use serde::Serialize;

/// Counts of the reports, one for each invocation, also for the cold one.
#[derive(Default, Serialize)]
pub struct Reports {
    pub sent: usize,
    pub once: usize,
    pub repeated: usize,
    pub missing: usize,
}

impl Reports {
    pub fn of(invocations: &[Invocation], remote: &Remote) -> Self {
        let received = remote.received();
        let accepted = received.iter().filter(|request| request.is_accepted());
        let items: Vec<String> =
            accepted.flat_map(Received::items).map(|item| item.to_string()).collect();
        let mut reports = Self { sent: invocations.len(), ..Self::default() };
        for Invocation { request_id, .. } in invocations {
            // Each family sends exactly one item with this text for each invocation.
            let marks = [r#""type":"Invocation""#, r#""key":"faas.invocation_id""#];
            let is_it = |it: &&String| {
                marks.iter().any(|mark| it.contains(mark)) && it.contains(request_id)
            };
            match items.iter().filter(is_it).count() {
                0 => reports.missing += 1,
                1 => reports.once += 1,
                _ => reports.repeated += 1,
            }
        }
        reports
    }

    pub fn is_exact(&self) -> bool {
        self.once == self.sent
    }
}
