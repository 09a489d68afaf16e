//! The result of a report.

use std::fmt;
use std::io;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Reported {
    /// The texts of the items, as in the bodies.
    pub items: Vec<String>,
    /// Every request, in the order of the batches. A second attempt of a batch follows the first.
    pub attempts: Vec<Attempt>,
    /// How long the report delayed the invocation.
    pub took: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The batch's number, from 0.
    pub batch: usize,
    /// Whether the connection had already served a request.
    pub reused: bool,
    /// The status, if it counts as success for the family.
    pub outcome: Result<u16, Failure>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No server listens.
    Refused,
    /// The connection was reset.
    Reset,
    /// The connection was closed before the answer was complete.
    Closed,
    /// The agent's time limit was reached.
    TimedOut,
    /// A status that counts as failure for the family.
    Status(u16),
    /// Any other failure, with the system's message.
    Other(String),
}

impl Reported {
    /// Whether the last attempt of each batch succeeded.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failure().is_none()
    }

    /// The result of the first batch that failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        let next_batches = self.attempts.iter().skip(1).map(|attempt| Some(attempt.batch));
        let with_next = self.attempts.iter().zip(next_batches.chain([None]));
        let last = with_next.filter(|(attempt, next)| *next != Some(attempt.batch));
        last.map(|(attempt, _)| attempt).find_map(|attempt| attempt.outcome.as_ref().err())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::UnexpectedEof => Self::Closed,
            // A socket reports its timeout as `WouldBlock`.
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::TimedOut,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => write!(formatter, "refused"),
            Self::Reset => write!(formatter, "reset"),
            Self::Closed => write!(formatter, "closed without an answer"),
            Self::TimedOut => write!(formatter, "no answer in time"),
            Self::Status(status) => write!(formatter, "status {status}"),
            Self::Other(why) => write!(formatter, "{why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(attempts: &[(usize, Result<u16, Failure>)]) -> Reported {
        let attempts = attempts
            .iter()
            .map(|(batch, outcome)| Attempt {
                batch: *batch,
                reused: false,
                outcome: outcome.clone(),
            })
            .collect();
        Reported { items: Vec::new(), attempts, took: Duration::ZERO }
    }

    #[test]
    fn the_last_attempt_of_a_batch_decides() {
        assert!(reported(&[]).is_success());
        let retried = [(0, Ok(200)), (1, Err(Failure::Reset)), (1, Ok(200))];
        assert!(reported(&retried).is_success());
        let failed = [(0, Err(Failure::Reset)), (0, Err(Failure::Refused)), (1, Ok(200))];
        assert_eq!(reported(&failed).failure(), Some(&Failure::Refused));
    }
}
