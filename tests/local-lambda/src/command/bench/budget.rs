//! Limits of figures, in relation to other figures of the same run.
//!
//! A file has lines such as `first_next(relay) <= 1.25 * first_next(floor) + 0.1`, below a line with the size:
//! `[full]` or `[128]`. `#` begins a comment.
//!
//! Both sides come from one round, so the machine's state in that round affects both. Figures of two measures
//! come from rounds with the same number, which are unrelated. Counts must hold in each round. All other
//! figures must hold in the middle round, when rounds are sorted by the unused part of the budget. Of two
//! middle rounds, the worse one decides, because a disturbance may begin halfway.

use std::fs;
use std::io;
use std::path::Path;

use clap::ValueEnum;

use super::figure::{self, Figure, Unit};
use super::measure::Measure;
use super::results::{AtSize, Results};
use super::size::Size;

#[derive(Debug)]
pub struct Budget {
    line: String,
    size: Size,
    left: Sum,
    relation: Relation,
    right: Sum,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    AtMost,
    AtLeast,
}

/// A sum of numbers, and of figures with a factor each.
#[derive(Debug)]
struct Sum(Vec<Term>);

#[derive(Debug)]
enum Term {
    Number(f64),
    /// A factor, a figure and its contender.
    Figure(f64, &'static Figure, String),
}

/// The result for one budget.
pub struct Finding {
    pub outcome: Outcome,
    pub line: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Kept,
    Broken,
    /// One of its figures or contenders was not measured.
    NotMeasured,
}

/// # Errors
///
/// When the file cannot be read, or a line is wrong. The error has the line.
pub fn read(path: &Path) -> io::Result<Vec<Budget>> {
    let text = fs::read_to_string(path)
        .map_err(|error| io::Error::other(format!("can't read {}: {error}", path.display())))?;
    parse(&text).map_err(|why| io::Error::other(format!("{}: {why}", path.display())))
}

pub(super) fn parse(text: &str) -> Result<Vec<Budget>, String> {
    let mut size = Size::Full;
    let mut budgets = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            size = Size::from_str(name, false).map_err(|_| format!("no size {name:?}"))?;
        } else if !line.is_empty() {
            budgets.push(budget(line, size).map_err(|why| format!("{why}: {line}"))?);
        }
    }
    Ok(budgets)
}

fn budget(line: &str, size: Size) -> Result<Budget, String> {
    let sides = |relation, sign| line.split_once(sign).map(|(left, right)| (relation, left, right));
    let (relation, left, right) = sides(Relation::AtMost, "<=")
        .or_else(|| sides(Relation::AtLeast, ">="))
        .ok_or("there is no <= and no >=")?;
    Ok(Budget { line: line.to_owned(), size, left: sum(left)?, relation, right: sum(right)? })
}

fn sum(text: &str) -> Result<Sum, String> {
    let text = text.replace(" - ", " + -");
    text.split(" + ").map(|term| product(term.trim())).collect::<Result<_, _>>().map(Sum)
}

/// `NUMBER`, `FIGURE(CONTENDER)`, or their product.
fn product(text: &str) -> Result<Term, String> {
    let (sign, text) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest.trim()));
    let number = |text: &str| text.parse::<f64>().map_err(|_| format!("{text:?} is no number"));
    if let Some((factor, figure)) = text.split_once(" * ") {
        return times(sign * number(factor.trim())?, figure.trim());
    }
    times(sign, text).or_else(|why| Ok(Term::Number(sign * number(text).map_err(|_| why)?)))
}

fn times(factor: f64, text: &str) -> Result<Term, String> {
    let (name, contender) = text
        .strip_suffix(')')
        .and_then(|it| it.split_once('('))
        .ok_or_else(|| format!("{text:?} is no FIGURE(CONTENDER)"))?;
    let figure = figure::named(name).ok_or_else(|| format!("there is no figure {name:?}"))?;
    Ok(Term::Figure(factor, figure, contender.to_owned()))
}

impl Budget {
    pub fn check(&self, results: &Results) -> Finding {
        let Self { line, size, .. } = self;
        let Some((left, right)) = self.judged(results) else {
            let line = format!("not measured: [{}] {line}", size.name());
            return Finding { outcome: Outcome::NotMeasured, line };
        };
        let is_kept = self.excess((left, right)) <= 0.0;
        let (outcome, verdict) =
            if is_kept { (Outcome::Kept, "kept") } else { (Outcome::Broken, "BROKEN") };
        let size = size.name();
        Finding { outcome, line: format!("{verdict:6}  {left:10.2} {right:10.2}  [{size}] {line}") }
    }

    /// Both sides in the deciding round. `None` if no round has all figures.
    fn judged(&self, results: &Results) -> Option<(f64, f64)> {
        let at_size = results.at(self.size)?;
        let both = |round| self.left.of(at_size, round).zip(self.right.of(at_size, round));
        let mut rounds: Vec<(f64, f64)> = (0..results.runs).map_while(both).collect();
        rounds.sort_by(|a, b| self.excess(*a).total_cmp(&self.excess(*b)));
        let decides = if self.figures().any(|figure| figure.unit == Unit::Count) {
            rounds.len().checked_sub(1)?
        } else {
            rounds.len() / 2
        };
        rounds.get(decides).copied()
    }

    /// How far the budget is exceeded. Not positive if it is kept.
    fn excess(&self, (left, right): (f64, f64)) -> f64 {
        match self.relation {
            Relation::AtMost => left - right,
            Relation::AtLeast => right - left,
        }
    }

    /// Whether this measure, at this size, has one of its figures.
    pub fn is_about(&self, size: Size, measure: Measure) -> bool {
        self.size == size && self.figures().any(|figure| measure.group().has(figure))
    }

    fn figures(&self) -> impl Iterator<Item = &'static Figure> {
        self.left.0.iter().chain(&self.right.0).filter_map(|term| match term {
            Term::Number(_) => None,
            Term::Figure(_, figure, _) => Some(*figure),
        })
    }
}

impl Sum {
    fn of(&self, at_size: AtSize<'_>, round: usize) -> Option<f64> {
        let values = self.0.iter().map(|term| match term {
            Term::Number(number) => Some(*number),
            Term::Figure(factor, figure, contender) => {
                Some(factor * at_size.sample(contender, figure, round)?)
            }
        });
        values.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::bench::results::tests::results;

    #[track_caller]
    fn check(line: &str, outcome: Outcome) {
        let budgets = parse(line).unwrap();
        let finding = budgets[0].check(&results());
        assert_eq!(finding.outcome, outcome, "{}", finding.line);
    }

    #[test]
    fn the_middle_round_decides_on_a_figure_that_is_no_count() {
        for (kept, broken) in [
            (
                "first_next(relay) <= 1.2 * first_next(floor)",
                "first_next(relay) <= 1.19 * first_next(floor)",
            ),
            (
                "first_next(relay) <= 1 * first_next(floor) + 0.2001",
                "first_next(relay) - first_next(floor) <= 0.15",
            ),
            ("post_p50(relay) >= 50 # as much", "post_p50(relay) >= 50.1"),
            ("posts(relay) >= 2000", "posts(relay) >= 2001"),
            ("silent_wait(floor) <= 0", "silent_wait(floor) <= -0.1"),
        ] {
            check(kept, Outcome::Kept);
            check(broken, Outcome::Broken);
        }
    }

    #[test]
    fn the_worst_round_decides_on_a_count() {
        check("threads(relay) <= 12", Outcome::Kept);
        check("threads(relay) <= 11", Outcome::Broken);
        check("threads(relay) >= 8", Outcome::Kept);
        check("threads(relay) >= 9", Outcome::Broken);
    }

    #[test]
    fn a_budget_without_a_measurement_is_neither_kept_nor_broken() {
        for line in
            ["post_p50(floor) <= 1", "post_p50(other) <= 1", "[128]\npost_p50(relay) <= 100"]
        {
            check(line, Outcome::NotMeasured);
        }
    }

    #[test]
    fn a_budget_depends_on_the_measurements_of_its_figures() {
        let about = |line: &str| {
            let budgets = parse(line).unwrap();
            let is_about = |it: &Measure| budgets[0].is_about(Size::Full, *it);
            Measure::ALL.into_iter().filter(is_about).collect::<Vec<_>>()
        };
        assert_eq!(about("calls(a) <= 60"), [Measure::Idle]);
        assert_eq!(about("1 * posts(a) >= wait_0(b) + 1"), [Measure::Posts, Measure::Added]);
        assert_eq!(about("binary(a) <= 100"), []);
        assert_eq!(about("[128]\ncalls(a) <= 60"), []);
    }

    #[test]
    fn an_invalid_budget_is_refused_with_the_reason() {
        for wrong in ["a", "first_next(a)", "x(a) <= 1", "[12]", "posts(a) <= 1 * 2", "posts <= 1"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
