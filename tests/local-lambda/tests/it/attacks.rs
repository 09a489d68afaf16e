//! The attacks on the port of a relay. They distinguish a relay that survives them from one that does not.

use serde_json::Value;

use crate::extensions::Packed;

fn play(fault: &str, attack: &str) -> (String, String) {
    let output =
        Packed::new("relay_faults").conformance(fault).args(["--json", "--only", attack]).output();
    let told: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let text = |key: &str| told["findings"][0][key].as_str().unwrap().to_owned();
    (text("verdict"), text("seen"))
}

#[test]
fn a_relay_that_serves_one_client_at_a_time_fails_the_attacks_with_slow_clients() {
    let (verdict, seen) = play("SingleThreaded", "attack-slow-bodies");
    assert!(verdict == "broke" && seen.contains("reports on a new connection failed"), "{seen}");
}

#[test]
fn a_relay_that_ends_at_a_reset_fails_the_attacks_with_resets() {
    let (verdict, seen) = play("CrashesOnReset", "attack-resets-inside-body");
    // The extension's crash ends the runtime too. Either an agent or the platform notices that first.
    let is_a_crash = ["no response", "Extension.Crash"].iter().any(|it| seen.contains(it));
    assert!(verdict == "broke" && is_a_crash, "{seen}");
}
