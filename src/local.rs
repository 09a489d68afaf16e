//! Receives the posts of agents, SDKs and the platform at ports of this machine.
//!
//! May use: `relay`, `remote`, `lambda`, `net`, `payload`, `logging`.
//!
//! Invariants:
//! * An agent never waits for the remote, nor for another client that stalls. Exception: a burst of silent
//!   connections can take all threads that tiny_http has ready ([`workers`]).
//! * A worker takes a permit before it reads the bytes of a body ([`body`]). Exception: tiny_http reads
//!   heads, and bodies of up to 1 KiB, by itself.
//! * [`body`] finds that a report is too large, or that no room is left; [`response`] has the status, such as
//!   413. A request whose connection must be abandoned keeps its memory ([`exchange`]).
//! * The collector knows no server: it gets the head of a request, then its body ([`head`], [`exchange`]).
//! * A worker waits for its client without a timeout, because tiny_http offers none.
//! * No port is taken from another extension. A port that nobody configured is bound at the first
//!   invocation, if it is free then ([`opening`]).
//! * A port that closed is opened again at the next invocation ([`listeners`]), except that of telemetry.

pub mod listeners;
pub mod panics;
pub mod uncalled;
pub mod workers;
pub mod opening;
pub mod head;
pub mod exchange;
pub mod request;
pub mod body;
pub mod response;
pub mod collector;
pub mod no_remote;
pub mod mistakes;
pub mod platform_events;
pub mod telemetry;
