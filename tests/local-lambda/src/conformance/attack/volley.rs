//! Many attackers, one after the other.

use std::time::Duration;

use crate::conformance::raw_requests::{Then, send_raw};

/// Who is not answered within this time stops waiting.
pub const PATIENCE: Duration = Duration::from_millis(10);

/// What is not taken within this time does not come, and does not count.
pub const TAKEN_WITHIN: Duration = Duration::from_secs(2);

/// The bytes, so many times, each time on a new connection; the count of those that there were.
pub fn volley(port: u16, times: usize, bytes: &[u8], then: Then) -> usize {
    let thrown = || send_raw(port, bytes, TAKEN_WITHIN).map(|stream| then.end(stream, PATIENCE));
    (0..times).filter_map(|_| thrown()).count()
}

/// Each of these in turn, so many times.
pub fn volleys(port: u16, times: usize, all: &[Vec<u8>], then: Then) -> usize {
    (0..times).map(|_| all.iter().map(|bytes| volley(port, 1, bytes, then)).sum::<usize>()).sum()
}
