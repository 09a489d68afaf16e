//! Limits lines of the log that may repeat. Pure: the time is an argument.

use std::mem;
use std::time::{Duration, Instant};

use log::Level;

/// The shortest time between two lines of one kind.
const LINES_EVERY: Duration = Duration::from_secs(60);

/// Lets a line be logged once a minute.
#[derive(Debug, Default)]
pub struct LogLimiter {
    logged_at: Option<Instant>,
}

impl LogLimiter {
    /// Whether a line is due, which then counts as logged.
    #[must_use]
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due =
            self.logged_at.is_none_or(|it| now.saturating_duration_since(it) >= LINES_EVERY);
        if is_due {
            self.logged_at = Some(now);
        }
        is_due
    }

    /// The level of the next line: `warn` once a minute, otherwise `debug`.
    #[must_use]
    pub fn level(&mut self, now: Instant) -> Level {
        if self.is_due(now) { Level::Warn } else { Level::Debug }
    }
}

/// Lets the start of an outage be logged, at most once a minute. Lets the end of each logged outage be logged, too.
#[derive(Debug, Default)]
pub struct OutageLog {
    is_logged: bool,
    lines: LogLimiter,
}

impl OutageLog {
    /// Records a failed attempt. True if a line must be logged.
    #[must_use]
    pub fn begins(&mut self, now: Instant) -> bool {
        let is_news = !self.is_logged && self.lines.is_due(now);
        self.is_logged |= is_news;
        is_news
    }

    /// Records an answered attempt. True if a line about the end of the outage must be logged.
    #[must_use]
    pub fn ends(&mut self) -> bool {
        mem::take(&mut self.is_logged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logged_once_a_minute() {
        let (mut line, now) = (LogLimiter::default(), Instant::now());
        assert_eq!((line.level(now), line.level(now)), (Level::Warn, Level::Debug));
        assert_eq!(line.level(now + LINES_EVERY), Level::Warn);
    }

    #[test]
    fn an_outage_is_logged_once_and_so_is_its_end() {
        let (mut outage, now) = (OutageLog::default(), Instant::now());
        assert!(!outage.ends());
        assert!(outage.begins(now));
        assert!(!outage.begins(now + LINES_EVERY * 2), "it is still the same outage");
        assert!(outage.ends());
        assert!(!outage.ends());
    }

    #[test]
    fn an_outage_that_follows_another_is_logged_once_it_has_lasted() {
        let (mut outage, now) = (OutageLog::default(), Instant::now());
        assert!(outage.begins(now) && outage.ends());
        assert!(!outage.begins(now + Duration::from_secs(1)));
        assert!(outage.begins(now + LINES_EVERY));
        assert!(!outage.begins(now + LINES_EVERY * 3));
        assert!(outage.ends());
    }

    #[test]
    fn outages_in_quick_succession_are_logged_once() {
        let (mut outage, now) = (OutageLog::default(), Instant::now());
        assert!(outage.begins(now) && outage.ends());
        for second in 1..60 {
            assert!(!outage.begins(now + Duration::from_secs(second)));
            assert!(
                !outage.ends(),
                "the end of an outage that was not logged is not logged either"
            );
        }
        assert!(outage.begins(now + LINES_EVERY) && outage.ends());
    }
}
