//! An AWS Lambda extension that answers telemetry agents at once and forwards their reports to the
//! remote collector in the background.
//!
//! ```text
//!  function ─ POST /v1/… ─▶ collector ── Message::Payload ──▶ ┌────────┐ ── POST ──▶ remote
//!                           (readers)                         │ sender │
//!  Lambda ◀── GET next ──── lifecycle ── Message::Traffic … ─▶└────────┘
//!                           (main thread)     one FIFO
//! ```
//!
//! Agents of Thundra's and SDKs of OpenTelemetry each have a port, and their remotes a [`line`] each:
//! a FIFO, a sender, a circuit, a back-off; the ledger and the budget are common to all. What the two
//! protocols differ in is in [`dialect`] and [`form`]. Without a remote for OTLP there is one line.
//!
//! The modules stand below in reading order; `thundra_wrapper`, the layer's other program, has a map of
//! its own in `src/wrapper/main.rs`. What holds always, and where it is kept:
//!
//! 1. The process ends only at SHUTDOWN or when `/event/next` fails ([`lifecycle`]).
//! 2. `/event/next` has no time limit; every other wait for an answer has one
//!    ([`extensions_api`]), but a reader's for its client, to send or to read, which tiny_http
//!    leaves no way to limit ([`readers`]). Who waits for work waits until its channel ends.
//! 3. `accepted = delivered + dropped + pending` for each protocol, and losses are reported ([`ledger`]).
//! 4. Bytes of bodies are held only by owning a permit, taken before they are read ([`budget`],
//!    [`body`]); not so what tiny_http reads by itself: heads, and bodies of up to 1 KiB. A remote that
//!    fails leaves the others their share of the budget ([`share`]).
//! 5. An agent never waits for the remote ([`collector`]), nor for a stalled client ([`readers`]),
//!    unless a burst of silent connections takes all threads that tiny_http has ready.
//! 6. Reports go to one place, byte for byte as they came in or merged so that their items are
//!    ([`items`], [`remote`]); those of one key and route in order, but that what fails alone after
//!    several failures lets others go first ([`backlog`], [`courier`]); while the remote fails, ever
//!    more rarely ([`backoff`]).
//! 7. Only our own lines are logged, and none holds a key, a header value or a body ([`logging`]);
//!    who logs never waits for who reads ([`stderr`]).
//! 8. No configuration is fatal ([`config`]).
//! 9. An attempt to send that a freeze interrupts goes on after it: a report is sent again only when
//!    its connection, and with it the answer, is gone, or when no answer came within the time of an
//!    attempt, of which a freeze takes nothing ([`patience`], [`socket`]).
//! 10. Nothing but the Runtime API is contacted before the first poll ([`main`], [`remote`]), and
//!     nothing is looked up for a connection that is there ([`lookup`]).
//! 11. No thread wakes up for nothing: a report that only joins others lets the sender sleep
//!     ([`outbox`]), and nothing looks at anything from time to time but where the platform tells of
//!     no invocations, or one is held, and while an answer is awaited ([`doors`], [`hold`],
//!     [`patience`]).

mod environment;
mod parsing;
mod config;
mod url;
mod destination;
mod logging;
mod stderr;
mod extensions_api;
mod lifecycle;
mod hold;
mod telemetry_api;
mod object;
mod deadline;
mod doors;
mod readers;
mod dialect;
mod collector;
mod request;
mod body;
mod answer;
mod budget;
mod share;
mod ledger;
mod payload;
mod signal;
mod encoding;
mod line;
mod outbox;
mod sender;
mod flush;
mod end;
mod backlog;
mod form;
mod items;
mod protobuf;
mod courier;
mod backoff;
mod circuit;
mod outage;
mod seldom;
mod remote;
mod partial;
mod tls;
mod socket;
mod lookup;
mod patience;
mod fault;
mod threads;
#[cfg(fuzzing)]
pub mod fuzzing;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, io};

use crossbeam_channel::{Receiver, bounded};

use crate::budget::Budget;
use crate::collector::Collector;
use crate::config::Config;
use crate::deadline::Deadline;
use crate::doors::Doors;
use crate::environment::Environment;
use crate::extensions_api::{ApiError, Extension, RuntimeApi, Subscription};
use crate::flush::{Strategy, Traffic};
use crate::hold::Hold;
use crate::ledger::Ledger;
use crate::line::Line;
use crate::sender::{Policy, Sender};
use crate::share::Share;

/// What is left of the shutdown phase for the end of the process itself.
const WAY_OUT: Duration = Duration::from_millis(20);

/// How long the last lines of the log may take, where there is so much time: a small function gets
/// its share of the processor in slices of a tenth of a second.
const LAST_LINES: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let deadline = run();
    let last_lines = Deadline::after(LAST_LINES, Instant::now());
    let gone_by = deadline.map_or(last_lines, |it| last_lines.min(it.earlier_by(WAY_OUT)));
    stderr::finish(gone_by.instant());
    if deadline.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Lives until SHUTDOWN, and says by when to be gone; `None` after a failure.
fn run() -> Option<Deadline> {
    let (config, problems) = Config::from(&Environment::read());
    logging::start(config.log_level, config.log_format, doors::server_panicked);
    // Bound before registration: with the last registration the runtime starts, and with it agents.
    let doors = Doors::bind(&config.ports());
    let extension = register(&config)?;
    for problem in problems {
        logging::warn!("{problem}");
    }
    let end = if config.is_enabled {
        relay(config, &extension, doors)
    } else {
        refuse(&config, &extension, doors)
    };
    let ends = |error: &ApiError| {
        logging::error!("cannot get the next event: {error}; the extension ends");
    };
    end.inspect_err(ends).ok()
}

/// Registers with Lambda. Without that there is nothing to do, and init fails whatever we do.
fn register(config: &Config) -> Option<Extension> {
    let subscription = if config.is_managed_instances || !config.is_enabled {
        Subscription::ShutdownOnly
    } else {
        Subscription::InvokeAndShutdown
    };
    let Some(runtime_api) = &config.runtime_api else {
        logging::error!(
            "cannot register: AWS_LAMBDA_RUNTIME_API is not set; this program runs inside AWS \
             Lambda only"
        );
        return None;
    };
    let registered = RuntimeApi::at(runtime_api).register(&own_name(), subscription);
    registered
        .inspect_err(|error| logging::error!("cannot register with {runtime_api}: {error}"))
        .ok()
}

/// The file's own base name, which users may change: Lambda refuses any other.
fn own_name() -> String {
    let path = env::args_os().next().unwrap_or_default();
    Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Relays until the end.
fn relay(config: Config, extension: &Extension, doors: Doors) -> Result<Deadline, ApiError> {
    if config.destinations.iter().any(|it| it.trust_all_certificates) {
        logging::warn!(
            "THUNDRA_EXTENSION_TRUST_ALL_CERTIFICATES is set: the remote's certificate is not \
             checked"
        );
    }
    // Without INVOKE nothing tells of invocations; nor does anything freeze there.
    let tells_of_invocations = extension.subscription == Subscription::InvokeAndShutdown;
    let traffic = if tells_of_invocations { Traffic::Sparse } else { Traffic::Busy };
    let policy = Policy { strategy: config.flush, traffic };
    let shares = Share::of(config.buffer, config.destinations.len());
    let has_otlp = config.otlp_port.is_some();
    let (mut lines, mut senders) = (Vec::new(), Vec::new());
    for (destination, share) in config.destinations.into_iter().zip(shares) {
        let (line, sender) = Line::to(destination, policy, share);
        lines.push(line);
        senders.push(sender);
    }
    let collector = Arc::new(Collector {
        budget: Budget::of(config.buffer),
        ledger: if has_otlp { Ledger::with_otlp() } else { Ledger::default() },
        lines,
        authorization: config.authorization,
    });
    let opened = start(senders, doors, &collector, tells_of_invocations);
    let holds = config.flush == Strategy::End && tells_of_invocations;
    let hold = if holds { hold(extension, &collector.lines) } else { None };
    lifecycle::relay(extension, &opened, &collector, hold)
}

/// Polls until the end, and has exporters of OTLP refused, if there is a door for them.
fn refuse(config: &Config, extension: &Extension, doors: Doors) -> Result<Deadline, ApiError> {
    if config.otlp_port.is_some() {
        let (budget, ledger) = (Budget::of(0), Ledger::with_otlp());
        let collector = Collector { budget, ledger, lines: Vec::new(), authorization: None };
        doors.keep_open(&Arc::new(collector));
    }
    lifecycle::idle(extension)
}

/// Starts a sender, which opens the doors with their threads and starts the other senders: the first
/// poll waits for one start only, but where an invocation is held, for telemetry as well. Gives
/// the doors once they are open, where invocations are told of and they are to be looked after.
fn start(
    senders: Vec<Sender>,
    mut doors: Doors,
    collector: &Arc<Collector>,
    tells_of_invocations: bool,
) -> Receiver<Doors> {
    let (hand_over, opened) = bounded(1);
    let collector = Arc::clone(collector);
    let life = move || {
        doors.open(&collector);
        if tells_of_invocations {
            drop(hand_over.send(doors)); // there is room, and nobody else sends
        } else {
            doors.keep_open(&collector);
        }
        let mut senders = senders.into_iter();
        let own = senders.next();
        senders.for_each(|sender| start_sender(Box::new(|| sender.run())));
        own.into_iter().for_each(Sender::run);
    };
    start_sender(Box::new(life));
    opened
}

/// Without it, agents are refused, or what they report counts as lost, instead of waiting in a queue
/// for who never comes.
fn start_sender(life: Box<dyn FnOnce() + Send>) {
    if let Err(error) = threads::start("sender", threads::DEEP, life) {
        logging::error!("cannot start a sender: {error}; nothing is relayed by it");
    }
}

/// `None` where nothing tells when an invocation is over.
fn hold(extension: &Extension, lines: &[Line]) -> Option<Hold> {
    let no_telemetry = |error: &io::Error| {
        logging::warn!(
            "cannot subscribe to telemetry: {error}; nothing tells when an invocation is over, and \
             reports are sent as they come, as by the strategy continuously"
        );
    };
    Hold::subscribe(extension, lines).inspect_err(no_telemetry).ok()
}
