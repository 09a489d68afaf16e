//! The attacks of `local-lambda conformance` on this extension's local ports, with the results that SECURITY.md
//! documents.

use std::fs;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use local_lambda::conformance::{ONLY_LATE, Verdict, attacks, play};
use rstest::rstest;

use crate::support::closing_line::is_closing;
use crate::support::protocol::Protocol::{self, Otlp, Thundra};

/// The attacks that do harm at Thundra's port, and why. SECURITY.md says what a mend would take.
const HARMFUL: [(&str, &str); 10] = [
    ("attack-resets-after-report", "tiny_http panics at each, and the kernel's queue overflows"),
    ("attack-resets-inside-body", "as attack-resets-after-report"),
    ("attack-later-versions", "each makes a thread of tiny_http wait for itself forever"),
    ("attack-giant-header-lines", "tiny_http reads a head of any length into memory"),
    ("attack-pipelines", "as attack-unread-answers, on a busy machine"),
    ("attack-unread-answers", "tiny_http reads requests although nobody reads the responses"),
    (
        "attack-lengths-beyond-memory",
        "tiny_http would allocate the length, so the request is never released",
    ),
    ("attack-idle-connections", "tiny_http sometimes lets a connection wait for an earlier one"),
    ("attack-stalled-heads", "as attack-idle-connections"),
    ("attack-idle-connections-beyond-descriptors", "tiny_http has no limit for connections"),
];

/// Held by one attack at a time, because two together would be another attack.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Ignores how long answers take, because other tests load the machine. SECURITY.md has the command that checks
/// the times too.
#[rstest]
#[ignore = "takes minutes"]
fn every_attack_does_no_harm_except_the_listed_ones_at_thundras_port(
    #[values(Thundra, Otlp)] protocol: Protocol,
) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut harmless = attacks();
    harmless.retain(|attack| protocol == Otlp || !is_listed(attack.name));
    let subject = protocol.subject(&[("THUNDRA_EXTENSION_LOG_LEVEL", "info")]);
    let findings = play(&subject, &harmless, NonZeroUsize::MIN, |_| {});
    let is_held = |verdict: &Verdict| match verdict {
        Verdict::Held(seen) => is_balanced(seen, protocol),
        // On a busy machine, a flood of whole reports may come faster than they leave.
        Verdict::Broke(seen) => {
            (seen.starts_with(ONLY_LATE) || is_only_full(seen)) && is_balanced(seen, protocol)
        }
        _ => false,
    };
    let broken: Vec<_> = findings.iter().filter(|it| !is_held(&it.verdict)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Whether nothing happened except that the buffer was full for a moment.
fn is_only_full(seen: &str) -> bool {
    let causes = seen.split("; ").take_while(|it| !it.ends_with(" attackers"));
    causes.clone().count() > 0 && causes.into_iter().all(|it| it.ends_with("failed: answered 413"))
}

/// Whether the closing line, which is the last one, counts no losses except refused reports.
fn is_balanced(seen: &str, protocol: Protocol) -> bool {
    let begins = format!(" {} to http", protocol.name());
    let Some((_, counts)) = seen.rsplit_once(&begins) else { return false };
    let lost = counts.split_once(", lost: ").map_or("", |(_, lost)| lost);
    let is_refusal = |cause: &str| cause.is_empty() || cause.contains(" refused as ");
    is_closing(counts) && lost.split(", ").all(is_refusal)
}

fn is_listed(attack: &str) -> bool {
    HARMFUL.iter().any(|(name, _)| *name == attack)
}

#[test]
fn security_md_has_a_row_for_each_attack_and_explains_each_harmful_one() {
    let security = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md")).unwrap();
    let (_, why) = security.split_once("\n## Attacks that do harm at Thundra's port").unwrap();
    let row = |name: &str| security.lines().find(|line| line.contains(&format!("`{name}`")));
    for attack in attacks() {
        let row = row(attack.name).unwrap_or_else(|| panic!("no row for {}", attack.name));
        assert!(row.contains(&format!("| {} |", attack.proves)), "{row}");
        let columns: Vec<&str> = row.split(" | ").collect();
        assert!(columns[2] == "held" || is_listed(attack.name), "{row}");
        assert_eq!(columns[3], "held", "at OTLP's port: {row}");
        let is_explained = why.contains(&format!("`{}`", attack.name));
        assert_eq!(is_explained, is_listed(attack.name), "{}", attack.name);
    }
    let unknown = HARMFUL.iter().find(|(name, _)| !attacks().iter().any(|it| it.name == *name));
    assert_eq!(unknown, None);
}
