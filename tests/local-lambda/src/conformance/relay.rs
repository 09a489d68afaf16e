//! Scenarios for extensions that accept agents' reports on loopback, answer at once, and forward the reports to
//! a remote.

mod aftermath;
mod delivery;
mod environments;
mod freezing;
mod headers;
mod idle;
mod limits;
mod local;
mod malformed;
mod outages;
mod fixture;
mod secure;
mod shutdown;
mod statuses;
mod waiting;

pub use aftermath::counts;
pub use fixture::{ARRAYS, RelayFixture, play};

use super::Scenario;

/// All of them, beginning with a healthy remote.
pub fn all() -> Vec<Scenario> {
    [
        delivery::ALL,
        headers::ALL,
        secure::ALL,
        local::ALL,
        environments::ALL,
        &malformed::all(),
        &waiting::all(),
        outages::ALL,
        statuses::ALL,
        freezing::ALL,
        idle::ALL,
        shutdown::ALL,
        limits::ALL,
    ]
    .concat()
}
