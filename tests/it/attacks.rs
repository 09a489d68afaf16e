//! The attacks of `local-lambda conformance` on this extension's local port, with the results that SECURITY.md
//! documents.

use std::fs;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use local_lambda::conformance::{ONLY_LATE, Verdict, attacks, play};

use crate::support::closing_line::is_closing;
use crate::support::protocol::Protocol::Otlp;

/// The attacks that harm this release, and why. SECURITY.md describes the remedies.
const NOT_BORNE: [(&str, &str); 9] = [
    ("attack-resets-after-report", "tiny_http panics at each, and the kernel's queue overflows"),
    ("attack-resets-inside-body", "as before"),
    ("attack-later-versions", "tiny_http waits for itself at each, for ever"),
    ("attack-giant-header-lines", "tiny_http reads a head of any length into memory"),
    ("attack-unread-answers", "tiny_http reads on and on, whoever takes the answers"),
    ("attack-lengths-beyond-memory", "what tiny_http would allocate ends the process: given up"),
    ("attack-idle-connections", "tiny_http has some connections wait for those before, at times"),
    ("attack-stalled-heads", "as those"),
    ("attack-idle-connections-beyond-descriptors", "tiny_http has no limit for connections"),
];

/// Held by one attack at a time, because two together would be another attack.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Ignores how long answers take, because other tests load the machine. SECURITY.md has the command that checks
/// the times too.
#[test]
#[ignore = "takes minutes"]
fn it_bears_every_attack_but_those_that_are_listed() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut borne = attacks();
    borne.retain(|attack| !is_listed(attack.name));
    let subject = Otlp.subject(&[("THUNDRA_EXTENSION_LOG_LEVEL", "info")]);
    let findings = play(&subject, &borne, NonZeroUsize::MIN, |_| {});
    let is_borne = |verdict: &Verdict| match verdict {
        Verdict::Held(seen) => is_balanced(seen),
        Verdict::Broke(seen) => seen.starts_with(ONLY_LATE) && is_balanced(seen),
        _ => false,
    };
    let broken: Vec<_> = findings.iter().filter(|it| !is_borne(&it.verdict)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Whether the closing line, which is the last one, counts no losses except refused reports.
fn is_balanced(seen: &str) -> bool {
    let begins = format!(" {} to http", Otlp.name());
    let Some((_, told)) = seen.rsplit_once(&begins) else { return false };
    let lost = told.split_once(", lost: ").map_or("", |(_, lost)| lost);
    let is_refusal = |cause: &str| cause.is_empty() || cause.contains(" refused as ");
    is_closing(told) && lost.split(", ").all(is_refusal)
}

fn is_listed(attack: &str) -> bool {
    NOT_BORNE.iter().any(|(name, _)| *name == attack)
}

#[test]
fn each_attack_is_told_of_and_so_is_what_is_not_borne() {
    let told = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md")).unwrap();
    let (_, why) = told.split_once("\n## Attacks that do harm").unwrap();
    let row = |name: &str| told.lines().find(|line| line.contains(&format!("`{name}`")));
    for attack in attacks() {
        let row = row(attack.name).unwrap_or_else(|| panic!("no row for {}", attack.name));
        assert!(!row.contains("| BROKE |") || is_listed(attack.name), "{row}");
        let is_explained = why.contains(&format!("`{}`", attack.name));
        assert_eq!(is_explained, is_listed(attack.name), "{}", attack.name);
    }
    let unknown = NOT_BORNE.iter().find(|(name, _)| !attacks().iter().any(|it| it.name == *name));
    assert_eq!(unknown, None);
}
