//! One pipeline for each remote: queue, sender, flush policy, backlog, exporter. One intake for all of them.
//!
//! The [`sender`] waits in its [`queue`] until a batch is due, and posts it. `exporter/wake.rs` computes when
//! that is, from the policy ([`flush`]) and the pause after a failure. The reports of a failed attempt wait for
//! the retry in the [`backlog`]. At SHUTDOWN, `sender/shutdown.rs` sends the rest. [`edge`] is the sender's
//! clock, queue and remote, so that tests run it in virtual time.
//!
//! May use: `remote`, `lambda`, `net`, `payload`, `logging`.
//!
//! Invariants:
//! * A report goes to each remote that takes its route, byte for byte, alone or merged with others item by
//!   item ([`intake`]).
//! * Reports of the same key and route keep their order. Exceptions: the smallest report goes first while
//!   a refused key or path is tested ([`refusals`]); quarantined reports go last ([`backlog`]).
//! * The pauses between attempts grow while a remote fails ([`exporter`]).
//! * A key that the remote refuses opens a circuit; the first report that it accepts with that key closes it
//!   (`refusals/circuit_breaker.rs`).
//! * No thread wakes up for nothing. A report that only joins others does not wake the sender ([`queue`]).

pub mod intake;
pub mod pipeline;
pub mod queue;
pub mod wakeup;
pub mod sender;
pub mod edge;
pub mod flush;
pub mod invocation_end;
pub mod backlog;
pub mod exporter;
pub mod refusals;
pub mod log_limit;
pub mod remote_lines;
