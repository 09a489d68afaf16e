//! What happened in the sandbox, moment by moment, for people and for machines.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::watch::Watch;

/// A process of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Runtime,
    /// By its name, which is that of its file.
    Extension(String),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Since the start of the sandbox.
    #[serde(rename = "at_ms", serialize_with = "as_ms")]
    pub at: Duration,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case", rename_all_fields = "snake_case")]
pub enum Event {
    /// `phase` is `init`, `invoke` for one repeated within an invocation, or `snap-start`.
    InitStarted {
        phase: &'static str,
    },
    /// Executed, or about to be.
    Started {
        process: Role,
    },
    /// The system does not execute it, for the reason that it gives.
    NotExecuted {
        process: Role,
        why: String,
    },
    Registered {
        extension: String,
        events: Vec<String>,
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
    /// The caller has the function's answer from now on.
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
    /// SIGTERM, which only a runtime gets.
    Terminated {
        process: Role,
    },
    /// The event was handed out.
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
}

/// How a phase ended; the failures carry Lambda's name for them, such as `Extension.Crash`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Success,
    /// The function reported it; nothing is reset.
    Error(String),
    Failure(String),
    Timeout,
}

/// Grows with the sandbox, and can still be read when that is gone.
#[derive(Clone)]
pub struct Timeline {
    started: Instant,
    entries: Arc<Watch<Vec<Entry>>>,
}

impl Timeline {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), entries: Arc::default() }
    }

    pub(crate) fn add(&self, event: Event) {
        self.add_at(Instant::now(), event);
    }

    /// Adds what is noticed only now.
    pub(crate) fn add_at(&self, at: Instant, event: Event) {
        let at = at.saturating_duration_since(self.started);
        self.entries.update(|entries| entries.push(Entry { at, event }));
    }

    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.read(Clone::clone)
    }

    /// Those from this index on; waits for the first of them. None when the time is over.
    #[must_use]
    pub fn entries_from(&self, index: usize, within: Duration) -> Vec<Entry> {
        let new = |entries: &mut Vec<Entry>| {
            entries.get(index..).filter(|new| !new.is_empty()).map(<[_]>::to_vec)
        };
        self.entries.wait(within, new).unwrap_or_default()
    }

    /// Waits for an entry that this finds.
    pub(crate) fn wait_for<R>(
        &self,
        within: Duration,
        mut find: impl FnMut(&Event) -> Option<R>,
    ) -> Option<R> {
        self.entries.wait(within, |entries| entries.iter().find_map(|entry| find(&entry.event)))
    }
}

impl Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10.1} ms  {}", self.at.as_secs_f64() * 1000.0, self.event)
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: &Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
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
                write!(f, "  {extension} registered for {}", events.join(", "))
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
        }
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
    // Microseconds are as fine as anything here is known.
    serializer.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e3)
}
