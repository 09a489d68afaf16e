//! The events before a subscription, kept for later subscribers.

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::telemetry::event::Event;

/// Limit of the events. Beyond it the oldest are dropped. An init has a dozen, and its log lines.
pub const EARLY_EVENTS_MAX: usize = 10_000;

/// Limit of the lines among them. Beyond it the oldest events are dropped too.
const LINES_BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Default)]
pub struct Early {
    events: VecDeque<(SystemTime, Event)>,
    lines_bytes: usize,
}

impl Early {
    pub fn push(&mut self, at: SystemTime, event: Event) {
        self.lines_bytes += line_bytes(&event);
        self.events.push_back((at, event));
        while self.events.len() > EARLY_EVENTS_MAX || self.lines_bytes > LINES_BYTES_MAX {
            let Some((_, oldest)) = self.events.pop_front() else { return };
            self.lines_bytes -= line_bytes(&oldest);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &(SystemTime, Event)> {
        self.events.iter()
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn line_bytes(event: &Event) -> usize {
    match event {
        Event::FunctionLine(line) | Event::ExtensionLine(line) => line.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_forgotten_before_there_are_many() {
        let mut early = Early::default();
        for _ in 0..100 {
            early.push(SystemTime::UNIX_EPOCH, Event::ExtensionLine("x".repeat(1 << 20)));
        }
        assert_eq!(early.iter().count(), 8);
    }
}
