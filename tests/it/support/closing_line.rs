//! The closing line of each remote, which the extension logs at shutdown at level `info`.

use local_lambda::{Entry, Event};

use crate::support::protocol::Protocol;

/// Counts of reports.
#[derive(Debug, PartialEq, Eq)]
pub struct ClosingLine {
    pub accepted: usize,
    pub delivered: usize,
    pub lost: usize,
}

impl ClosingLine {
    /// The counts in the closing line for this protocol. The timeline must have exactly one such line.
    pub fn of(timeline: &[Entry], protocol: Protocol) -> Result<Self, String> {
        let begins = format!(" {} to http", protocol.name());
        let lines = timeline.iter().filter_map(|entry| match &entry.event {
            Event::Log { line, .. } if is_closing(line) => {
                line.split_once(&begins).map(|(_, line)| line)
            }
            _ => None,
        });
        let [line] = lines.collect::<Vec<_>>()[..] else {
            return Err("not one closing line".to_owned());
        };
        let (counts, losses) = line.split_once(", lost: ").unwrap_or((line, ""));
        if losses.contains("rejected items") {
            return Err(format!("items are no reports: {line}"));
        }
        let numbers = |text: &str| -> Vec<usize> {
            text.split([' ', ',']).filter_map(|word| word.parse().ok()).collect()
        };
        let [accepted, delivered] = numbers(counts)[..] else { return Err(line.to_owned()) };
        Ok(Self { accepted, delivered, lost: numbers(losses).iter().sum() })
    }
}

/// Whether this is a closing line. The first line at level `info` names remotes too.
pub fn is_closing(line: &str) -> bool {
    line.contains(" accepted, ")
}
