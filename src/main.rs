//! An AWS Lambda extension that answers telemetry agents at once and forwards their reports to the
//! remote in the background.
//!
//! ```text
//!  function ── POST ──▶ local: listener, server, collector
//!                          │ bytes and their permits
//!                          ▼
//!                       relay: intake, queue, sender ──▶ remote ── POST ──▶ backend
//!                          ▲                  │
//!                          │                  └ keeps the backlog, and asks the exporter what to send
//!                          │ Message::Traffic, Flush, Shutdown
//!  Lambda ◀── next ──── lifecycle (the main thread)
//! ```
//!
//! A report's life: a server reads its bytes with a permit, and the intake counts it as accepted. The sender keeps
//! it in the backlog, through failed attempts too, until the remote accepts or refuses it, no room is left, or
//! the end comes. Then the ledger counts the outcome, and the permit returns the bytes.
//!
//! The folders, from top to bottom. A folder imports from those below it only; `tests/it/layers.rs` keeps
//! that. Each folder's own file lists its invariants.
//!
//! * [`lifecycle`]: the main loop. The process ends only at SHUTDOWN or when `/event/next` fails.
//!   `relay/sender/shutdown.rs` sends the rest before that.
//! * [`config`]: the environment as values. No configuration is fatal.
//! * [`local`]: the ports of this machine, also opening them again; the collector, and its responses.
//! * [`mod@relay`]: one pipeline for each remote: when to send, retries, refused keys.
//! * [`remote`]: the client that posts to a remote, its headers, and the length of pauses.
//! * [`lambda`]: the calls of Lambda's API.
//! * [`net`]: sockets, name resolution, URLs, and freezes.
//! * [`payload`]: a report: route, items, bytes, outcome; and the limits of memory.
//! * [`logging`]: the log. Only our own lines are written. A thread that logs never waits for the reader of the log.
//!
//! The layer's other program, `thundra_wrapper`, has its map in `src/wrapper/main.rs`.

mod lifecycle;
mod config;
mod local;
mod relay;
mod remote;
mod lambda;
mod net;
mod payload;
mod logging;
mod threads;
mod failpoint;
#[cfg(fuzzing)]
#[path = "../tests/fuzz/properties.rs"]
pub mod fuzzing;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::config::environment::Environment;
use crate::lambda::deadline::Deadline;
use crate::lambda::extensions_api::{ApiError, Extension, Subscription};
use crate::lifecycle::flush_wait::FlushWait;
use crate::lifecycle::registration::register;
use crate::local::collector::Collector;
use crate::local::event_loop::EventLoop;
use crate::local::listeners::Listeners;
use crate::local::opening::Opening;
use crate::local::thread_pool::panics;
use crate::relay::flush::{Policy, Strategy, Traffic};
use crate::relay::intake::Intake;

/// Time before the end of the shutdown phase that is left for the process to exit.
const WAY_OUT: Duration = Duration::from_millis(20);

/// Time limit of writing the last lines of the log. Lines that are not written by then are lost. It is this
/// long because a small function gets the processor in slices of a tenth of a second.
const LAST_LINES: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let deadline = run();
    let last_lines = Deadline::after(LAST_LINES, Instant::now());
    let gone_by = deadline.map_or(last_lines, |it| last_lines.min(it.earlier_by(WAY_OUT)));
    logging::stderr::finish(gone_by.instant());
    if deadline.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs until SHUTDOWN. Returns the time by which the process must have exited, or `None` after a failure.
fn run() -> Option<Deadline> {
    let (config, problems) = Config::from(&Environment::read());
    logging::start(config.log_level, config.log_format, panics::server_panicked);
    // Ports are bound before registration, because the runtime and its agents start after the last
    // registration.
    let event_loop = EventLoop::default();
    let listeners = Listeners::bind(&config.ports, event_loop.clone());
    let extension = register(&config)?;
    config::start_lines::log(&config, &problems);
    let end = relay(config, &extension, listeners, &event_loop);
    let ends = |error: &ApiError| {
        logging::error!("cannot get the next event: {error}; the extension ends");
    };
    end.inspect_err(ends).ok()
}

/// Relays until the end. A disabled extension has no remotes, and only polls.
fn relay(
    config: Config,
    extension: &Extension,
    listeners: Listeners,
    event_loop: &EventLoop,
) -> Result<Deadline, ApiError> {
    // Without INVOKE events, invocations are unknown. Such an environment never freezes either.
    let gets_invocations = extension.subscription == Subscription::InvokeAndShutdown;
    let traffic = if gets_invocations { Traffic::Sparse } else { Traffic::Busy };
    let policy = Policy { strategy: config.flush, traffic };
    let (intake, senders) = Intake::to(config.destinations, policy, config.buffer);
    // The servers' threads use it until the process ends.
    let collector: &'static Collector =
        Box::leak(Box::new(Collector::new(intake, config.no_remote)));
    let pipelines = collector.intake().pipelines();
    let opening = Opening::start(listeners, config.late_ports, senders, collector);
    let holds = config.flush == Strategy::End && gets_invocations && !pipelines.is_empty();
    let flush_wait =
        holds.then(|| FlushWait::subscribe(extension, pipelines, event_loop)).flatten();
    let opening = if gets_invocations {
        Some(opening)
    } else {
        opening.keep_going();
        None
    };
    lifecycle::relay(extension, opening, collector.intake(), flush_wait)
}
