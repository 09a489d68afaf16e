//! Integration tests. Each runs the real binary on a local Lambda, with the test's own agents and remote
//! collector.
//!
//! `EXTENSION_BINARY` names another build of the same program, such as the static one of a layer.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows tests, but not what they call, by themselves"
)]

mod support;

mod attacks;
mod captures;
mod certificates;
mod concurrent_clients;
mod configuration;
mod conformance;
mod connections;
mod delivery;
mod destination;
mod early_responses;
mod end_strategy;
mod endurance;
#[cfg(feature = "faults")]
mod failpoints;
mod fault_matrix;
mod final_report;
mod flush_strategies;
mod frozen_phases;
mod gate;
mod hostile_remotes;
mod layers;
mod lifecycle;
mod local_collector;
mod logging;
mod long_freezes;
mod otlp;
mod overhead;
mod peers;
mod poison_reports;
mod readme;
mod refusals;
mod remote_log_lines;
mod resolver;
mod resource_exhaustion;
mod slow_connections;
mod slow_remote_at_shutdown;
mod telemetry;
mod two_remotes;
mod unconfigured;
mod unreadable_responses;
mod wrapper;
