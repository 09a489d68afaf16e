//! The results as tables for a terminal.

use super::figure::{Figure, GROUPS, Unit};
use super::results::{AtSize, Results};
use crate::command::quartiles::Quartiles;

/// The gap between two columns.
const GAP: &str = "  ";
/// The width of most terminals. A wider table is split into tables below each other.
const WIDTH_MAX: usize = 120;

pub fn text(results: &Results) -> String {
    let mut text = format!("{}\n", results.machine.sentence());
    for line in results.conditions() {
        text.extend([line.as_str(), "\n"]);
    }
    text.push_str("median [quartiles]\n");
    for (size, at_size) in results.each_size() {
        text.extend(["\n=== ", size.title(), "\n"]);
        for group in GROUPS {
            let (figures, contenders) = at_size.table(group);
            if !figures.is_empty() {
                text.extend(["\n", group.title, "\n"]);
                table(at_size, &figures, &contenders, &mut text);
            }
        }
    }
    text
}

fn table(at_size: AtSize<'_>, figures: &[&Figure], contenders: &[&str], text: &mut String) {
    let names = contenders.iter().map(|it| it.chars().count()).max().unwrap_or_default();
    let columns: Vec<Vec<String>> = figures
        .iter()
        .map(|figure| {
            let cells =
                contenders.iter().map(|it| cell(figure.unit, at_size.quartiles(it, figure)));
            [figure.heading()].into_iter().chain(cells).collect()
        })
        .collect();
    let mut rest = columns.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(fitting(rest, WIDTH_MAX.saturating_sub(names)));
        rest = later;
        for row in 0..=contenders.len() {
            let name = if row == 0 { "" } else { contenders[row - 1] };
            let cells = now.iter().map(|column| format!("{GAP}{:>1$}", column[row], width(column)));
            text.extend([format!("{name:names$}")].into_iter().chain(cells));
            text.push('\n');
        }
    }
}

/// How many columns fit, at least one.
fn fitting(columns: &[Vec<String>], within: usize) -> usize {
    let mut used = 0;
    let fits = columns.iter().take_while(|column| {
        used += GAP.len() + width(column);
        used <= within
    });
    fits.count().max(1)
}

fn width(column: &[String]) -> usize {
    column.iter().map(|cell| cell.chars().count()).max().unwrap_or_default()
}

/// A cell without quartiles if they equal the median.
pub fn cell(unit: Unit, quartiles: Option<Quartiles>) -> String {
    let Some(Quartiles { lower, median, upper }) = quartiles else { return "–".to_owned() };
    let [lower, median, upper] = [lower, median, upper].map(|it| unit.format(it));
    if lower == upper { median } else { format!("{median} [{lower}–{upper}]") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::bench::results::tests::results;

    #[test]
    fn each_group_is_a_table_of_the_contenders_with_a_figure() {
        let text = text(&results());
        assert!(
            text.contains("\n3 starts of each\nrelay has A_VARIABLE\nrelay is static, "),
            "{text}"
        );
        let expected = "
=== at full speed

On disk
       file, bytes
relay      1000000

Cold start
         first next, ms
floor  1.00 [0.95–1.20]
relay  1.20 [1.15–1.25]

Idle
             threads
relay  9 [8–10]

What the agent waits for a post of 3 kB
               p50, µs   20 at once, 1/s
relay  50.0 [45.0–55.0]  2000 [1500–2500]

Added to an invocation
      wait, no report, ms
none    0.00 [-0.50–0.50]
floor   0.50 [-0.25–0.75]
";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed(&text).ends_with(&squeezed(expected)), "{text}");
    }

    #[test]
    fn a_table_that_is_too_wide_continues_below() {
        let column = || vec!["x".repeat(50)];
        assert_eq!(fitting(&[column(), column(), column()], 110), 2);
        assert_eq!(fitting(&[column()], 10), 1);
    }
}
