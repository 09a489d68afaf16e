//! The server for Thundra's agents: tiny_http, and the threads that answer its requests.
//!
//! Invariants:
//! * While a worker may be stalled, another one waits for the next request ([`workers`]).
//! * A request whose connection must be abandoned keeps its memory ([`exchange`]).
//! * A worker waits for its client without a timeout, because tiny_http offers none.
//! * A panic of tiny_http's threads costs a connection only, or closes a port, which opens again ([`panics`]).

pub mod panics;
pub mod workers;
pub mod exchange;
mod request;
mod body;
