//! What became of a report.

use std::fmt;
use std::io;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Reported {
    /// The texts of the items, as they stand in the bodies.
    pub items: Vec<String>,
    /// Every request, in the order of the batches; a second one for a batch follows the first.
    pub attempts: Vec<Attempt>,
    /// How long the agent held the invocation.
    pub took: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Counts from 0.
    pub batch: usize,
    /// Whether the connection had served a request before.
    pub reused: bool,
    /// The status, if the family takes it for a success.
    pub outcome: Result<u16, Failure>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens.
    Refused,
    /// The connection was reset.
    Reset,
    /// The connection was closed before the answer was whole.
    Closed,
    /// The agent's patience was over.
    TimedOut,
    /// A status that the family takes for a failure.
    Status(u16),
    /// Anything else, in the system's words.
    Other(String),
}

impl Reported {
    /// Whether the last attempt of each batch succeeded.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failure().is_none()
    }

    /// What the first batch that failed ended with.
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
            // A socket's own timeout says that it would block.
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
