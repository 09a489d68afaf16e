//! Receives the posts of agents, SDKs and the platform at ports of this machine.
//!
//! Two servers: the [`event_loop`], which is our own, and the [`thread_pool`] of tiny_http. The event loop
//! serves SDKs, which speak OTLP, and the platform. The thread pool serves agents of Thundra's.
//! `listeners::server_of` decides that.
//!
//! May use: `relay`, `remote`, `lambda`, `net`, `payload`, `logging`.
//!
//! Invariants:
//! * An agent never waits for the remote, nor for another client that stalls. Exception: a burst of silent
//!   connections can take all threads that tiny_http has ready.
//! * A permit is taken before the bytes of a body are kept ([`body`]). Exception: tiny_http reads heads, and
//!   bodies of up to 1 KiB, by itself.
//! * [`body`] finds that a report is too large, or that no room is left; [`response`] has the status, such as
//!   413.
//! * The collector knows no server: it gets the head of a request, then its body ([`endpoint`]).
//! * No port is taken from another extension. A port that nobody configured is bound at the first
//!   invocation, if it is free then ([`opening`]).
//! * A port that closed is opened again at the next invocation ([`listeners`]).

pub mod listeners;
pub mod opening;
pub mod thread_pool;
pub mod event_loop;
pub mod port;
pub mod endpoint;
pub mod head;
pub mod body;
pub mod response;
pub mod collector;
pub mod no_remote;
pub mod mistakes;
pub mod platform_events;
pub mod receiver;
pub mod telemetry;

/// The line of the log after a panic in a server.
const PANICKED: &str =
    "cannot handle a request: an internal error, a panic; the collector continues";
