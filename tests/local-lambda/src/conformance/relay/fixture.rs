//! An environment with the extension, an agent, and a record of the items that the extension has accepted. The
//! scenario acts as the runtime.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

use super::aftermath::{Aftermath, lines_of};
use crate::agent::{Agent, Connection, Ending, Invocation as Told, Reported};
use crate::conformance::fixture::{init_failure, pass};
use crate::conformance::subject::{Certificate, Far};
use crate::conformance::verdict::Obstacle;
use crate::conformance::{Subject, Verdict};
use crate::footprint::Footprint;
use crate::freezer::Freezer;
use crate::invocation::{InFlight, Invocation};
use crate::items::Delivery;
use crate::lambda::Lambda;
use crate::remote::Remote;
use crate::setup::{Runtime, Setup};
use crate::timeline::{Event, Status, Timeline};

pub const ARRAYS: &str = "/v1/monitoring-data";
pub const COMPOSITES: &str = "/v1/composite-monitoring-data";

/// Pause between two checks of a state that no event reports.
pub const POLL: Duration = Duration::from_millis(20);
/// The function's timeout. It is far longer than a scenario takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of a phase.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct RelayFixture {
    pub remote: Arc<Remote>,
    pub agent: Agent,
    pub port: u16,
    extension: String,
    lambda: Lambda,
    /// The runtime's connection. A `next` waits on it whenever the function is idle.
    runtime: Connection,
    accepted: RefCell<Vec<String>>,
}

/// Runs a scenario with a healthy remote.
pub fn play(subject: &Subject, act: impl FnOnce(RelayFixture) -> Verdict) -> Verdict {
    play_in(subject, |setup, _| setup, act)
}

/// As [`play`], with a setup that `change` alters first. `change` also gets the agents' port.
pub fn play_in(
    subject: &Subject,
    change: impl FnOnce(Setup, u16) -> Setup,
    act: impl FnOnce(RelayFixture) -> Verdict,
) -> Verdict {
    play_from_register(subject, change, |_| (), act)
}

/// As [`play_in`]. `registered` gets the agents' port as soon as the extension has registered, before a runtime
/// starts.
pub fn play_from_register(
    subject: &Subject,
    change: impl FnOnce(Setup, u16) -> Setup,
    registered: impl FnOnce(u16),
    act: impl FnOnce(RelayFixture) -> Verdict,
) -> Verdict {
    play_with(subject, subject.plain(), change, registered, act)
}

/// As [`play`], with a remote that presents this certificate.
pub fn play_over_tls(
    subject: &Subject,
    certificate: Certificate,
    act: impl FnOnce(RelayFixture) -> Verdict,
) -> Verdict {
    if !subject.takes_an_authority() {
        return Verdict::does_not_apply(
            "it can't be told whom to trust: no variable of it has {ca}",
        );
    }
    play_with(subject, Subject::secure(certificate), |setup, _| setup, |_| (), act)
}

fn play_with(
    subject: &Subject,
    far: Far,
    change: impl FnOnce(Setup, u16) -> Setup,
    registered: impl FnOnce(u16),
    act: impl FnOnce(RelayFixture) -> Verdict,
) -> Verdict {
    let prepared = subject.prepare(far);
    let Some(port) = prepared.port else {
        return Verdict::does_not_apply(
            "it relays no reports of agents: no variable of it has {port} and {remote}",
        );
    };
    let setup = change(prepared.setup.timeout(TIMEOUT), port);
    let lambda = setup.start().unwrap_or_else(|error| Obstacle::not_started(&error));
    let name = subject.name();
    lambda.wait_for("registration of the extension", |event| match event {
        Event::Registered { extension, .. } if *extension == name => Some(()),
        Event::InitEnded { .. } => Some(()),
        _ => None,
    });
    registered(port);
    let runtime = connect(&lambda);
    if !lambda.wait_for_init() {
        let (why, log) = (init_failure(&lambda), lines_of(&lambda.timeline(), &name));
        return Verdict::broke(format!("{why}; the extension's log: {log:?}"));
    }
    act(RelayFixture {
        // The rest, the authority's file, stays until the scenario ends.
        remote: Arc::new(prepared.far.remote),
        agent: Agent::local(subject.speech.family(), port),
        port,
        extension: name,
        lambda,
        runtime,
        accepted: RefCell::default(),
    })
}

/// A runtime's process that ignores SIGTERM. The scenario makes its calls.
pub fn stubborn() -> Runtime {
    Runtime::command("/bin/sh", &["-c", "trap '' TERM; while :; do sleep 1; done"])
}

/// The texts of this many items of one invocation. The root span contains a response of this many bytes.
pub fn items(agent: &Agent, count: usize, response_bytes: usize) -> Vec<String> {
    let told = Told::of(&Uuid::new_v4().to_string()).response(&"x".repeat(response_bytes));
    told.items(agent, &Ending::Success, count)
}

impl RelayFixture {
    /// An invocation during which this runs.
    ///
    /// # Panics
    ///
    /// When it fails, because then the extension has failed it.
    pub fn invoke<R>(&mut self, during: impl FnOnce(&Self) -> R) -> (R, Invocation) {
        let in_flight = self.begin();
        let happened = during(self);
        self.reply(&in_flight);
        (happened, self.end(in_flight))
    }

    /// An invocation in which the agent does not report.
    pub fn invoke_silently(&mut self) -> Invocation {
        self.invoke(|_| ()).1
    }

    /// Begins an invocation. The function has the event afterwards.
    pub fn begin(&mut self) -> InFlight {
        let in_flight = self.lambda.begin("{}");
        let event = self.runtime.response();
        assert_eq!(event.status, 200, "the runtime got no event");
        in_flight
    }

    /// Sends the function's response, and the runtime's `next`.
    pub fn reply(&mut self, in_flight: &InFlight) {
        let path = format!("/2018-06-01/runtime/invocation/{}/response", in_flight.request_id());
        let head = format!("POST {path} HTTP/1.1\r\nHost: lambda\r\nContent-Length: 2\r\n\r\n{{}}");
        self.runtime.send(head.as_bytes());
        let _ = self.runtime.response();
        self.runtime.send(NEXT);
    }

    /// Waits until the invocation has ended for the extension too.
    pub fn end(&self, in_flight: InFlight) -> Invocation {
        let invocation = in_flight.end(PATIENCE);
        let Invocation { status, duration, .. } = &invocation;
        assert!(
            *status == Status::Success,
            "the invocation ended in {status} after {duration:.0?}; the extension's log: {:?}",
            self.log()
        );
        invocation
    }

    /// Makes the agent report this many items.
    pub fn report(&self, count: usize) -> Reported {
        self.report_as(&self.agent, count, 2)
    }

    /// Makes this agent report this many items, with a response of this many bytes in the root span.
    ///
    /// # Panics
    ///
    /// When the agent's report is not accepted.
    pub fn report_as(&self, agent: &Agent, count: usize, response_bytes: usize) -> Reported {
        let items = items(agent, count, response_bytes);
        let reported = agent.report(&items);
        if let Some(failure) = reported.failure() {
            let (family, took) = (agent.family(), reported.took);
            panic!("a report of the agent {family:?} failed after {took:?}: {failure}");
        }
        self.accept(items);
        reported
    }

    /// Invokes the function until everything is delivered, or this time is over.
    pub fn await_delivery(&self, within: Duration) -> Delivery {
        let deadline = Instant::now() + within;
        loop {
            let delivery = self.remote.delivery(&self.accepted.borrow());
            if delivery.missing.is_empty() || Instant::now() >= deadline {
                return delivery;
            }
            pass(POLL);
        }
    }

    /// Invokes the function until the remote has had a request, or this time is over.
    pub fn await_request(&self, within: Duration) {
        let deadline = Instant::now() + within;
        while self.remote.received().is_empty() && Instant::now() < deadline {
            pass(POLL);
        }
    }

    /// Records items that the extension has accepted in another way.
    pub fn accept(&self, items: Vec<String>) {
        self.accepted.borrow_mut().extend(items);
    }

    pub fn freezer(&self) -> Freezer {
        self.lambda.freezer()
    }

    /// The pids of all extensions.
    pub fn pids(&self) -> Vec<u32> {
        self.lambda.pids()
    }

    pub fn footprint(&self) -> Footprint {
        Footprint::within(&self.lambda)
    }

    /// Kills the runtime's process, a [`stubborn`] one. This looks like a crash.
    pub fn kill_runtime(&self) {
        let pid = self.lambda.runtime_pid().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw).expect("init is over, so there is a process");
        kill_process(pid, Signal::KILL).expect("an own child");
    }

    /// Connects a new runtime after a reset.
    pub fn connect_runtime(&mut self) {
        self.runtime = connect(&self.lambda);
    }

    pub fn timeline(&self) -> Timeline {
        self.lambda.live_timeline()
    }

    pub fn log(&self) -> Vec<String> {
        lines_of(&self.lambda.timeline(), &self.extension)
    }

    /// Shuts the environment down.
    pub fn shut_down(self) -> Aftermath {
        let (shutdown, timeline) = self.lambda.shut_down("spindown");
        let (remote, extension) = (self.remote, self.extension);
        Aftermath { remote, shutdown, extension, accepted: self.accepted.into_inner(), timeline }
    }
}

/// The connection of a runtime that has polled for its first event.
fn connect(lambda: &Lambda) -> Connection {
    let address: SocketAddr = lambda.runtime_api().parse().expect("the platform's own address");
    let mut runtime = Connection::open_at(address);
    runtime.send(NEXT);
    runtime
}

const NEXT: &[u8] = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: lambda\r\n\r\n";
