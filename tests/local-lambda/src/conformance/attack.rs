//! Attacks on the local port, each for itself and by the hundred or thousand, while two healthy
//! agents post. Anything in the function can reach that port; what it sends there must harm neither
//! the agents nor the function, and must leave nothing behind.

mod connections;
mod healthy;
mod heads;
mod lengths;
mod attack_run;
mod volley;

pub use self::attack_run::ONLY_LATE;
use super::{Kind, Scenario, Subject, Verdict};

/// From single bytes to whole crowds.
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
