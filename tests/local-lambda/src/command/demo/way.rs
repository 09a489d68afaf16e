//! One of the two ways, with its own function, environment and collector.

use std::io;
use std::path::Path;
use std::time::Duration;

use local_lambda::agent::Family;
use local_lambda::conformance::filled_in;
use local_lambda::{Answer, Event, Invocation, Lambda, Remote, Setup, Status, free_port};
use serde::{Serialize, Serializer};
use serde_json::json;

use crate::command::code::built_in;
use crate::command::protocol::Protocol;
use crate::command::quartiles::Quartiles;
use crate::command::reports::Reports;
use crate::command::span::ms;

pub struct Way {
    remote: Remote,
    lambda: Lambda,
    init: Duration,
    invocations: Vec<Invocation>,
}

#[derive(Serialize)]
pub struct Outcome {
    pub cold_start: ColdStart,
    /// How long the callers of the warm function waited, in milliseconds.
    #[serde(serialize_with = "by_name")]
    pub latency: Quartiles,
    /// The billed time of all invocations of the warm function.
    pub billed_ms: u128,
    pub reports: Reports,
    /// The status of each failed invocation.
    pub failures: Vec<String>,
}

#[derive(Serialize)]
pub struct ColdStart {
    #[serde(rename = "init_ms", serialize_with = "as_ms")]
    pub init: Duration,
    #[serde(rename = "latency_ms", serialize_with = "as_ms")]
    pub latency: Duration,
    pub billed_ms: u128,
}

impl Way {
    pub fn direct(setup: Setup, agent: Family, latency: Duration) -> io::Result<Self> {
        let remote = collector(latency);
        let report_to = vec!["--report-to".to_owned(), remote.base_url()];
        let setup = setup.runtime(built_in(agent, report_to)?);
        Self::start(setup, remote)
    }

    pub fn through(
        extension: &Path,
        setup: Setup,
        agent: Family,
        latency: Duration,
    ) -> io::Result<Self> {
        let (remote, port) = (collector(latency), free_port());
        let runtime = built_in(agent, vec!["--port".to_owned(), port.to_string()])?;
        let setup = setup.extension(extension).runtime(runtime);
        let variables = Protocol::of(agent).variables();
        let variables = filled_in(&variables, port, &remote.origin(), None);
        let setup = variables.fold(setup, |setup, (name, value)| setup.env(name, &value));
        Self::start(setup, remote)
    }

    /// Runs the cold start, so that it does not disturb a measurement.
    fn start(setup: Setup, remote: Remote) -> io::Result<Self> {
        let lambda = setup.start()?;
        let init = lambda.wait_for("end of init", |event| match event {
            Event::InitEnded { duration, .. } => Some(*duration),
            _ => None,
        });
        let mut way = Self { remote, lambda, init, invocations: Vec::new() };
        way.invoke();
        Ok(way)
    }

    pub fn invoke(&mut self) {
        self.invocations.push(self.lambda.invoke("{}"));
    }

    /// Shuts the environment down, which delivers the remaining reports.
    pub fn end(self) -> Outcome {
        let Self { remote, lambda, init, invocations } = self;
        drop(lambda.shut_down("spindown"));
        let (cold, warm) = invocations.split_first().expect("it was invoked when it started");
        let latencies: Vec<Duration> = warm.iter().map(|it| it.reply.latency).collect();
        Outcome {
            cold_start: ColdStart {
                init,
                latency: cold.reply.latency,
                billed_ms: cold.billed.as_millis(),
            },
            latency: Quartiles::of(&latencies),
            billed_ms: warm.iter().map(|it| it.billed.as_millis()).sum(),
            reports: Reports::of(&invocations, &remote),
            failures: invocations.iter().filter_map(failure).collect(),
        }
    }
}

/// A line for each feature that this machine cannot provide to one of them.
pub fn notes(ways: [&Way; 2]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for note in ways.iter().flat_map(|way| way.lambda.notes()) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

fn collector(latency: Duration) -> Remote {
    let remote = Remote::start();
    remote.answer_with(move |received| Answer::accepting_unread(received).after(latency));
    remote
}

fn failure(invocation: &Invocation) -> Option<String> {
    let Invocation { status, reply, .. } = invocation;
    let why = || format!("{status}: {}", String::from_utf8_lossy(&reply.payload));
    (*status != Status::Success).then(why)
}

fn by_name<S: Serializer>(quartiles: &Quartiles, serializer: S) -> Result<S::Ok, S::Error> {
    let Quartiles { lower, median, upper } = quartiles;
    json!({ "q1_ms": lower, "median_ms": median, "q3_ms": upper }).serialize(serializer)
}

pub fn as_ms<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(ms(*time))
}
