//! The attacks of `local-lambda conformance` on this extension's local port, and what SECURITY.md
//! says of them.

use std::fs;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use local_lambda::conformance::{ONLY_LATE, Verdict, attacks, play};

use crate::support::closing_line::is_closing;
use crate::support::protocol::Protocol::Otlp;

/// What this release does not bear, and why; SECURITY.md tells what it would take.
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

/// Two attacks at the same time would be one that nobody means.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// But for the times of answers, which are those of a machine that does nothing else: see SECURITY.md
/// for the command that judges them too.
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

/// Whether the closing line, its last words, tells of no loss but of reports that were refused.
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
