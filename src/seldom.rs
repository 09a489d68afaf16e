//! A line of the log that may repeat, said once a minute: pure, the time is an argument.

use std::time::{Duration, Instant};

use log::Level;

/// A remote that comes and goes, or refuses one report after the other, is a line so often.
pub const LINES_EVERY: Duration = Duration::from_secs(60);

/// Lets a line that may repeat be said once a minute.
#[derive(Debug, Default)]
pub struct Seldom {
    said_at: Option<Instant>,
}

impl Seldom {
    /// Whether it is time for one, which is then taken for said.
    #[must_use]
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.said_at.is_none_or(|it| now.saturating_duration_since(it) >= LINES_EVERY);
        if is_due {
            self.said_at = Some(now);
        }
        is_due
    }

    /// To say it at: those in between are for who looks for them.
    #[must_use]
    pub fn level(&mut self, now: Instant) -> Level {
        if self.is_due(now) { Level::Warn } else { Level::Debug }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_once_a_minute() {
        let (mut line, now) = (Seldom::default(), Instant::now());
        assert_eq!((line.level(now), line.level(now)), (Level::Warn, Level::Debug));
        assert_eq!(line.level(now + LINES_EVERY), Level::Warn);
    }
}
