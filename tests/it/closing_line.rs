//! What the extension says at the end of the sandbox, at level `info`.

use sandbox::{Entry, Event};

use crate::dialect::Dialect;

/// Counts of reports.
#[derive(Debug, PartialEq, Eq)]
pub struct ClosingLine {
    pub accepted: usize,
    pub delivered: usize,
    pub lost: usize,
}

impl ClosingLine {
    /// What it tells of these reports, in a timeline with one such line in it.
    pub fn of(timeline: &[Entry], dialect: Dialect) -> Result<Self, String> {
        let lines = timeline.iter().filter_map(|entry| match &entry.event {
            Event::Log { line, .. } => line.split_once(" delivered ").map(|(_, line)| line),
            _ => None,
        });
        let [line] = lines.collect::<Vec<_>>()[..] else {
            return Err("not one closing line".to_owned());
        };
        let (thundras, otlps) = line.split_once("; otlp: delivered ").unwrap_or((line, ""));
        let told = match dialect {
            Dialect::Thundra => thundras,
            Dialect::Otlp => otlps,
        };
        let (counts, losses) = told.split_once(", lost: ").unwrap_or((told, ""));
        if losses.contains("rejected items") {
            return Err(format!("items are no reports: {line}"));
        }
        let numbers = |text: &str| -> Vec<usize> {
            text.split([' ', ',']).filter_map(|word| word.parse().ok()).collect()
        };
        let [delivered, accepted] = numbers(counts)[..] else { return Err(line.to_owned()) };
        Ok(Self { accepted, delivered, lost: numbers(losses).iter().sum() })
    }
}
