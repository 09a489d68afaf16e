//! What figures may be at most, in relation to others of the same run.
//!
//! A file of lines such as `first_next(relay) <= 1.25 * first_next(floor) + 0.1`, below a line that
//! says at which size: `[full]` or `[128]`. `#` begins a comment.

use std::fs;
use std::io;
use std::path::Path;

use clap::ValueEnum;

use super::figure::{self, Figure};
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

impl Sum {
    /// From medians.
    fn of(&self, at_size: AtSize<'_>) -> Option<f64> {
        let values = self.0.iter().map(|term| match term {
            Term::Number(number) => Some(*number),
            Term::Figure(factor, figure, contender) => {
                Some(factor * at_size.quartiles(contender, figure)?.median)
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
    fn a_budget_compares_medians_of_one_run() {
        check("first_next(relay) <= 1.2 * first_next(floor)", true);
        check("first_next(relay) <= 1.19 * first_next(floor)", false);
        check("first_next(relay) <= 1 * first_next(floor) + 0.25", true);
        check("first_next(relay) - first_next(floor) <= 0.15", false);
        check("post_p50(relay) >= 50 # as much", true);
        check("silent_wait(floor) <= 0.5", true);
    }

    #[test]
    fn what_was_not_measured_is_not_kept() {
        check("post_p50(floor) <= 1", false);
        check("post_p50(other) <= 1", false);
        check("[128]\npost_p50(relay) <= 100", false);
    }

    #[test]
    fn what_can_not_be_understood_is_told() {
        for wrong in ["a", "first_next(a)", "x(a) <= 1", "[12]", "posts(a) <= 1 * 2", "posts <= 1"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
