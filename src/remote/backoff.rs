//! Computes the pause after a failure. Pure: time and jitter are arguments.
//!
//! The back-off is exponential with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog).
//! During a pause nothing is sent, so a remote that is down costs nothing.

use std::time::{Duration, Instant, SystemTime};

use ureq::http::{HeaderMap, header};

use crate::remote::http_date;

/// The longest pause after the first failure. It doubles with each further failure.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause, even if the remote's `Retry-After` is longer.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest pause between attempts with quarantined reports. Each such attempt may delay other reports by
/// the attempt's whole time limit.
const QUARANTINE_MAX: Duration = Duration::from_secs(10 * 60);

/// How many failures still count after an interrupted pause. The next pause is then at most 1.6 s.
const FAILURES_KEPT: u32 = 4;

/// A random number from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct Jitter(pub f64);

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
    /// The back-off of quarantined reports.
    pub fn of_quarantine() -> Self {
        Self { longest: QUARANTINE_MAX, ..Self::default() }
    }

    /// Records a failed attempt. `asked` is the pause that the remote requested, if it did.
    pub fn failed(&mut self, now: Instant, asked: Option<Duration>, jitter: Jitter) {
        let doubled = 1_u32.checked_shl(self.failures).and_then(|it| FIRST.checked_mul(it));
        let window = doubled.unwrap_or(self.longest).min(self.longest);
        let pause = window.mul_f64(jitter.0.clamp(0.0, 1.0));
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + pause.max(asked.unwrap_or_default().min(self.longest)));
    }

    /// Ends the pause, because the failures may have had another reason. If the next attempt fails too, the
    /// pauses continue with a long one, not with the shortest.
    pub fn interrupted(&mut self) {
        self.failures = self.failures.min(FAILURES_KEPT);
        self.until = None;
    }

    /// Ends the back-off, because the remote answered without a failure.
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

    /// The end of the pause, if the last attempt failed.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }
}

/// The pause that `Retry-After` requests: seconds, or a date in one of three forms (RFC 9110, 10.2.3 and
/// 5.6.7).
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit()) {
        // A number too large for the type is cut to the longest pause anyway.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    Some(http_date::parse(value)?.duration_since(now).unwrap_or_default())
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
            backoff.failed(now, None, Jitter(1.0));
            assert_eq!(backoff.until(), Some(now + Duration::from_millis(window)));
        }
    }

    #[test]
    fn the_pause_of_quarantined_reports_grows_further() {
        let (mut backoff, now) = (Backoff::of_quarantine(), Instant::now());
        for _ in 0..14 {
            backoff.failed(now, None, Jitter(1.0));
        }
        assert_eq!(backoff.until(), Some(now + QUARANTINE_MAX));
        backoff.ended();
        for window in [100, 200] {
            backoff.failed(now, None, Jitter(1.0));
            assert_eq!(backoff.until(), Some(now + Duration::from_millis(window)));
        }
    }

    #[test]
    fn an_interrupted_pause_is_over_and_the_next_one_is_not_the_shortest() {
        let (mut backoff, now) = (Backoff::of_quarantine(), Instant::now());
        for failures in 0..10 {
            backoff.interrupted();
            assert_eq!((backoff.until(), backoff.failures()), (None, failures.min(FAILURES_KEPT)));
            backoff.failed(now, None, Jitter(1.0));
        }
        assert_eq!(backoff.until(), Some(now + Duration::from_millis(1_600)));
    }

    #[test]
    fn a_pause_is_the_part_of_the_window_that_the_jitter_selects() {
        for part in [0.0, 0.25, 0.5, 1.0] {
            let (mut backoff, now) = (Backoff::default(), Instant::now());
            for window in [100, 200, 400] {
                backoff.failed(now, None, Jitter(part));
                let pause = Duration::from_millis(window).mul_f64(part);
                assert_eq!(backoff.until(), Some(now + pause));
            }
        }
    }

    #[test]
    fn a_success_ends_the_back_off() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        assert!(!backoff.is_on() && backoff.until().is_none());
        backoff.failed(now, None, Jitter(0.5));
        assert!(backoff.is_on());
        assert_eq!(backoff.until(), Some(now + FIRST / 2));
        backoff.ended();
        assert!(!backoff.is_on() && backoff.until().is_none());
    }

    #[test]
    fn a_pause_that_the_remote_requests_is_granted_up_to_the_longest() {
        let now = Instant::now();
        for (asked, granted) in [(0, 50), (2_000, 2_000), (600_000, 30_000)] {
            let mut backoff = Backoff::default();
            backoff.failed(now, Some(Duration::from_millis(asked)), Jitter(0.5));
            assert_eq!(backoff.until(), Some(now + Duration::from_millis(granted)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_pause_is_longer_than_the_longest(failures in 0_u32..100, jitter: f64, asked: u64) {
            let (mut backoff, now) = (Backoff::default(), Instant::now());
            for _ in 0..failures {
                backoff.failed(now, Some(Duration::from_secs(asked)), Jitter(jitter));
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
    fn retry_after_may_be_seconds_or_a_date() {
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
