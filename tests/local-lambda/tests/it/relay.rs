//! The scenarios for relays can break, and do not apply to an extension that relays nothing. `extensions.rs`
//! runs them with correct relays and with each fault.

use std::num::NonZeroUsize;

use local_lambda::conformance::{Finding, Kind, Subject, Verdict, play, scenarios};

use crate::FLOOR;

fn findings(variables: &[(&str, &str)]) -> Vec<Finding> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let variables = variables.iter().map(owned).collect();
    let subject = Subject { variables, ..Subject::new(FLOOR) };
    let mut chosen = scenarios();
    chosen.retain(|it| it.kind == Kind::Relay);
    assert!(chosen.len() > 70, "{} scenarios", chosen.len());
    play(&subject, &chosen, NonZeroUsize::new(4).unwrap(), |_| {})
}

#[test]
fn no_relay_scenario_applies_to_an_extension_that_relays_nothing() {
    for finding in findings(&[]) {
        let applies = !matches!(finding.verdict, Verdict::DoesNotApply(_));
        assert!(!applies, "{finding:?}");
    }
}

#[test]
fn a_relay_that_takes_no_report_breaks_each_scenario_with_an_agent() {
    let findings = findings(&[("PORT", "{port}"), ("REMOTE", "{remote}"), ("CA", "{ca}")]);
    for finding in findings.iter().filter(|it| it.scenario != "local-port-taken") {
        assert!(matches!(finding.verdict, Verdict::Broke(_)), "{finding:?}");
    }
}
