//! What figures may be at most, in relation to others of the same run.
//!
//! A file of lines such as `first_next(relay) <= 1.25 * first_next(floor) + 0.1`, below a line that
//! says at which size: `[full]` or `[128]`. `#` begins a comment.

use std::fs;
use std::io;
use std::path::Path;

use clap::ValueEnum;

use super::figure::{self, Figure, Unit};
use super::measure::Measure;
use super::results::{AtSize, Results};
use super::size::Size;
use crate::command::quartiles::Quartiles;

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

/// Of numbers, and of figures with a factor each.
#[derive(Debug)]
struct Sum(Vec<Term>);

#[derive(Debug)]
enum Term {
    Number(f64),
    /// So often this figure of this contender.
    Figure(f64, &'static Figure, String),
}

/// A budget, and what came of it.
pub struct Finding {
    pub is_kept: bool,
    pub line: String,
}

/// # Errors
///
/// When the file can't be read, or a line not be understood, with the line.
pub fn read(path: &Path) -> io::Result<Vec<Budget>> {
    let text = fs::read_to_string(path)
        .map_err(|error| io::Error::other(format!("can't read {}: {error}", path.display())))?;
    parse(&text).map_err(|why| io::Error::other(format!("{}: {why}", path.display())))
}

fn parse(text: &str) -> Result<Vec<Budget>, String> {
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

/// `NUMBER`, `FIGURE(CONTENDER)`, or one times the other.
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
    /// One whose figures were not all measured is not kept.
    pub fn check(&self, results: &Results) -> Finding {
        let Self { line, size, left, relation, right } = self;
        let sums = results.at(*size).and_then(|it| left.of(it).zip(right.of(it)));
        let Some((left, right)) = sums else {
            return Finding { is_kept: false, line: format!("not measured: {line}") };
        };
        let is_kept = match relation {
            Relation::AtMost => left <= right,
            Relation::AtLeast => left >= right,
        };
        let verdict = if is_kept { "kept" } else { "BROKEN" };
        let size = size.name();
        Finding { is_kept, line: format!("{verdict:6}  {left:10.2} {right:10.2}  [{size}] {line}") }
    }
}

impl Budget {
    /// Whether a figure in it comes of this measure.
    pub fn is_about(&self, measure: Measure) -> bool {
        let mut terms = self.left.0.iter().chain(&self.right.0);
        terms.any(|term| match term {
            Term::Number(_) => false,
            Term::Figure(_, figure, _) => measure.group().has(figure),
        })
    }
}

impl Sum {
    /// From medians, but for what a machine that has other things to do makes worse and never better:
    /// of times the lower quartile counts, and of rates the upper. A neighbour that comes and goes slows
    /// some rounds of one contender, and others of another, and medians come to lie on either side.
    fn of(&self, at_size: AtSize<'_>) -> Option<f64> {
        let values = self.0.iter().map(|term| match term {
            Term::Number(number) => Some(*number),
            Term::Figure(factor, figure, contender) => {
                let Quartiles { lower, median, upper } = at_size.quartiles(contender, figure)?;
                let value = match figure.unit {
                    Unit::Milliseconds | Unit::Microseconds => lower,
                    Unit::PerSecond => upper,
                    Unit::Bytes | Unit::Kilobytes | Unit::Count | Unit::Average => median,
                };
                Some(factor * value)
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
    fn check(line: &str, is_kept: bool) {
        let budgets = parse(line).unwrap();
        let finding = budgets[0].check(&results());
        assert_eq!(finding.is_kept, is_kept, "{}", finding.line);
    }

    #[test]
    fn a_budget_compares_lower_quartiles_of_times_upper_ones_of_rates_and_medians_of_counts() {
        check("first_next(relay) <= 1.22 * first_next(floor)", true);
        check("first_next(relay) <= 1.21 * first_next(floor)", false);
        check("first_next(relay) <= 1 * first_next(floor) + 0.25", true);
        check("first_next(relay) - first_next(floor) <= 0.15", false);
        check("post_p50(relay) <= 45 # as much", true);
        check("posts(relay) >= 2500", true);
        check("threads(relay) >= 9", true);
        check("threads(relay) <= 8", false);
        check("silent_wait(floor) <= -0.25", true);
    }

    #[test]
    fn what_was_not_measured_is_not_kept() {
        check("post_p50(floor) <= 1", false);
        check("post_p50(other) <= 1", false);
        check("[128]\npost_p50(relay) <= 100", false);
    }

    #[test]
    fn a_budget_is_about_what_its_figures_come_of() {
        let about = |line: &str| {
            let budgets = parse(line).unwrap();
            Measure::ALL.into_iter().filter(|it| budgets[0].is_about(*it)).collect::<Vec<_>>()
        };
        assert_eq!(about("calls(a) <= 60"), [Measure::Idle]);
        assert_eq!(about("1 * posts(a) >= wait_0(b) + 1"), [Measure::Posts, Measure::Added]);
        assert_eq!(about("binary(a) <= 100"), []);
    }

    #[test]
    fn what_can_not_be_understood_is_told() {
        for wrong in ["a", "first_next(a)", "x(a) <= 1", "[12]", "posts(a) <= 1 * 2", "posts <= 1"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
