//! Many attackers, one after the other.

use std::time::Duration;

use crate::conformance::raw_requests::{Then, send_raw};

/// An attacker waits this long for its answer, and then leaves.
pub const PATIENCE: Duration = Duration::from_millis(10);

/// Time limit of an attacker's connection. After that the attacker does not count.
pub const TAKEN_WITHIN: Duration = Duration::from_secs(2);

/// Sends the bytes this many times, each time on a new connection. Returns how many connections there were.
pub fn volley(port: u16, times: usize, bytes: &[u8], then: Then) -> usize {
    let thrown = || send_raw(port, bytes, TAKEN_WITHIN).map(|stream| then.end(stream, PATIENCE));
    (0..times).filter_map(|_| thrown()).count()
}

/// Sends all of these in turn, this many times.
pub fn volleys(port: u16, times: usize, all: &[Vec<u8>], then: Then) -> usize {
    (0..times).map(|_| all.iter().map(|bytes| volley(port, 1, bytes, then)).sum::<usize>()).sum()
}
