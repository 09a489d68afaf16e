//! Durations on the command line.

use std::time::Duration;

/// Limit of a duration, so that no sum overflows.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The time in milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Parses a duration such as `250ms`, `2s` or `1m 30s`, up to a day.
///
/// # Errors
///
/// When the text is no duration. The error has the reason.
pub fn duration(argument: &str) -> Result<Duration, String> {
    match humantime::parse_duration(argument) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("it is longer than a day".to_owned()),
        Err(error) => Err(format!("{error}; write 250ms or 2s")),
    }
}

/// Parses a duration above zero.
///
/// # Errors
///
/// When the text is no such duration. The error has the reason.
pub fn positive(argument: &str) -> Result<Duration, String> {
    match duration(argument)? {
        Duration::ZERO => Err("it must be longer than nothing".to_owned()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_is_no_longer_than_a_day() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("24h"), Ok(LONGEST));
        assert_eq!(positive("150ms"), Ok(Duration::from_millis(150)));
        for text in ["", "1", "ms", "-1s", "1.5", "86401s", "99999999999999999999s", "500000y"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["0s", "0ms", "x"] {
            assert!(positive(text).is_err(), "{text}");
        }
    }
}
