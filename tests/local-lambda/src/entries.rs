//! The entries of a timeline: all events, and the newest lines of processes.

use std::mem::size_of;
use std::time::Duration;

use crate::timeline::{Entry, Event};

/// Limit of the bytes of processes' lines. Beyond it the older half is dropped.
pub const LINES_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Default)]
pub struct Entries {
    kept: Vec<Numbered>,
    added: usize,
    lines_bytes: usize,
}

struct Numbered {
    number: usize,
    entry: Entry,
}

impl Entries {
    pub fn push(&mut self, entry: Entry) {
        self.lines_bytes += line_bytes(&entry.event);
        self.kept.push(Numbered { number: self.added, entry });
        self.added += 1;
        if self.lines_bytes > LINES_BYTES_MAX {
            self.leave_out_the_oldest_lines();
        }
    }

    /// How many entries were added, including dropped ones.
    pub fn added(&self) -> usize {
        self.added
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.kept.iter().map(|it| &it.entry)
    }

    /// The entries after the first `count`, and the number of all entries.
    pub fn since(&self, count: usize) -> (Vec<Entry>, usize) {
        (self.newer(count).cloned().collect(), self.added)
    }

    /// The entries after the first `count`.
    pub fn newer(&self, count: usize) -> impl Iterator<Item = &Entry> {
        let first = self.kept.partition_point(|it| it.number < count);
        self.kept[first..].iter().map(|it| &it.entry)
    }

    /// Replaces the dropped lines, and an earlier replacement, by one entry.
    fn leave_out_the_oldest_lines(&mut self) {
        let (mut count, mut bytes) = (0, 0);
        let mut gap: Option<(usize, usize, Duration)> = None;
        let mut kept = Vec::with_capacity(self.kept.len());
        for Numbered { number, entry } in self.kept.drain(..) {
            match &entry.event {
                Event::LinesLeftOut { lines, bytes: before } => {
                    count += lines;
                    bytes += before;
                    gap = Some((kept.len(), number, entry.at));
                }
                Event::Log { line, .. } if self.lines_bytes > LINES_BYTES_MAX / 2 => {
                    count += 1;
                    bytes += line.len();
                    self.lines_bytes -= line_bytes(&entry.event);
                    gap = Some((kept.len(), number, entry.at));
                }
                _ => kept.push(Numbered { number, entry }),
            }
        }
        if let Some((index, number, at)) = gap {
            let event = Event::LinesLeftOut { lines: count, bytes };
            kept.insert(index, Numbered { number, entry: Entry { at, event } });
        }
        self.kept = kept;
    }
}

/// The size of an entry that holds a process's line. Other entries have none.
fn line_bytes(event: &Event) -> usize {
    match event {
        Event::Log { line, .. } => size_of::<Numbered>() + line.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Role;

    const LINE_BYTES: usize = 1 << 20;

    fn entries(lines: u64) -> Entries {
        let mut entries = Entries::default();
        for number in 0..lines {
            let at = Duration::from_secs(number);
            let (process, line) = (Role::Runtime, "x".repeat(LINE_BYTES));
            entries.push(Entry { at, event: Event::Log { process, line } });
            entries.push(Entry { at, event: Event::Frozen });
        }
        entries
    }

    #[test]
    fn the_oldest_lines_are_left_out_and_counted_in_their_place() {
        let entries = entries(100);
        let count = |is: fn(&Event) -> bool| entries.iter().filter(|it| is(&it.event)).count();
        assert_eq!(count(|it| matches!(it, Event::Frozen)), 100);
        let kept = count(|it| matches!(it, Event::Log { .. }));
        assert!((7..=15).contains(&kept), "{kept}");
        let last = 99 - kept;
        let gap = entries.iter().nth(last).unwrap();
        assert_eq!(gap.at, Duration::from_secs(last as u64));
        let (lines, bytes) = (100 - kept, (100 - kept) * LINE_BYTES);
        assert_eq!(gap.event, Event::LinesLeftOut { lines, bytes });
    }

    #[test]
    fn a_follower_gets_each_entry_once_and_any_gap_in_between() {
        let entries = entries(100);
        let (all, count) = entries.since(0);
        assert_eq!((all.len(), count), (entries.iter().count(), 200));
        assert!(entries.since(count).0.is_empty());
        let (newest, _) = entries.since(198);
        assert!(matches!(newest[..], [Entry { event: Event::Log { .. }, .. }, _]));
        let (late, _) = entries.since(2);
        let gaps = late.iter().filter(|it| matches!(it.event, Event::LinesLeftOut { .. }));
        assert_eq!(gaps.count(), 1);
    }
}
