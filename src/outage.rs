//! When an outage of the remote is worth a line: pure, the time is an argument.

use std::mem;
use std::time::Instant;

use crate::seldom::Seldom;

/// What was said of the attempts that failed.
#[derive(Debug, Default)]
pub struct Outage {
    is_said: bool,
    lines: Seldom,
}

impl Outage {
    /// To be told of each attempt that fails. True if that is to be said.
    #[must_use]
    pub fn begins(&mut self, now: Instant) -> bool {
        let is_news = !self.is_said && self.lines.is_due(now);
        self.is_said |= is_news;
        is_news
    }

    /// To be told of each attempt that is answered. True if the end of an outage is to be said.
    #[must_use]
    pub fn ends(&mut self) -> bool {
        mem::take(&mut self.is_said)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::seldom::LINES_EVERY;

    #[test]
    fn an_outage_is_said_once_and_so_is_its_end() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        assert!(!outage.ends());
        assert!(outage.begins(now));
        assert!(!outage.begins(now + LINES_EVERY * 2), "it is still the same outage");
        assert!(outage.ends());
        assert!(!outage.ends());
    }

    #[test]
    fn an_outage_that_follows_another_is_said_once_it_has_lasted() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        assert!(outage.begins(now) && outage.ends());
        assert!(!outage.begins(now + Duration::from_secs(1)));
        assert!(outage.begins(now + LINES_EVERY));
        assert!(!outage.begins(now + LINES_EVERY * 3));
        assert!(outage.ends());
    }

    #[test]
    fn outages_in_quick_succession_are_said_once() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        assert!(outage.begins(now) && outage.ends());
        for second in 1..60 {
            assert!(!outage.begins(now + Duration::from_secs(second)));
            assert!(!outage.ends(), "the end of what was not said is not said either");
        }
        assert!(outage.begins(now + LINES_EVERY) && outage.ends());
    }
}
