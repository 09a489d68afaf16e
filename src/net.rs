//! Sockets, name resolution and URLs, for a process that may be frozen at any instruction.
//!
//! May use: `payload`, `logging`.
//!
//! Invariants:
//! * A freeze takes nothing from the time of the wait that it interrupts, and adds nothing to a later wait.
//!   [`freeze`] notices it, by a wait that ends too late.
//! * A request on an open connection needs no look-up ([`resolver`]).

pub mod url;
pub mod resolver;
pub mod connect;
pub mod socket;
pub mod wire;
pub mod kernel_table;
pub mod liveness;
pub mod status_line;
pub mod freeze;
