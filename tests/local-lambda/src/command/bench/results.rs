//! All measured results, and reading them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::contender::NONE;
use super::figure::{Figure, GROUPS, Group, Reading};
use super::machine::Machine;
use super::samples::Samples;
use super::size::Size;
use crate::command::quartiles::Quartiles;

pub struct Results {
    pub machine: Machine,
    /// How often `start` was measured for each contender.
    pub runs: usize,
    pub contenders: Vec<String>,
    /// The variables that only one contender has, for each of them.
    pub variables: Vec<Vec<String>>,
    /// Reasons why a comparison is not fair.
    pub doubts: Vec<String>,
    pub sizes: Vec<(Size, Vec<Samples>)>,
}

/// The samples of all contenders at one size.
#[derive(Clone, Copy)]
pub struct AtSize<'a> {
    pub contenders: &'a [String],
    pub samples: &'a [Samples],
}

impl Results {
    pub fn at(&self, size: Size) -> Option<AtSize<'_>> {
        let (_, samples) = self.sizes.iter().find(|(it, _)| *it == size)?;
        Some(AtSize { contenders: &self.contenders, samples })
    }

    pub fn each_size(&self) -> impl Iterator<Item = (Size, AtSize<'_>)> {
        self.sizes
            .iter()
            .map(|(size, samples)| (*size, AtSize { contenders: &self.contenders, samples }))
    }

    /// Features that this machine cannot provide, at any size.
    pub fn notes(&self) -> BTreeSet<&str> {
        let all = self.sizes.iter().flat_map(|(_, samples)| samples).flat_map(Samples::notes);
        all.chain(&self.doubts).map(String::as_str).collect()
    }

    /// The conditions of the measurement, a line each.
    pub fn conditions(&self) -> Vec<String> {
        let mut lines = vec![format!("{} starts of each", self.runs)];
        for (contender, variables) in self.contenders.iter().zip(&self.variables) {
            if !variables.is_empty() {
                lines.push(format!("{contender} has {}", variables.join(", ")));
            }
        }
        lines.extend(self.notes().into_iter().map(ToOwned::to_owned));
        lines
    }

    /// The results by size, figure and contender.
    pub fn json(&self) -> Value {
        let mut sizes = Map::new();
        for (size, at_size) in self.each_size() {
            sizes.insert(size.name().to_owned(), at_size.json());
        }
        let names = self.contenders.iter().zip(&self.variables);
        json!({
            "machine": self.machine,
            "runs": self.runs,
            "contenders": self.contenders,
            "variables": names.collect::<BTreeMap<_, _>>(),
            "notes": self.notes(),
            "sizes": sizes,
        })
    }
}

impl<'a> AtSize<'a> {
    fn of(self, contender: &str) -> Option<&'a Samples> {
        let place = self.contenders.iter().position(|it| it == contender)?;
        self.samples.get(place)
    }

    /// The figure as it was measured.
    pub fn measured(self, contender: &str, figure: &Figure) -> Option<Quartiles> {
        self.of(contender)?.quartiles(figure)
    }

    /// The figure of one round, as it is shown: the value, or its difference to the same round of `none`.
    pub fn sample(self, contender: &str, figure: &Figure, round: usize) -> Option<f64> {
        let sample = self.of(contender)?.of_round(figure, round)?;
        let Reading::AboveNone(base) = figure.reading else { return Some(sample) };
        Some(sample - self.of(NONE)?.of_round(super::figure::named(base)?, round)?)
    }

    /// The figure as it is shown.
    pub fn quartiles(self, contender: &str, figure: &Figure) -> Option<Quartiles> {
        let measured = self.measured(contender, figure)?;
        let Reading::AboveNone(base) = figure.reading else { return Some(measured) };
        let base = self.measured(NONE, super::figure::named(base)?)?.median;
        let Quartiles { lower, median, upper } = measured;
        Some(Quartiles { lower: lower - base, median: median - base, upper: upper - base })
    }

    /// The figures of the group that any contender has, and the contenders that have any of them.
    pub fn table(self, group: &Group) -> (Vec<&'static Figure>, Vec<&'a str>) {
        let is_had = |figure: &&Figure| {
            self.contenders.iter().any(|it| self.quartiles(it, figure).is_some())
        };
        let figures: Vec<&Figure> = group.figures.iter().filter(is_had).collect();
        let has_any = |it: &&str| figures.iter().any(|figure| self.quartiles(it, figure).is_some());
        let contenders = self.contenders.iter().map(String::as_str).filter(has_any).collect();
        (figures, contenders)
    }

    fn json(self) -> Value {
        let mut figures = Map::new();
        for figure in GROUPS.iter().flat_map(|group| group.figures) {
            let mut of_all = Map::new();
            for (contender, samples) in self.contenders.iter().zip(self.samples) {
                if let Some(Quartiles { lower, median, upper }) = self.quartiles(contender, figure)
                {
                    let n = samples.count(figure);
                    let summed = json!({ "q1": lower, "median": median, "q3": upper, "n": n });
                    of_all.insert(contender.clone(), summed);
                }
            }
            if !of_all.is_empty() {
                of_all.insert("unit".to_owned(), figure.unit.name().into());
                figures.insert(figure.name.to_owned(), of_all.into());
            }
        }
        figures.into()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Results of `none`, `floor` and `relay`.
    pub fn results() -> Results {
        results_with("first_next", [1.1, 1.2, 1.3])
    }

    /// Results with these values for `relay`.
    pub fn results_with(relays: &'static str, values: [f64; 3]) -> Results {
        let mut samples = [Samples::default(), Samples::default(), Samples::default()];
        for (contender, figure, values) in [
            (0, "silent_wait", [1.0, 2.0, 3.0]),
            (1, "silent_wait", [1.0, 2.5, 3.0]),
            (1, "first_next", [0.9, 1.0, 1.4]),
            (2, relays, values),
            (2, "post_p50", [40.0, 50.0, 60.0]),
            (2, "posts", [1_000.0, 2_000.0, 3_000.0]),
            (2, "threads", [8.0, 9.0, 12.0]),
        ] {
            for value in values {
                samples[contender].add(figure, value);
            }
        }
        samples[2].add("binary", 1_000_000.0);
        Results {
            machine: Machine::unknown(),
            runs: 3,
            variables: vec![vec![], vec![], vec!["A_VARIABLE".to_owned()]],
            doubts: vec!["relay is static, floor is not".to_owned()],
            contenders: ["none", "floor", "relay"].map(ToOwned::to_owned).to_vec(),
            sizes: vec![(Size::Full, samples.into())],
        }
    }

    #[test]
    fn the_added_cost_is_the_difference_to_no_extension() {
        let results = results();
        let full = results.at(Size::Full).unwrap();
        let figure = crate::command::bench::figure::named("silent_wait").unwrap();
        let added = |contender| full.quartiles(contender, figure).unwrap();
        let [lower, median, upper] = [-0.5, 0.0, 0.5];
        assert_eq!(added("none"), Quartiles { lower, median, upper });
        let [lower, median, upper] = [-0.25, 0.5, 0.75];
        assert_eq!(added("floor"), Quartiles { lower, median, upper });
        assert!(full.quartiles("relay", figure).is_none());
        assert!(results.at(Size::Small).is_none());
    }

    #[test]
    fn json_is_by_size_figure_and_contender() {
        let json = results().json();
        assert_eq!(json["sizes"]["full"]["post_p50"]["relay"]["median"], 50.0);
        assert_eq!(json["sizes"]["full"]["post_p50"]["relay"]["n"], 3);
        assert_eq!(json["variables"]["relay"], json!(["A_VARIABLE"]));
        assert_eq!(json["notes"], json!(["relay is static, floor is not"]));
        assert_eq!(json["sizes"]["full"]["post_p50"]["unit"], "µs");
        assert_eq!(json["sizes"]["full"]["post_p50"]["floor"], Value::Null);
        assert_eq!(json["sizes"]["full"]["once"], Value::Null);
    }
}
