//! The events in an execution environment with their times, for people and for machines.

use std::fmt::{self, Display, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::entries::Entries;
use crate::event_type::EventType;
use crate::watch::Watch;

/// A process of the execution environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Runtime,
    /// An extension, by the name of its file.
    Extension(String),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The time since the start of the local Lambda.
    #[serde(rename = "at_ms", serialize_with = "as_ms")]
    pub at: Duration,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case", rename_all_fields = "snake_case")]
pub enum Event {
    /// `phase` is `init`, `snap-start`, or `invoke` for an init that is repeated within an invocation.
    InitStarted {
        phase: &'static str,
    },
    /// The process was executed, or is about to be.
    Started {
        process: Role,
    },
    /// The system cannot execute the file, for this reason.
    NotExecuted {
        process: Role,
        why: String,
    },
    Registered {
        extension: String,
        events: Vec<EventType>,
    },
    RuntimeReady,
    ExtensionReady {
        extension: String,
    },
    InitEnded {
        status: Status,
        #[serde(rename = "duration_ms", serialize_with = "as_ms")]
        duration: Duration,
    },
    RestoreStarted,
    Restored,
    InvokeStarted {
        request_id: String,
    },
    /// The caller has the function's response from now on.
    Replied {
        request_id: String,
        status: Status,
    },
    RuntimeDone {
        request_id: String,
    },
    ExtensionDone {
        extension: String,
        request_id: String,
    },
    InvokeEnded {
        request_id: String,
        status: Status,
        #[serde(rename = "duration_ms", serialize_with = "as_ms")]
        duration: Duration,
        #[serde(rename = "billed_ms", serialize_with = "as_ms")]
        billed: Duration,
    },
    Frozen,
    Thawed,
    ShutdownStarted {
        reason: String,
    },
    /// The runtime got SIGTERM. No other process gets it.
    Terminated {
        process: Role,
    },
    /// The extension got the event.
    ShutdownSent {
        extension: String,
    },
    Killed {
        process: Role,
    },
    Exited {
        process: Role,
        status: String,
    },
    ShutdownEnded {
        #[serde(rename = "duration_ms", serialize_with = "as_ms")]
        duration: Duration,
    },
    Log {
        process: Role,
        line: String,
    },
    /// Older lines were dropped. At least the last 8 MiB of processes' lines are kept, and at most twice that.
    LinesLeftOut {
        lines: usize,
        bytes: usize,
    },
}

/// The result of a phase. Failures carry Lambda's name, such as `Extension.Crash`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Success,
    /// The function reported the error. Nothing is reset.
    Error(String),
    Failure(String),
    Timeout,
}

/// Grows while the local Lambda runs. It can still be read afterwards.
#[derive(Clone)]
pub struct Timeline {
    started: Instant,
    entries: Arc<Watch<Entries>>,
}

impl Timeline {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), entries: Arc::default() }
    }

    pub(crate) fn add(&self, event: Event) {
        self.add_at(Instant::now(), event);
    }

    /// Adds an event that happened earlier.
    pub(crate) fn add_at(&self, at: Instant, event: Event) {
        let at = at.saturating_duration_since(self.started);
        self.entries.update(|entries| entries.push(Entry { at, event }));
    }

    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.read(|entries| entries.iter().cloned().collect())
    }

    /// The entries after the first `count`, and the number of all entries.
    #[must_use]
    pub fn entries_since(&self, count: usize) -> (Vec<Entry>, usize) {
        self.entries.read(|entries| entries.since(count))
    }

    /// Waits until there are more than `count` entries. `false` when the time is over.
    #[must_use]
    pub fn grows_beyond(&self, count: usize, within: Duration) -> bool {
        self.entries.wait(within, |entries| (entries.added() > count).then_some(())).is_some()
    }

    /// Waits for an entry that `find` accepts. `find` gets each entry once, in order.
    pub(crate) fn wait_for<R>(
        &self,
        within: Duration,
        mut find: impl FnMut(&Event) -> Option<R>,
    ) -> Option<R> {
        let mut seen = 0;
        self.entries.wait(within, |entries| {
            let found = entries.newer(seen).find_map(|entry| find(&entry.event));
            seen = entries.added();
            found
        })
    }
}

impl Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10.1} ms  {}", self.at.as_secs_f64() * 1000.0, self.event)
    }
}

/// Always one line, whatever a process wrote or named.
impl Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: &Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        let mut one_line = OneLine(f);
        let f = &mut one_line;
        match self {
            Self::InitStarted { phase: "invoke" } => {
                f.write_str("INIT again, within the invocation")
            }
            Self::InitStarted { phase: "init" } => f.write_str("INIT"),
            Self::InitStarted { phase } => write!(f, "INIT ({phase})"),
            Self::Started { process } => write!(f, "  {process} started"),
            Self::NotExecuted { process, why } => {
                write!(f, "  {process} can't be executed: {why}")
            }
            Self::Registered { extension, events } if events.is_empty() => {
                write!(f, "  {extension} registered for no event")
            }
            Self::Registered { extension, events } => {
                let names: Vec<&str> = events.iter().map(|event| event.name()).collect();
                write!(f, "  {extension} registered for {}", names.join(", "))
            }
            Self::RuntimeReady => f.write_str("  runtime is ready"),
            Self::ExtensionReady { extension } => write!(f, "  {extension} is ready"),
            Self::InitEnded { status, duration } => {
                write!(f, "  init: {status} after {}", ms(duration))
            }
            Self::RestoreStarted => f.write_str("RESTORE"),
            Self::Restored => f.write_str("  restored"),
            Self::InvokeStarted { request_id } => write!(f, "INVOKE {request_id}"),
            Self::Replied { status, .. } => write!(f, "  the caller has the reply: {status}"),
            Self::RuntimeDone { .. } => f.write_str("  runtime asked for the next event"),
            Self::ExtensionDone { extension, .. } => {
                write!(f, "  {extension} asked for the next event")
            }
            Self::InvokeEnded { status, duration, billed, .. } => {
                let billed = billed.as_millis();
                write!(f, "  invocation: {status} after {}, billed {billed} ms", ms(duration))
            }
            Self::Frozen => f.write_str("FREEZE"),
            Self::Thawed => f.write_str("THAW"),
            Self::ShutdownStarted { reason } => write!(f, "SHUTDOWN ({reason})"),
            Self::Terminated { process } => write!(f, "  {process} got SIGTERM"),
            Self::ShutdownSent { extension } => write!(f, "  {extension} got SHUTDOWN"),
            Self::Killed { process } => write!(f, "  {process} was killed"),
            Self::Exited { process, status } => write!(f, "  {process} ended: {status}"),
            Self::ShutdownEnded { duration } => write!(f, "  shutdown took {}", ms(duration)),
            Self::Log { process, line } => write!(f, "  {process} | {line}"),
            Self::LinesLeftOut { lines, bytes } => {
                write!(f, "  … {lines} lines of logs before this, {bytes} bytes, are left out")
            }
        }
    }
}

/// Escapes control characters except tabs as Rust does. A line feed would end the timeline's line, and others
/// would move the cursor.
struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let breaks = |it: char| it.is_control() && it != '\t';
        for part in text.split_inclusive(breaks) {
            let mut plain = part.chars();
            match plain.next_back().filter(|it| breaks(*it)) {
                Some(control) => write!(self.0, "{}{}", plain.as_str(), control.escape_default())?,
                None => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

impl Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime => f.write_str("runtime"),
            Self::Extension(name) => f.write_str(name),
        }
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("success"),
            Self::Error(error_type) => write!(f, "error {error_type}"),
            Self::Failure(error_type) => write!(f, "failure {error_type}"),
            Self::Timeout => f.write_str("timeout"),
        }
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub fn as_ms<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Nothing here is measured more precisely than in microseconds.
    serializer.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_shown_in_one_line_whatever_is_in_it() {
        let process = Role::Extension("two\nlines".to_owned());
        let line = "red \u{1b}[31m\tand\r\nmore\u{85}".to_owned();
        let log = Event::Log { process: process.clone(), line };
        assert_eq!(log.to_string(), "  two\\nlines | red \\u{1b}[31m\tand\\r\\nmore\\u{85}");
        let status = Status::Error("a\nb".to_owned());
        let replied = Event::Replied { request_id: String::new(), status };
        assert_eq!(replied.to_string(), "  the caller has the reply: error a\\nb");
        assert_eq!(Event::Started { process }.to_string(), "  two\\nlines started");
    }
}
