//! Tests of the local Lambda. They use it as other tests do: with a real extension and with raw sockets.

#![expect(clippy::unwrap_used, reason = "a test fails where its helpers do")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

mod agents;
mod attacks;
mod bench;
mod container;
mod collector;
mod conformance;
mod connections;
mod demo;
mod exhausted;
mod extensions;
mod function;
mod items;
mod lambda;
mod leftovers;
mod moments;
mod platform;
mod process;
mod proxy;
mod refusals;
mod relay;
mod remote;
mod run;
mod tls;

const FLOOR: &str = env!("CARGO_BIN_EXE_floor");
const LOCAL_LAMBDA: &str = env!("CARGO_BIN_EXE_local-lambda");

/// Time limit of an event that must happen. It is long enough for a loaded machine.
const SOON: Duration = Duration::from_secs(60);
/// How long to watch for an event that must not happen.
const A_MOMENT: Duration = Duration::from_millis(100);

/// The message of the panic in which this must end.
#[track_caller]
fn panic_of<R>(action: impl FnOnce() -> R) -> String {
    let payload = catch_unwind(AssertUnwindSafe(action)).err().expect("a panic");
    *payload.downcast::<String>().expect("a panic with a formatted message")
}
