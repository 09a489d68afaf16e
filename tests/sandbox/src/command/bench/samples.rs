//! The samples of one contender.

use std::collections::BTreeMap;

use super::figure::{self, Figure};
use crate::command::quartiles::Quartiles;

#[derive(Debug, Clone, Default)]
pub struct Samples(BTreeMap<&'static str, Vec<f64>>);

impl Samples {
    /// # Panics
    ///
    /// When there is no figure of this name.
    pub fn add(&mut self, name: &str, value: f64) {
        let figure = figure::named(name).unwrap_or_else(|| panic!("no figure {name}"));
        self.0.entry(figure.name).or_default().push(value);
    }

    pub fn extend(&mut self, more: Self) {
        for (name, values) in more.0 {
            self.0.entry(name).or_default().extend(values);
        }
    }

    /// `None` where it does not apply, or can't be measured here.
    pub fn quartiles(&self, figure: &Figure) -> Option<Quartiles> {
        self.0.get(figure.name).map(|values| Quartiles::of_numbers(values.iter().copied()))
    }
}
