//! The states of a runtime (the emulator's `internal/lambda/core/states.go`).

use crate::reply::Reply;

/// The state of the only runtime of an on-demand environment. On Managed Instances each worker has its own, and
/// the platform keeps none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Started,
    RestoreReady,
    Restoring,
    Ready,
    Running,
    /// Its response has begun.
    Responding,
    ResponseSent,
    InitError,
}

impl State {
    /// The refusal of a call that is not allowed in this state.
    pub fn refuse(self, to: &str) -> Reply {
        let from = self.name();
        let message = format!(
            "State transition from {from} to {to} failed for runtime. \
             Error: State transition is not allowed"
        );
        Reply::refusal("InvalidStateTransition", &message)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::RestoreReady => "RestoreReady",
            Self::Restoring => "Restoring",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::Responding => "InvocationResponse",
            Self::ResponseSent => "RuntimeResponseSentState",
            Self::InitError => "InitError",
        }
    }
}
