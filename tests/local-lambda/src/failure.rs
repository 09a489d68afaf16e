//! Why an init or an invocation failed.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use serde::Serialize;

use crate::runtime_api::Outcome;
use crate::timeline::{Role, Status};

/// The error type of what fails without a fault of the function's or of an extension's.
pub const SANDBOX_FAILURE: &str = "Sandbox.Failure";

#[derive(Debug, Clone)]
pub enum Failure {
    TimedOut(Duration),
    /// The init that nobody waits for took longer than the platform allows.
    InitTimedOut(Duration),
    /// The same of the restore from a snapshot.
    RestoreTimedOut(Duration),
    /// A process ended although it should go on; an extension may have said why before.
    Exited {
        process: Role,
        status: ExitStatus,
        reported: Option<String>,
    },
    /// It could not be started at all.
    Launch {
        process: Role,
        why: String,
    },
    /// The same, but for want of something of this machine: the program is not to blame.
    Shortage {
        process: Role,
        why: String,
    },
    /// The runtime reported that its init failed.
    Init(Outcome),
    TooManyExtensions,
    /// No worker of Managed Instances waits for an event.
    Unavailable,
    /// Managed Instances were shut down in the middle.
    ShutDown,
    /// The [`crate::Lambda`] was dropped in the middle.
    Abandoned,
}

impl Failure {
    /// Of a process that the system does not execute.
    pub fn of_launch(process: Role, error: &io::Error) -> Self {
        /// Of files here and on the whole machine, of processes, of memory, and of room on a disk.
        const SHORTAGES: [Errno; 5] =
            [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM, Errno::NOSPC];
        let why = error.to_string();
        match Errno::from_io_error(error) {
            Some(errno) if SHORTAGES.contains(&errno) => Self::Shortage { process, why },
            _ => Self::Launch { process, why },
        }
    }

    /// Lambda's name for it, as its caller sees it; telemetry of a function on demand has another
    /// for a timeout.
    pub fn error_type(&self) -> String {
        let name = match self {
            Self::TimedOut(_) | Self::InitTimedOut(_) | Self::RestoreTimedOut(_) => {
                "Sandbox.Timedout"
            }
            Self::Exited { process: Role::Runtime, .. } => "Runtime.ExitError",
            Self::Exited { reported: Some(kind), .. } => kind,
            Self::Exited { .. } => "Extension.Crash",
            Self::Launch { process: Role::Runtime, .. } => "Runtime.InvalidEntrypoint",
            Self::Launch { .. } | Self::TooManyExtensions => "Extension.LaunchError",
            Self::Init(outcome) => outcome.error_type.as_deref().unwrap_or("Runtime.Unknown"),
            Self::Unavailable => "Runtime.Unavailable",
            Self::ShutDown => "Client.ExecutionEnvironmentShutDown",
            Self::Abandoned | Self::Shortage { .. } => SANDBOX_FAILURE,
        };
        name.to_owned()
    }

    pub fn status(&self) -> Status {
        match self {
            Self::TimedOut(_) | Self::InitTimedOut(_) | Self::RestoreTimedOut(_) => Status::Timeout,
            _ => Status::Failure(self.error_type()),
        }
    }

    /// The reason that extensions are given for the shutdown that follows.
    pub fn shutdown_reason(&self) -> &'static str {
        match self {
            Self::TimedOut(_) => "timeout",
            _ => "failure",
        }
    }

    /// What the caller of the function gets.
    pub fn payload(&self, request_id: &str) -> Vec<u8> {
        let message = match self {
            Self::Init(outcome) => return outcome.payload.clone(),
            // The emulator's 400 has no more in it.
            Self::Unavailable | Self::ShutDown => {
                return format!(r#"{{"errorType":"{}"}}"#, self.error_type()).into_bytes();
            }
            Self::InitTimedOut(limit) => {
                let limit = limit.as_secs_f64();
                format!("RequestId: {request_id} Error: init timed out after {limit:.2} seconds")
            }
            Self::RestoreTimedOut(limit) => {
                let limit = limit.as_secs_f64();
                format!("RequestId: {request_id} Error: restore timed out after {limit:.2} seconds")
            }
            Self::TimedOut(limit) => {
                format!(
                    "RequestId: {request_id} Error: Task timed out after {:.2} seconds",
                    limit.as_secs_f64()
                )
            }
            Self::Exited { process: Role::Runtime, status, .. } if !status.success() => {
                format!(
                    "RequestId: {request_id} Error: Runtime exited with error: {}",
                    in_words(*status)
                )
            }
            Self::Exited { process: Role::Runtime, .. } => {
                format!("RequestId: {request_id} Error: Runtime exited without providing a reason")
            }
            Self::Exited { status, .. } => {
                format!("RequestId: {request_id} Error: {}", in_words(*status))
            }
            Self::Launch { process, why } | Self::Shortage { process, why } => {
                format!("RequestId: {request_id} Error: can't start {process}: {why}")
            }
            Self::Abandoned => "the local Lambda was dropped".to_owned(),
            Self::TooManyExtensions => {
                format!("RequestId: {request_id} Error: too many extensions")
            }
        };
        ErrorBody { error_type: &self.error_type(), error_message: &message }.rendered()
    }
}

/// What a caller gets that the platform, not the function, has an error for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody<'a> {
    pub error_type: &'a str,
    pub error_message: &'a str,
}

impl ErrorBody<'_> {
    pub fn rendered(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings are JSON")
    }
}

/// As Go, in which AWS's daemon is written, says it.
fn in_words(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}"))
}
