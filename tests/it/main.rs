//! Integration tests: each drives the real binary on a local Lambda, with agents and a remote
//! collector of the test's own.
//!
//! `EXTENSION_BINARY` names another build of the same program, such as the static one of a layer.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows tests, but not what they call, by themselves"
)]

mod both;
mod cells;
mod closing_line;
mod dialect;
mod name_server;
mod namespaces;
mod relay;
mod report;
mod subscriptions;
mod trial;

mod acknowledged;
mod attacks;
mod captures;
mod certificates;
mod configuration;
mod conformance;
mod connections;
mod crowds;
mod delivery;
mod destination;
mod early_answers;
mod end;
mod endurance;
mod freezing;
mod frozen_phases;
mod hostile_remotes;
#[cfg(feature = "faults")]
mod inside_failures;
mod last_word;
mod layers;
mod lifecycle;
mod local_collector;
mod matrix;
mod otlp;
mod overhead;
mod peers;
mod quiet;
mod readme;
mod refusals;
mod remote_lines;
mod resolver;
mod shortage;
mod slow_connections;
mod strategies;
mod suspects;
mod telemetry;
mod two_remotes;
mod unconfigured;
mod unreadable;
mod wrapper;
