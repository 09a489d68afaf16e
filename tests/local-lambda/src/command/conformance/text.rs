//! The texts about scenarios and findings, for people and for machines.

use std::num::NonZeroUsize;

use local_lambda::conformance::{Finding, Scenario, Verdict};
use serde_json::json;

pub fn heading(scenarios: usize, at_once: NonZeroUsize, host_limits: Option<&str>) -> String {
    let note = host_limits.map(|it| format!("{it}\n")).unwrap_or_default();
    format!("{scenarios} scenarios, {at_once} at a time\n{note}\n")
}

pub fn line(nth: usize, finding: &Finding, scenarios: &[Scenario]) -> String {
    let count = scenarios.len();
    let width = scenarios.iter().map(|it| it.name.len()).max().unwrap_or_default();
    let (word, seen) = word_and_seen(&finding.verdict);
    format!(
        "{nth:>3}/{count}  {word:<14}  {:<width$}  {:>5.1} s  {}\n",
        finding.scenario,
        finding.took.as_secs_f64(),
        seen.lines().next().unwrap_or_default()
    )
}

fn word_and_seen(verdict: &Verdict) -> (&'static str, &str) {
    match verdict {
        Verdict::Held(seen) => ("held", seen),
        Verdict::Broke(seen) => ("BROKE", seen),
        Verdict::DoesNotApply(why) => ("does not apply", why),
        Verdict::NotPlayed(why) => ("NOT PLAYED", why),
    }
}

pub fn table(findings: &[Finding]) -> String {
    let rows = findings.iter().map(|finding| {
        let (word, seen) = word_and_seen(&finding.verdict);
        let seen = seen.lines().next().unwrap_or_default().replace('|', "/");
        format!("| `{}` | {} | {word} | {seen} |\n", finding.scenario, finding.proves)
    });
    format!(
        "| scenario | proves | verdict | seen |\n| --- | --- | --- | --- |\n{}",
        rows.collect::<String>()
    )
}

pub fn summary(findings: &[Finding]) -> String {
    let count = |is_it: fn(&Verdict) -> bool| {
        findings.iter().filter(|finding| is_it(&finding.verdict)).count()
    };
    let mut text = format!(
        "\n{} held, {} broke, {} do not apply",
        count(|it| matches!(it, Verdict::Held(_))),
        count(|it| matches!(it, Verdict::Broke(_))),
        count(|it| matches!(it, Verdict::DoesNotApply(_)))
    );
    let not_played = count(|it| matches!(it, Verdict::NotPlayed(_)));
    let rest = (not_played > 0).then(|| format!(", {not_played} could not be played"));
    text.extend(rest);
    text.push('\n');
    for finding in findings {
        let (word, seen) = word_and_seen(&finding.verdict);
        if matches!(finding.verdict, Verdict::Broke(_) | Verdict::NotPlayed(_)) {
            let Finding { scenario, proves, source, .. } = finding;
            let seen = seen.replace('\n', "\n      ");
            for line in [
                format!("\n{word} {scenario}\n"),
                format!("  proves: {proves}\n"),
                format!("  source: {source}\n"),
                format!("  seen:   {seen}\n"),
            ] {
                text.push_str(&line);
            }
        }
    }
    text
}

pub fn json(findings: &[Finding], host_limits: Option<&str>) -> String {
    format!("{}\n", json!({ "shortfall": host_limits, "findings": findings }))
}

pub fn list(scenarios: &[Scenario], as_json: bool) -> String {
    if as_json {
        let entry = |it: &Scenario| {
            let Scenario { kind, name, proves, source, .. } = *it;
            json!({ "scenario": name, "kind": kind, "proves": proves, "source": source })
        };
        let entries: Vec<_> = scenarios.iter().map(entry).collect();
        return format!("{}\n", json!({ "scenarios": entries }));
    }
    let entry = |it: &Scenario| {
        let Scenario { kind, name, proves, source, .. } = it;
        format!("{name} ({kind})\n  {proves}\n  {source}\n")
    };
    scenarios.iter().map(entry).collect()
}
