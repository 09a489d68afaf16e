//! Durations and times as AWS writes them.

use std::time::{Duration, SystemTime};

use serde::Serializer;

/// In milliseconds, with microseconds behind the point.
pub fn ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let micros = duration.div_duration_f64(Duration::from_micros(1)).round();
    serializer.serialize_f64(micros / 1_000.0)
}

/// For fields that are left out when they are `None`.
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

/// In milliseconds, rounded up, as Lambda bills.
pub fn whole_ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(duration.as_nanos().div_ceil(1_000_000))
}

/// RFC 3339 in UTC with milliseconds.
pub fn utc<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}
