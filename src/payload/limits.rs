//! The limits of one request.

/// Limits of one request to a remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    pub reports: usize,
    pub items: usize,
    /// The size of the whole body.
    pub bytes: usize,
}

impl RequestLimits {
    /// Limits of Thundra's collector. The agents and Thundra's own forwarder obey the same limits.
    pub const THUNDRA: Self = Self { reports: 100, items: 100, bytes: 1_000_000 };

    /// Limits for OTLP. The specification sets none. A receiver with a lower limit answers 413, and the
    /// exporter then splits the batch.
    pub const OTLP: Self = Self { reports: 100, items: usize::MAX, bytes: 1024 * 1024 };

    /// Whether one body may have this many items and bytes.
    pub fn allow(self, items: usize, bytes: usize) -> bool {
        items <= self.items && bytes <= self.bytes
    }
}
