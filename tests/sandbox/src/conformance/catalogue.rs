//! All scenarios, in the order of an extension's life.

use super::{
    Scenario, attack, environments, frugality, initializations, neighbours, oddities, polling,
    registration, relay, resets, shutdown,
};

pub fn all() -> Vec<Scenario> {
    let of_any = [
        registration::SCENARIOS,
        environments::SCENARIOS,
        initializations::SCENARIOS,
        polling::SCENARIOS,
        oddities::SCENARIOS,
        resets::SCENARIOS,
        neighbours::SCENARIOS,
        frugality::SCENARIOS,
        shutdown::SCENARIOS,
    ]
    .concat();
    [of_any, relay::all()].concat()
}

pub fn attacks() -> Vec<Scenario> {
    attack::all()
}

/// Whether it waits so much longer than it works that it takes no place from others.
pub fn sleeps(scenario: &Scenario) -> bool {
    [polling::NEXT_HELD, polling::LONG_FREEZE].contains(&scenario.name)
}
