//! Decides whether all budgets are kept.

use std::io;

use super::budget::{Budget, Outcome};
use super::measure::Measure;
use super::results::Results;
use super::size::Size;

/// How often a broken budget is measured again. If it is kept at least once, the machine caused the excess.
/// A budget that noise breaks one time in five then fails one run in 600.
const RETRIES_MAX: usize = 3;

/// Checks the budgets with these results, and broken ones with the results of measuring `again`. Reports each
/// finding.
///
/// # Errors
///
/// When it cannot be reported, or not be measured.
pub fn are_kept(
    budgets: &[Budget],
    results: &Results,
    mut again: impl FnMut(&[(Size, Measure)]) -> io::Result<Results>,
    say: impl Fn(&str) -> io::Result<()>,
) -> io::Result<bool> {
    let Some(mut broken) = check(budgets.iter(), results, &say)? else { return Ok(false) };
    for _ in 0..RETRIES_MAX {
        let plan = plan(&broken);
        // A file's size does not change, so such a budget stays broken.
        let is_of_a_file =
            |it: &&Budget| !plan.iter().any(|(size, measure)| it.is_about(*size, *measure));
        if plan.is_empty() || broken.iter().any(is_of_a_file) {
            break;
        }
        say("once more:")?;
        let results = again(&plan)?;
        let still = check(broken.into_iter(), &results, &say)?;
        let Some(still) = still else { return Ok(false) };
        broken = still;
    }
    Ok(broken.is_empty())
}

/// The broken budgets. `None` if one was not measured, because measuring again would not help.
fn check<'a>(
    budgets: impl Iterator<Item = &'a Budget>,
    results: &Results,
    say: impl Fn(&str) -> io::Result<()>,
) -> io::Result<Option<Vec<&'a Budget>>> {
    let (mut broken, mut are_measured) = (Vec::new(), true);
    for budget in budgets {
        let finding = budget.check(results);
        say(&finding.line)?;
        match finding.outcome {
            Outcome::Kept => {}
            Outcome::Broken => broken.push(budget),
            Outcome::NotMeasured => are_measured = false,
        }
    }
    Ok(are_measured.then_some(broken))
}

/// The measures that the broken budgets need. Budgets about files need none.
fn plan(broken: &[&Budget]) -> Vec<(Size, Measure)> {
    let is_needed = |(size, measure): &(Size, Measure)| {
        broken.iter().any(|budget| budget.is_about(*size, *measure))
    };
    Measure::at_each_size().filter(is_needed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::bench::budget;
    use crate::command::bench::results::tests::{results, results_with};
    use std::cell::RefCell;

    const KEPT: &str = "threads(relay) <= 12";
    const BROKEN: &str = "first_next(relay) <= 1.19 * first_next(floor)";

    type Plan = Vec<(Size, Measure)>;

    /// The verdict, the measures that were repeated to give these results in turn, and the printed lines.
    fn verdict(
        budgets: &str,
        again: Vec<io::Result<Results>>,
    ) -> (Option<bool>, Vec<Plan>, Vec<String>) {
        let (mut plans, mut again) = (Vec::new(), again.into_iter());
        let said = RefCell::new(Vec::new());
        let is_kept = are_kept(
            &budget::parse(budgets).unwrap(),
            &results(),
            |plan| {
                plans.push(plan.to_vec());
                again.next().expect("it is not measured more often")
            },
            |line| {
                said.borrow_mut().push(line.to_owned());
                Ok(())
            },
        );
        assert_eq!(again.count(), 0, "all that are there are asked for");
        (is_kept.ok(), plans, said.into_inner())
    }

    #[test]
    fn kept_and_unmeasured_budgets_are_not_measured_again() {
        let (is_kept, plans, said) = verdict(KEPT, vec![]);
        assert_eq!((is_kept, plans.len(), said.len()), (Some(true), 0, 1));
        for unmeasured in ["once(relay) >= 1", "[128]\nthreads(relay) <= 12", "posts(x) >= 1"] {
            let (is_kept, plans, said) = verdict(&format!("{BROKEN}\n{unmeasured}"), vec![]);
            assert_eq!((is_kept, plans.len(), said.len()), (Some(false), 0, 2));
        }
    }

    #[test]
    fn only_broken_budgets_are_measured_again_and_one_kept_try_is_enough() {
        let better = || Ok(results_with("first_next", [0.9, 1.0, 1.4]));
        let (is_kept, plans, said) = verdict(&format!("{KEPT}\n{BROKEN}"), vec![better()]);
        assert_eq!((is_kept, plans), (Some(true), vec![vec![(Size::Full, Measure::Start)]]));
        assert_eq!((said.len(), said[2].as_str()), (4, "once more:"));
        assert!(said[1].starts_with("BROKEN") && said[3].starts_with("kept"), "{said:?}");
        let (is_kept, plans, _) = verdict(BROKEN, vec![Ok(results()), better()]);
        assert_eq!((is_kept, plans.len()), (Some(true), 2));
    }

    #[test]
    fn a_budget_that_is_broken_each_time_stays_broken_and_a_try_that_fails_is_an_error() {
        let again = (0..RETRIES_MAX).map(|_| Ok(results())).collect();
        let (is_kept, plans, _) = verdict(BROKEN, again);
        assert_eq!((is_kept, plans.len()), (Some(false), RETRIES_MAX));
        let (is_kept, ..) = verdict(BROKEN, vec![Err(io::Error::other("it ended"))]);
        assert_eq!(is_kept, None);
        let mut none = results();
        none.sizes.clear();
        assert_eq!(verdict(BROKEN, vec![Ok(none)]).0, Some(false), "not measured is not kept");
    }

    #[test]
    fn nothing_is_measured_again_for_a_file() {
        for beside in ["", BROKEN, "[128]\nthreads(relay) <= 1"] {
            let (is_kept, plans, _) = verdict(&format!("binary(relay) <= 1\n{beside}"), vec![]);
            assert_eq!((is_kept, plans.len()), (Some(false), 0), "{beside}");
        }
    }
}
