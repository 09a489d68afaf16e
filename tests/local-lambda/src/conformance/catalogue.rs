//! All scenarios, in the order of an extension's life.

use super::{
    Scenario, attack, environments, initializations, neighbours, polling, protocol_variants,
    registration, relay, resets, resource_use, shutdown,
};

pub fn all() -> Vec<Scenario> {
    let of_any = [
        registration::SCENARIOS,
        environments::SCENARIOS,
        initializations::SCENARIOS,
        polling::SCENARIOS,
        protocol_variants::SCENARIOS,
        resets::SCENARIOS,
        neighbours::SCENARIOS,
        resource_use::SCENARIOS,
        shutdown::SCENARIOS,
    ]
    .concat();
    [of_any, relay::all()].concat()
}

pub fn attacks() -> Vec<Scenario> {
    attack::all()
}

/// Whether the scenario mostly waits, so that others can run beside it.
pub fn sleeps(scenario: &Scenario) -> bool {
    [polling::NEXT_HELD, polling::LONG_FREEZE].contains(&scenario.name)
}
