//! Lambda's interface for extensions: the Extensions API, the Telemetry API and deadlines.
//!
//! May use: `net`, `payload`, `logging`.
//!
//! Invariant: each call has a timeout, except the poll of `/event/next`, which Lambda may hold for hours.

pub mod extensions_api;
pub mod telemetry;
pub mod deadline;
