//! Bar charts as SVG.

use maud::{Markup, html};

use super::figure::Unit;
use super::table::cell;
use crate::command::quartiles::Quartiles;

pub struct Bar {
    pub name: String,
    pub quartiles: Quartiles,
    /// Whether the bar is coloured, because it belongs to an extension under test.
    pub is_subject: bool,
}

/// The width in SVG units.
pub const WIDTH: usize = 420;
const TITLE: usize = 26;
const ROW: usize = 22;
const BAR: usize = 12;
const NAMES: usize = 120;
const BARS: usize = 170;

/// The style for all documents with plots. Its colours suit light and dark pages, and paper.
pub const STYLE: &str = "\
    .plot { font: 12px system-ui, sans-serif; }\
    .plot text { fill: #1f2933; } .plot .title { font-weight: 600; }\
    .plot .other { fill: #b8c2cc; } .plot .subject { fill: #2f6fd0; }\
    .plot line { stroke: #1f2933; stroke-width: 1.5; }\
    @media (prefers-color-scheme: dark) {\
    .plot text { fill: #e4e9ee; } .plot .other { fill: #55616e; } .plot .subject { fill: #6aa2f5; }\
    .plot line { stroke: #e4e9ee; } }\
    @media print { .plot text { fill: #000; } .plot line { stroke: #000; } }";

pub fn height(bars: usize) -> usize {
    TITLE + ROW * bars + 4
}

/// One figure of all contenders, with its corner at `x` and `y` of the document. Bars end at the median. The
/// line across a bar's end goes from quartile to quartile.
pub fn plot(heading: &str, unit: Unit, bars: &[Bar], [x, y]: [usize; 2]) -> Markup {
    let longest = bars.iter().map(|bar| bar.quartiles.upper).fold(f64::MIN_POSITIVE, f64::max);
    let scaled = |value: f64| value.max(0.0) / longest * pixels(BARS);
    html! {
        svg class="plot" x=(x) y=(y) width=(WIDTH) height=(height(bars.len()))
            viewBox=(format!("0 0 {WIDTH} {}", height(bars.len()))) role="img" aria-label=(heading) {
            text class="title" x="0" y="16" { (heading) }
            @for (row, bar) in bars.iter().enumerate() {
                @let Bar { name, quartiles, is_subject } = bar;
                @let top = TITLE + ROW * row;
                @let middle = top + BAR / 2 + 1;
                @let Quartiles { lower, median, upper } = *quartiles;
                @let end = pixels(NAMES) + scaled(upper).max(scaled(median));
                text x=(NAMES - 8) y=(middle + 4) text-anchor="end" { (name) }
                rect class=(if *is_subject { "subject" } else { "other" }) x=(NAMES) y=(top + 1)
                    width=(tenths(scaled(median).max(1.0))) height=(BAR) rx="2" {}
                line x1=(tenths(pixels(NAMES) + scaled(lower))) y1=(middle)
                    x2=(tenths(pixels(NAMES) + scaled(upper))) y2=(middle) {}
                text x=(tenths(end + 6.0)) y=(middle + 4) { (median_of(unit, *quartiles)) }
            }
        }
    }
}

/// The median alone, because the spread is drawn.
fn median_of(unit: Unit, Quartiles { median, .. }: Quartiles) -> String {
    cell(unit, Some(Quartiles { lower: median, median, upper: median }))
}

fn pixels(count: usize) -> f64 {
    f64::from(u16::try_from(count).expect("a length within a picture"))
}

fn tenths(length: f64) -> String {
    format!("{length:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_escaped_as_text() {
        let quartiles = Quartiles { lower: 1.0, median: 2.0, upper: 4.0 };
        let bars = [Bar { name: "<b>&".to_owned(), quartiles, is_subject: true }];
        let svg = plot("size", Unit::Count, &bars, [0, 0]).into_string();
        assert!(svg.contains("&lt;b&gt;&amp;") && !svg.contains("<b>"), "{svg}");
        assert!(svg.contains(r#"width="85.0""#) && svg.contains(r#"x2="290.0""#), "{svg}");
    }
}
