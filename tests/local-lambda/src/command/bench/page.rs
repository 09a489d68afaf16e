//! The results as a page without external files, and as a picture.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::figure::{Figure, GROUPS, Group, named};
use super::plot::{self, Bar};
use super::results::{AtSize, Results};
use super::table::cell;

const STYLE: &str = "\
    :root { color-scheme: light dark; }\
    body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;\
    color: #1f2933; background: #fff; }\
    table { border-collapse: collapse; margin: .5rem 0 1rem; }\
    .wide { overflow-x: auto; }\
    th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #d5dbe1;\
    white-space: nowrap; font-variant-numeric: tabular-nums; }\
    th:first-child { text-align: left; } .subject th { font-weight: 700; }\
    .plots { display: flex; flex-wrap: wrap; gap: 1rem; }\
    @media (prefers-color-scheme: dark) { body { color: #e4e9ee; background: #14181d; }\
    th, td { border-color: #39434e; } }\
    @media print { body { color: #000; background: #fff; max-width: none; }\
    section { break-inside: avoid; } }";

/// The figures in the picture, at the first measured size.
const PICTURE: [&str; 6] =
    ["binary", "first_next", "idle_peak", "report_cpu", "post_p50", "silent_billed"];
const GAP: usize = 16;

pub fn page(results: &Results, subjects: &[String]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "What Lambda extensions cost" }
                style { (PreEscaped(STYLE)) (PreEscaped(plot::STYLE)) }
            }
            body {
                h1 { "What Lambda extensions cost" }
                p {
                    (results.machine.sentence()) ". Medians, with quartiles in brackets and as lines; "
                    "all contenders in turn in each round. On one machine ratios mean something; an \
                     absolute time is that machine's."
                }
                ul { @for line in results.conditions() { li { (line) } } }
                @for (size, at_size) in results.each_size() {
                    h2 { (capitalised(size.title())) }
                    @for group in GROUPS { (section(at_size, group, subjects)) }
                }
            }
        }
    };
    page.into_string()
}

fn section(at_size: AtSize<'_>, group: &Group, subjects: &[String]) -> Markup {
    let (figures, contenders) = at_size.table(group);
    html! {
        @if !figures.is_empty() {
            section {
                h3 { (group.title) }
                p { (group.how) }
                div class="wide" { table {
                    thead { tr { th {} @for figure in &figures { th { (figure.heading()) } } } }
                    tbody { @for contender in contenders {
                        tr class=[subjects.iter().any(|it| it == contender).then_some("subject")] {
                            th { (contender) }
                            @for figure in &figures {
                                td { (cell(figure.unit, at_size.quartiles(contender, figure))) }
                            }
                        }
                    } }
                } }
                div class="plots" {
                    @for figure in &figures {
                        (plot::plot(&headed(group, figure), figure.unit, &bars(at_size, figure, subjects), [0, 0]))
                    }
                }
            }
        }
    }
}

/// Two plots in a row. Figures that were not measured are absent.
pub fn picture(results: &Results, subjects: &[String]) -> Option<String> {
    let (_, at_size) = results.each_size().next()?;
    let plots: Vec<(&Group, &Figure, Vec<Bar>)> = PICTURE
        .into_iter()
        .filter_map(named)
        .filter_map(|figure| {
            let group = GROUPS.iter().find(|it| it.figures.iter().any(|it| it.name == figure.name));
            let bars = bars(at_size, figure, subjects);
            (!bars.is_empty()).then(|| group.map(|group| (*group, figure, bars)))?
        })
        .collect();
    let tallest = plot::height(plots.iter().map(|(.., bars)| bars.len()).max()?) + GAP;
    let [width, height] = [2 * plot::WIDTH + 3 * GAP, plots.len().div_ceil(2) * tallest + GAP];
    let svg = html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(width) height=(height)
            viewBox=(format!("0 0 {width} {height}")) {
            style { (PreEscaped(plot::STYLE)) }
            @for (place, (group, figure, bars)) in plots.iter().enumerate() {
                @let corner = [GAP + place % 2 * (plot::WIDTH + GAP), GAP + place / 2 * tallest];
                (plot::plot(&headed(group, figure), figure.unit, bars, corner))
            }
        }
    };
    Some(svg.into_string() + "\n")
}

fn headed(group: &Group, figure: &Figure) -> String {
    format!("{}: {}", group.title, figure.heading())
}

fn bars(at_size: AtSize<'_>, figure: &Figure, subjects: &[String]) -> Vec<Bar> {
    let bar = |name: &String| {
        let quartiles = at_size.quartiles(name, figure)?;
        Some(Bar { name: name.clone(), quartiles, is_subject: subjects.contains(name) })
    };
    at_size.contenders.iter().filter_map(bar).collect()
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |it| it.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::bench::results::tests::results;

    #[test]
    fn a_page_loads_nothing_from_elsewhere() {
        let page = page(&results(), &["relay".to_owned()]);
        assert!(page.contains("1.20 [1.15–1.25]") && page.contains("Added to an invocation"));
        for outside in ["http:", "https:", "src=", "href=", "url(", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_picture_has_a_plot_for_each_figure_that_was_measured() {
        let picture = picture(&results(), &["relay".to_owned()]).unwrap();
        // The picture itself, binary, first_next and post_p50. The figure for billed time without a report is
        // absent.
        assert_eq!(picture.matches("<svg").count(), 4, "{picture}");
    }
}
