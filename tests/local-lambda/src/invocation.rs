//! One invocation, from the view of its caller and its bill.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use serde::Serialize;

use crate::timeline::{Status, as_ms};

/// The caller's response, available as soon as the runtime has posted it.
#[derive(Debug, Clone, Serialize)]
pub struct Reply {
    #[serde(serialize_with = "as_text")]
    pub payload: Vec<u8>,
    pub status: Status,
    /// The time since the invocation's start.
    #[serde(rename = "latency_ms", serialize_with = "as_ms")]
    pub latency: Duration,
}

#[derive(Debug, Clone, Serialize)]
pub struct Invocation {
    pub request_id: String,
    pub reply: Reply,
    /// The status of the whole phase. It differs from the reply's status if an extension fails later.
    pub status: Status,
    /// The time until the runtime and all extensions with INVOKE have polled again. On Managed Instances, the
    /// time until the reply.
    #[serde(rename = "duration_ms", serialize_with = "as_ms")]
    pub duration: Duration,
    /// The duration in whole milliseconds, plus the init's if this was the first invocation after it. Zero on
    /// Managed Instances, because their bill counts their own time.
    #[serde(rename = "billed_ms", serialize_with = "as_ms")]
    pub billed: Duration,
    /// The time from the runtime's `next` to the last extension's.
    #[serde(rename = "extension_overhead_ms", serialize_with = "as_ms")]
    pub extension_overhead: Duration,
}

/// An invocation in progress, while the test does something else.
pub struct InFlight {
    pub(crate) request_id: String,
    pub(crate) replied: Receiver<Reply>,
    pub(crate) ended: Receiver<Invocation>,
}

#[expect(
    clippy::missing_panics_doc,
    reason = "every wait of a double panics when its time is over"
)]
impl InFlight {
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Waits for the caller's response. Can be called once.
    #[must_use]
    pub fn reply(&self, within: Duration) -> Reply {
        self.replied
            .recv_timeout(within)
            .unwrap_or_else(|error| panic!("no reply within {within:?}: {}", why(error)))
    }

    /// Waits until the invocation is over, also for extensions. On Managed Instances, waits until its worker
    /// can take the next one.
    #[must_use]
    pub fn end(self, within: Duration) -> Invocation {
        self.ended
            .recv_timeout(within)
            .unwrap_or_else(|error| panic!("no end within {within:?}: {}", why(error)))
    }
}

fn why(error: RecvTimeoutError) -> &'static str {
    match error {
        RecvTimeoutError::Timeout => "it still runs",
        RecvTimeoutError::Disconnected => "the local Lambda has ended, or this was asked before",
    }
}

fn as_text<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}
