//! Tests of OTLP alone: its answers, its signals and encodings, and its remotes.

pub mod responses;
mod delivery;
mod port;
mod remotes;
mod server;

use local_lambda::otlp::{self, Encoding, Signal};

use crate::support::report::Report;

const ENCODINGS: [Encoding; 2] = [Encoding::Protobuf, Encoding::Json];

/// A report whose items have these names.
fn report(signal: Signal, encoding: Encoding, names: &[&str]) -> Report {
    let body = match signal {
        Signal::Traces => otlp::traces(names, encoding),
        Signal::Metrics => otlp::metrics(names, encoding),
        Signal::Logs => otlp::logs(names, encoding),
    };
    Report::of(signal, encoding, body)
}
