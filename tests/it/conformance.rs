//! Runs the conformance suite of `local-lambda` with this extension.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use local_lambda::Standstills;
use local_lambda::conformance::{Finding, Scenario, Subject, Verdict, play, scenarios};

use crate::support::fixture::stood_still_since;
use crate::support::protocol::Protocol::{Otlp, Thundra};

/// The scenarios that this release may break: the allowed result, and the reason.
const EXCUSED: [(&str, Excuse, &str); 4] = [
    (
        "malformed-stalled-connections",
        Excuse::MayBreak,
        "tiny_http's pool puts a connection that comes while its threads still wake up for those \
         before into a queue, the agent's too; on a busy machine all of these threads then wait \
         for connections that say nothing",
    ),
    ("lambdas-user", Excuse::MayNotApply, "only root can start a process as another user"),
    ("small-share-of-a-cpu", Excuse::MayNotApply, "it takes cgroups that can be written to"),
    ("relay-ipv6-only", Excuse::MayNotApply, "it takes IPv6"),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Excuse {
    MayBreak,
    /// It may not apply on some machines. All scenarios apply to this extension itself.
    MayNotApply,
}

/// How many scenarios run at a time. Most of them wait most of the time.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(12).expect("twelve is not zero");

/// Scenarios of more than 4 s. They begin first, so that no other has to wait for them at the end.
const LONG: [&str; 6] = [
    "steady-descriptors",
    "relay-managed-instances",
    "frozen-between-invocations",
    "function-timeout",
    "sleeps-while-idle",
    "freeze-long-before-answer",
];

/// Longer than any time limit of this extension's requests. The poll has none.
const NEXT_HELD: Duration = Duration::from_secs(12);

#[test]
fn it_passes_every_scenario_except_the_listed_ones() {
    let subject = Thundra.subject(&[("SSL_CERT_FILE", "{ca}")]);
    let subject = Subject { next_held: NEXT_HELD, ..subject };
    let findings = holds(&subject, &scenarios());
    let unknown = EXCUSED.iter().find(|(name, ..)| !findings.iter().any(|it| it.scenario == *name));
    assert_eq!(unknown, None, "no such scenario");
    let unknown = LONG.iter().find(|name| !findings.iter().any(|it| it.scenario == **name));
    assert_eq!(unknown, None, "no such scenario");
}

#[test]
#[ignore = "takes a minute"]
fn it_passes_the_scenarios_with_waits_of_more_than_a_minute() {
    let mut chosen = scenarios();
    chosen.retain(|it| ["next-held-open", "frozen-for-long"].contains(&it.name));
    assert_eq!(chosen.len(), 2);
    holds(&Thundra.subject(&[]), &chosen);
}

/// The other scenarios for relays use the protocol of Thundra's agents. Other tests of this crate cover the
/// same over OTLP.
#[test]
fn malformed_requests_do_no_harm_at_the_otlp_port() {
    let mut malformed = scenarios();
    malformed.retain(|it| it.name.starts_with("malformed-"));
    assert!(malformed.len() > 10);
    holds(&Otlp.subject(&[]), &malformed);
}

#[track_caller]
fn holds(subject: &Subject, scenarios: &[Scenario]) -> Vec<Finding> {
    let mut scenarios = scenarios.to_vec();
    scenarios.sort_by_key(|it| !LONG.contains(&it.name));
    let (began, standstills) = (Instant::now(), Standstills::watch());
    let mut findings = play(subject, &scenarios, AT_ONCE, |_| {});
    if stood_still_since(began, &standstills) {
        // Lambda's limits are those of real time, so each that broke is played again alone.
        for finding in findings.iter_mut().filter(|finding| !is_expected(finding)) {
            let is_its = |it: &&Scenario| it.name == finding.scenario;
            let scenario = scenarios.iter().find(is_its).expect("each finding is of a scenario");
            *finding = scenario.play(subject);
        }
    }
    let unexpected: Vec<_> = findings.iter().filter(|finding| !is_expected(finding)).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    findings
}

fn is_expected(finding: &Finding) -> bool {
    let excuse = EXCUSED.iter().find(|(name, ..)| *name == finding.scenario);
    let excuse = excuse.map(|(_, excuse, _)| *excuse);
    match &finding.verdict {
        Verdict::Held(_) => true,
        Verdict::Broke(_) => excuse == Some(Excuse::MayBreak),
        Verdict::DoesNotApply(_) => excuse == Some(Excuse::MayNotApply),
        Verdict::NotPlayed(_) => false,
    }
}
