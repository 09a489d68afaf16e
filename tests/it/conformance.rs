//! The sandbox's conformance suite, played with this extension.

use std::num::NonZeroUsize;

use sandbox::conformance::{Finding, Subject, Verdict, play, scenarios};

use crate::trial::binary;

/// What this release can't hold yet: the scenario, how often it breaks, and why.
const NOT_YET: [(&str, Breaks, &str); 1] = [(
    "malformed-stalled-connections",
    Breaks::OnABusyMachine,
    "of connections that come in one burst and say nothing, tiny_http's pool leaves some \
         without a thread, and with them the agent's that comes next",
)];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Breaks {
    OnABusyMachine,
}

/// Most scenarios wait most of the time.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(6).expect("six is not zero");

#[test]
fn it_holds_every_scenario_but_those_that_are_listed() {
    let variables =
        [("THUNDRA_EXTENSION_PORT", "{port}"), ("THUNDRA_EXTENSION_COLLECTOR_URL", "{remote}/v1")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let subject = Subject { variables: variables.to_vec(), ..Subject::new(binary()) };
    let findings = play(&subject, &scenarios(), AT_ONCE, |_| {});

    let unexpected: Vec<_> = findings.iter().filter(|finding| !is_expected(finding)).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let unknown = NOT_YET.iter().find(|(name, ..)| !findings.iter().any(|it| it.scenario == *name));
    assert_eq!(unknown, None, "no such scenario");
}

/// One that is listed has to break: else it can be taken off the list.
fn is_expected(finding: &Finding) -> bool {
    let listed = NOT_YET.iter().find(|(name, ..)| *name == finding.scenario);
    match (&finding.verdict, listed) {
        (Verdict::Held(_), Some((_, breaks, _))) => *breaks == Breaks::OnABusyMachine,
        (Verdict::Broke(_), listed) => listed.is_some(),
        // Which of them do depends on the machine: without root, or without cgroups.
        (Verdict::Held(_), None) | (Verdict::DoesNotApply(_), _) => true,
    }
}
