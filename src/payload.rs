//! A report: its route, protocol, items, bytes and outcome.
//!
//! May use: `logging`.
//!
//! Invariants:
//! * Bytes of bodies are held only together with a permit of a [`quota`]. Each remote has a quota of the
//!   buffer.
//! * `accepted = delivered + dropped + pending` holds for each remote at any time ([`ledger`]).

#[expect(clippy::module_inception, reason = "the folder is named for its first noun")]
pub mod payload;
pub mod route;
pub mod protocol;
pub mod signal;
pub mod encoding;
pub mod format;
pub mod limits;
pub mod items;
pub mod json;
pub mod json_scan;
pub mod parts;
pub mod protobuf;
pub mod quota;
pub mod ledger;
