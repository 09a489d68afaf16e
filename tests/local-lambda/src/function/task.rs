//! The orders that an event gives to the handler.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Limit of a response, above Lambda's 6 MB, so that tests can exceed that.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
const ITEMS_MAX: usize = 100_000;

/// An event as JSON. Every key is optional, and an unknown key is an error.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Task {
    /// `work_ms`: wall time that the handler waits after `cpu_ms`, as for a database.
    #[serde(rename = "work_ms", with = "milliseconds")]
    pub work: Duration,
    /// `cpu_ms`: CPU time that the handler uses. On a small function this takes longer.
    #[serde(rename = "cpu_ms", with = "milliseconds")]
    pub cpu: Duration,
    /// The number of items in each report.
    pub items: usize,
    /// The number of reports before the response, one after the other. 0 turns the agent off.
    pub reports: usize,
    pub outcome: Outcome,
    /// The length of the text in the response, which the agent reports too.
    pub body_bytes: usize,
    /// Whether the agent reports once more after the response, before the next poll.
    pub after_response_post: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Success,
    /// The handler fails. The agent reports that, and the runtime posts an error.
    Error,
    /// The process dies by a signal, and its agent does not report.
    Crash,
    /// The process exits with code 0, and its agent does not report.
    #[serde(rename = "exit-0")]
    Exit0,
    /// The handler never returns.
    Hang,
    /// The handler returns halfway between the agent's report of a timeout and the deadline.
    Late,
}

impl Task {
    /// # Errors
    ///
    /// When the event has another form or exceeds a limit, with the reason.
    pub fn parse(event: &[u8]) -> Result<Self, String> {
        let task: Self = serde_json::from_slice(event)
            .map_err(|error| format!("cannot read the event: {error}"))?;
        if task.body_bytes > BODY_BYTES_MAX {
            return Err(format!("body_bytes: {} is above {BODY_BYTES_MAX}", task.body_bytes));
        }
        if task.items > ITEMS_MAX {
            return Err(format!("items: {} is above {ITEMS_MAX}", task.items));
        }
        Ok(task)
    }

    /// The event with these orders.
    ///
    /// # Panics
    ///
    /// Never, because numbers and names serialise.
    #[must_use]
    pub fn event(&self) -> String {
        serde_json::to_string(self).expect("numbers and names serialise")
    }
}

impl Default for Task {
    fn default() -> Self {
        Self {
            work: Duration::ZERO,
            cpu: Duration::ZERO,
            items: 2,
            reports: 1,
            outcome: Outcome::Success,
            body_bytes: 2,
            after_response_post: false,
        }
    }
}

mod milliseconds {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer};

    pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        time.as_millis().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u32::deserialize(deserializer).map(|count| Duration::from_millis(count.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_event_is_a_quick_success_with_one_small_report() {
        assert_eq!(Task::parse(b"{}"), Ok(Task::default()));
    }

    #[test]
    fn an_event_can_set_every_member_of_a_task() {
        let event = br#"{"work_ms": 5, "cpu_ms": 2, "items": 3, "reports": 4, "outcome": "exit-0",
            "body_bytes": 6, "after_response_post": true}"#;
        let expected = Task {
            work: Duration::from_millis(5),
            cpu: Duration::from_millis(2),
            items: 3,
            reports: 4,
            outcome: Outcome::Exit0,
            body_bytes: 6,
            after_response_post: true,
        };
        assert_eq!(Task::parse(event), Ok(expected.clone()));
        assert_eq!(Task::parse(expected.event().as_bytes()), Ok(expected));
    }

    #[track_caller]
    fn check_error(event: &str, expected: &str) {
        let message = Task::parse(event.as_bytes()).expect_err("a bad event");
        assert!(message.starts_with(expected), "{message}");
    }

    #[test]
    fn a_bad_event_is_refused_with_the_reason() {
        check_error("", "cannot read the event: EOF");
        check_error(r#"{"wrok_ms": 1}"#, "cannot read the event: unknown field `wrok_ms`");
        check_error(r#"{"outcome": "fail"}"#, "cannot read the event: unknown variant `fail`");
        check_error(r#"{"work_ms": -1}"#, "cannot read the event: invalid value: integer `-1`");
        check_error(r#"{"body_bytes": 33554433}"#, "body_bytes: 33554433 is above 33554432");
        check_error(r#"{"items": 100001}"#, "items: 100001 is above 100000");
    }
}
