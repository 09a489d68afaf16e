//! Attacks on the local port, each repeated a hundred or a thousand times, while two healthy agents post. Any
//! code in the function can reach that port. Its bytes must harm neither the agents nor the function, and must
//! leave nothing behind.

mod connections;
mod healthy;
mod heads;
mod lengths;
mod attack_run;
mod volley;

pub use self::attack_run::ONLY_LATE;
use super::{Kind, Scenario, Subject, Verdict};

/// All attacks, from single bytes to many connections.
pub fn all() -> Vec<Scenario> {
    [heads::ALL, lengths::ALL, connections::ALL].concat()
}

const fn attack(
    name: &'static str,
    proves: &'static str,
    source: &'static str,
    play: fn(&Subject) -> Verdict,
) -> Scenario {
    Scenario { kind: Kind::Attack, name, proves, source, play }
}
