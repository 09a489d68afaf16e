//! Durations and times in AWS's formats.

use std::time::{Duration, SystemTime};

use serde::Serializer;

/// Milliseconds, with microseconds after the decimal point.
pub fn ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let micros = duration.div_duration_f64(Duration::from_micros(1)).round();
    serializer.serialize_f64(micros / 1_000.0)
}

/// As [`ms`], for fields that are omitted when they are `None`.
#[expect(clippy::ref_option, reason = "the signature is serde's")]
pub fn some_ms<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => ms(duration, serializer),
        None => serializer.serialize_none(),
    }
}

/// Whole milliseconds, rounded up, as on Lambda's bill.
pub fn whole_ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(duration.as_nanos().div_ceil(1_000_000))
}

/// RFC 3339 in UTC, with milliseconds.
pub fn utc<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}
