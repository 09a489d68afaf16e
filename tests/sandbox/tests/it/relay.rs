//! The scenarios for relays can fail, and leave alone who relays nothing. With relays that are
//! correct, and with each fault, `extensions.rs` plays them.

use std::num::NonZeroUsize;

use sandbox::conformance::{Finding, Scenario, Subject, Verdict, play, scenarios};

use crate::FLOOR;

/// The names of the scenarios for relays begin with one of these.
const KINDS: [&str; 8] =
    ["relay-", "local-", "malformed-", "freeze-", "idle-", "shutdown-", "memory-", "log-"];

fn findings(variables: &[(&str, &str)]) -> Vec<Finding> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let variables = variables.iter().map(owned).collect();
    let subject = Subject { variables, ..Subject::new(FLOOR) };
    let is_for_relays = |it: &Scenario| KINDS.iter().any(|kind| it.name.starts_with(kind));
    let chosen: Vec<Scenario> = scenarios().into_iter().filter(is_for_relays).collect();
    assert!(chosen.len() > 70, "{} scenarios", chosen.len());
    play(&subject, &chosen, NonZeroUsize::new(4).unwrap(), |_| {})
}

#[test]
fn no_scenario_for_relays_applies_to_who_relays_nothing() {
    for finding in findings(&[]) {
        let applies = !matches!(finding.verdict, Verdict::DoesNotApply(_));
        assert!(!applies, "{finding:?}");
    }
}

#[test]
fn who_takes_no_report_breaks_each_scenario_in_which_an_agent_reports() {
    let findings = findings(&[("PORT", "{port}"), ("REMOTE", "{remote}")]);
    for finding in findings.iter().filter(|it| it.scenario != "local-port-taken") {
        assert!(matches!(finding.verdict, Verdict::Broke(_)), "{finding:?}");
    }
}

#[test]
fn each_scenario_has_a_name_of_its_own_a_sentence_and_a_source() {
    let all = scenarios();
    let mut names: Vec<&str> = all.iter().map(|it| it.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len());
    for Scenario { name, proves, source, .. } in all {
        assert!(proves.ends_with('.') && !proves.contains("  "), "{name}: {proves}");
        assert!(!source.is_empty(), "{name}");
    }
}
