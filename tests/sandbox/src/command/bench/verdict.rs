//! Whether the budgets are kept.

use std::io;

use super::budget::Budget;
use super::measure::Measure;
use super::results::Results;
use crate::command::output;

/// How often what is broken is measured again: what is not broken each time was the machine's doing.
const AGAIN: usize = 2;

/// Says of each budget whether it is kept, by these results or by those of another try.
///
/// # Errors
///
/// When that can't be said, or not be measured again.
pub fn verdict(
    budgets: &[Budget],
    results: &Results,
    again: impl Fn(&[Measure]) -> io::Result<Results>,
    is_json: bool,
) -> io::Result<bool> {
    // As JSON, the results have standard output for themselves.
    let say = |line: String| {
        if is_json {
            eprintln!("{line}");
            return Ok(());
        }
        output::print(&(line + "\n"))
    };
    let mut broken = check(budgets.iter().collect(), results, say)?;
    for _ in 0..AGAIN {
        if broken.is_empty() {
            break;
        }
        let concerned = |measure: &Measure| broken.iter().any(|budget| budget.is_about(*measure));
        let measures: Vec<Measure> = Measure::ALL.into_iter().filter(concerned).collect();
        let results = again(&measures)?;
        say("once more:".to_owned())?;
        broken = check(broken, &results, say)?;
    }
    Ok(broken.is_empty())
}

/// Those that are broken.
fn check<'a>(
    mut budgets: Vec<&'a Budget>,
    results: &Results,
    say: impl Fn(String) -> io::Result<()>,
) -> io::Result<Vec<&'a Budget>> {
    let findings: Vec<_> = budgets.iter().map(|budget| budget.check(results)).collect();
    let mut kept = findings.iter().map(|finding| finding.is_kept);
    budgets.retain(|_| !kept.next().expect("there is one of each"));
    findings.into_iter().try_for_each(|finding| say(finding.line))?;
    Ok(budgets)
}
