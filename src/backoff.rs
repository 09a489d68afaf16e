//! How long to leave the remote alone after a failure: pure, time and chance are arguments.
//!
//! Exponential with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog): while it
//! lasts nothing is sent, so a remote that is down costs nothing.

use std::time::{Duration, Instant, SystemTime};

use ureq::http::{HeaderMap, header};

/// The longest pause after the first failure; it doubles with each one more.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause after any, whatever the remote asks for.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest pause where what fails is a single report, again and again: each attempt at it may
/// hold up others for as long as an attempt may take.
const LONGEST_APART: Duration = Duration::from_secs(10 * 60);

/// A number from 0 to 1, of no pattern.
#[derive(Clone, Copy, Debug)]
pub struct Chance(pub f64);

#[derive(Debug)]
pub struct Backoff {
    longest: Duration,
    failures: u32,
    until: Option<Instant>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { longest: LONGEST, failures: 0, until: None }
    }
}

impl Backoff {
    /// For reports that are apart.
    pub fn apart() -> Self {
        Self { longest: LONGEST_APART, ..Self::default() }
    }

    /// The remote did not take what it was sent. `asked` is what it asked for, if it did.
    pub fn failed(&mut self, now: Instant, asked: Option<Duration>, chance: Chance) {
        let doubled = 1_u32.checked_shl(self.failures).and_then(|it| FIRST.checked_mul(it));
        let window = doubled.unwrap_or(self.longest).min(self.longest);
        let pause = window.mul_f64(chance.0.clamp(0.0, 1.0));
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + pause.max(asked.unwrap_or_default().min(self.longest)));
    }

    /// The remote answered anything else.
    pub fn ended(&mut self) {
        *self = Self { longest: self.longest, ..Self::default() };
    }

    /// Whether the last attempt failed.
    pub fn is_on(&self) -> bool {
        self.failures > 0
    }

    /// How many attempts failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Until when to leave the remote alone, if the last attempt failed.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }
}

/// What an answer's `Retry-After` asks for: seconds, or a date in any of its three forms (RFC 9110,
/// 10.2.3 and 5.6.7).
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit()) {
        // What is too large for the type is too long for us in any case.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ureq::http::HeaderValue;

    #[test]
    fn the_window_doubles_to_the_longest() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let windows = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000];
        for window in windows {
            backoff.failed(now, None, Chance(1.0));
            assert_eq!(backoff.until(), Some(now + Duration::from_millis(window)));
        }
    }

    #[test]
    fn the_pause_of_what_is_apart_grows_on() {
        let (mut backoff, now) = (Backoff::apart(), Instant::now());
        for _ in 0..14 {
            backoff.failed(now, None, Chance(1.0));
        }
        assert_eq!(backoff.until(), Some(now + LONGEST_APART));
        backoff.ended();
        for window in [100, 200] {
            backoff.failed(now, None, Chance(1.0));
            assert_eq!(backoff.until(), Some(now + Duration::from_millis(window)));
        }
    }

    #[test]
    fn a_pause_is_by_chance_any_part_of_the_window() {
        for part in [0.0, 0.25, 0.5, 1.0] {
            let (mut backoff, now) = (Backoff::default(), Instant::now());
            for window in [100, 200, 400] {
                backoff.failed(now, None, Chance(part));
                let pause = Duration::from_millis(window).mul_f64(part);
                assert_eq!(backoff.until(), Some(now + pause));
            }
        }
    }

    #[test]
    fn a_success_ends_it() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        assert!(!backoff.is_on() && backoff.until().is_none());
        backoff.failed(now, None, Chance(0.5));
        assert!(backoff.is_on());
        assert_eq!(backoff.until(), Some(now + FIRST / 2));
        backoff.ended();
        assert!(!backoff.is_on() && backoff.until().is_none());
    }

    #[test]
    fn what_the_remote_asks_for_is_granted_up_to_the_longest() {
        let now = Instant::now();
        for (asked, granted) in [(0, 50), (2_000, 2_000), (600_000, 30_000)] {
            let mut backoff = Backoff::default();
            backoff.failed(now, Some(Duration::from_millis(asked)), Chance(0.5));
            assert_eq!(backoff.until(), Some(now + Duration::from_millis(granted)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_pause_is_longer_than_the_longest(failures in 0_u32..100, chance: f64, asked: u64) {
            let (mut backoff, now) = (Backoff::default(), Instant::now());
            for _ in 0..failures {
                backoff.failed(now, Some(Duration::from_secs(asked)), Chance(chance));
                prop_assert!(backoff.until().is_none_or(|it| it <= now + LONGEST));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            if let Ok(value) = HeaderValue::from_str(&text) {
                let headers = [(header::RETRY_AFTER, value)].into_iter().collect();
                let _ = retry_after(&headers, SystemTime::now());
            }
        }
    }

    #[test]
    fn both_forms_of_retry_after_are_understood() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let asked = |value: &'static str| {
            let headers = [(header::RETRY_AFTER, HeaderValue::from_static(value))];
            retry_after(&headers.into_iter().collect(), now)
        };
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(asked("Sunday, 06-Nov-94 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(asked("Sun Nov  6 08:49:47 1994"), Some(Duration::from_secs(10)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:07 GMT"), Some(Duration::ZERO));
        for other in
            ["", "-1", "soon", "1.5", "Sun, 06 Now 1994 08:49:37 GMT", "a, b c d e:f:g GMT"]
        {
            assert_eq!(asked(other), None, "{other}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
