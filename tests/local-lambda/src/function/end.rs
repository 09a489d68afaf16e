//! How a function ends.

/// There is no good end: Lambda's runtimes ask for events until they are killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// An event told it to die of a signal.
    Crashed,
    /// An event told it to end with code 0.
    Exited,
    /// Its init failed, and the platform knows.
    InitFailed,
    /// Who runs it stopped it.
    Stopped,
    /// The platform closed the Runtime API; in the words of the system.
    Disconnected(String),
    /// There is no Runtime API; in the words of the system.
    Unreachable(String),
    /// The platform refused a call, or answered it with what is no event.
    Refused(String),
}
