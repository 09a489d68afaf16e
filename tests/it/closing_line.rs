//! What the extension says at the end of the sandbox, at level `info`.

use sandbox::{Entry, Event};

/// Counts of reports.
#[derive(Debug, PartialEq, Eq)]
pub struct ClosingLine {
    pub accepted: usize,
    pub delivered: usize,
    pub lost: usize,
}

impl ClosingLine {
    /// Of a timeline with one such line in it.
    pub fn of(timeline: &[Entry]) -> Result<Self, String> {
        let lines = timeline.iter().filter_map(|entry| match &entry.event {
            Event::Log { line, .. } => line.split_once(" delivered ").map(|(_, line)| line),
            _ => None,
        });
        let [line] = lines.collect::<Vec<_>>()[..] else {
            return Err("not one closing line".to_owned());
        };
        let (counts, losses) = line.split_once(", lost: ").unwrap_or((line, ""));
        let numbers = |text: &str| -> Vec<usize> {
            text.split([' ', ',']).filter_map(|word| word.parse().ok()).collect()
        };
        let [delivered, accepted] = numbers(counts)[..] else { return Err(line.to_owned()) };
        Ok(Self { accepted, delivered, lost: numbers(losses).iter().sum() })
    }
}
