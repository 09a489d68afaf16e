//! The ends of a function.

/// No end is a success, because Lambda's runtimes poll until they are killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// An event ordered it to die by a signal.
    Crashed,
    /// An event ordered it to exit with code 0.
    Exited,
    /// Its init failed, and it has reported that to the platform.
    InitFailed,
    /// Its owner stopped it.
    Stopped,
    /// The platform closed the Runtime API. The text is the system's message.
    Disconnected(String),
    /// The Runtime API cannot be reached. The text is the system's message.
    Unreachable(String),
    /// The platform refused a call, or its answer was no event.
    Refused(String),
}
