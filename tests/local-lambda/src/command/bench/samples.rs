//! The samples of one contender, and their median and quartiles.

use std::collections::{BTreeMap, BTreeSet};

use super::figure::{self, Figure};
use crate::command::quartiles::Quartiles;

#[derive(Debug, Clone, Default)]
pub struct Samples {
    figures: BTreeMap<&'static str, Vec<f64>>,
    /// For each feature that this machine lacks, its replacement.
    notes: BTreeSet<String>,
}

impl Samples {
    /// # Panics
    ///
    /// When no figure has this name.
    pub fn add(&mut self, name: &str, value: f64) {
        let figure = figure::named(name).unwrap_or_else(|| panic!("no figure {name}"));
        self.figures.entry(figure.name).or_default().push(value);
    }

    pub fn note(&mut self, note: &str) {
        self.notes.insert(note.to_owned());
    }

    pub fn notes(&self) -> &BTreeSet<String> {
        &self.notes
    }

    pub fn extend(&mut self, more: Self) {
        for (name, values) in more.figures {
            self.figures.entry(name).or_default().extend(values);
        }
        self.notes.extend(more.notes);
    }

    /// `None` if the figure does not apply, or cannot be measured here.
    pub fn quartiles(&self, figure: &Figure) -> Option<Quartiles> {
        self.figures.get(figure.name).map(|values| Quartiles::of_numbers(values.iter().copied()))
    }

    /// The sample of a round, from 0. Each round adds one.
    pub fn of_round(&self, figure: &Figure, round: usize) -> Option<f64> {
        self.figures.get(figure.name)?.get(round).copied()
    }

    /// The number of samples.
    pub fn count(&self, figure: &Figure) -> usize {
        self.figures.get(figure.name).map_or(0, Vec::len)
    }
}

/// # Panics
///
/// When there is no sample.
pub fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    Quartiles::of_numbers(samples).median
}

/// The smallest sample that is not below `per_mille` thousandths of all ("nearest rank").
///
/// # Panics
///
/// When there is no sample.
pub fn percentile<T: Copy>(sorted: &[T], per_mille: usize) -> T {
    sorted[(sorted.len() * per_mille).div_ceil(1_000).max(1) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_smallest_sample_with_that_share_at_or_below() {
        let thousand: Vec<u32> = (1..=1_000).collect();
        for (per_mille, expected) in [(0, 1), (500, 500), (990, 990), (999, 999), (1_000, 1_000)] {
            assert_eq!(percentile(&thousand, per_mille), expected);
        }
        assert_eq!((percentile(&[7], 500), percentile(&[1, 2, 3], 500)), (7, 2));
        assert_eq!(percentile(&[1, 2, 3], 999), 3);
    }
}
