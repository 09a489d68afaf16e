//! Why an init or an invocation failed.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use serde::Serialize;

use crate::runtime_api::Outcome;
use crate::timeline::{Role, Status};

/// The type of an error that neither the function nor an extension caused.
pub const SANDBOX_FAILURE: &str = "Sandbox.Failure";

#[derive(Debug, Clone)]
pub enum Failure {
    TimedOut(Duration),
    /// An init that no invocation waits for took longer than the platform allows.
    InitTimedOut(Duration),
    /// The restore from a snapshot took longer than the platform allows.
    RestoreTimedOut(Duration),
    /// A process ended too early. An extension may have reported why.
    Exited {
        process: Role,
        status: ExitStatus,
        reported: Option<String>,
    },
    /// The process could not be started.
    Launch {
        process: Role,
        why: String,
    },
    /// The process could not be started, because this machine lacks something. The program is not the reason.
    Shortage {
        process: Role,
        why: String,
    },
    /// The runtime reported a failed init.
    Init(Outcome),
    TooManyExtensions,
    /// No worker on Managed Instances waits for an event.
    Unavailable,
    /// The Managed Instances were shut down meanwhile.
    ShutDown,
    /// The [`crate::Lambda`] was dropped meanwhile.
    Abandoned,
}

impl Failure {
    /// The failure for a process that the system cannot execute.
    pub fn of_launch(process: Role, error: &io::Error) -> Self {
        /// Shortages of files in this process and on the machine, of processes, of memory, and of disk space.
        const SHORTAGES: [Errno; 5] =
            [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM, Errno::NOSPC];
        let why = error.to_string();
        match Errno::from_io_error(error) {
            Some(errno) if SHORTAGES.contains(&errno) => Self::Shortage { process, why },
            _ => Self::Launch { process, why },
        }
    }

    /// Lambda's name of the failure for the caller. For a timeout on demand, telemetry uses another name.
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

    /// The reason in SHUTDOWN after this failure.
    pub fn shutdown_reason(&self) -> &'static str {
        match self {
            Self::TimedOut(_) => "timeout",
            _ => "failure",
        }
    }

    /// The body of the caller's response.
    pub fn payload(&self, request_id: &str) -> Vec<u8> {
        let message = match self {
            Self::Init(outcome) => return outcome.payload.clone(),
            // The emulator's 400 has only this.
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

/// The body of an error that comes from the platform, not from the function.
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

/// The exit status in the words of Go, because AWS's daemon is written in Go.
fn in_words(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}"))
}
