//! A rate at which bytes are read or written.

use std::time::Duration;

/// At most this many bytes, then a pause, and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub(crate) bytes: usize,
    pub(crate) pause: Duration,
}

impl Pace {
    /// # Panics
    ///
    /// When `bytes` is 0. That would be [`crate::End::Hang`].
    #[must_use]
    pub fn new(bytes: usize, pause: Duration) -> Self {
        assert!(bytes > 0, "a pace of no bytes never ends");
        Self { bytes, pause }
    }

    #[must_use]
    pub fn byte_by_byte(pause: Duration) -> Self {
        Self::new(1, pause)
    }
}
