//! A circuit breaker for each key that the remote refuses. Pure: the time is an argument.
//!
//! `refused` opens a circuit, so that reports with the key are dropped. After [`OPEN_FOR`] it is half-open: one
//! report is sent as a test. `delivered` closes it.
//!
//! A 401 or 403 may be about the key, or come from a firewall that refuses one report. So after a refused
//! request with several reports, one of them is sent alone. The key counts as refused only after single
//! reports are refused.

use std::time::{Duration, Instant};

use ureq::http::{HeaderValue, StatusCode};

use super::{Refused, Verdict};
use crate::payload::signal::Signal;

/// How long nothing is sent with a refused key. Reports with the key are dropped. A refused key rarely
/// becomes valid, and each test costs a request.
const OPEN_FOR: Duration = Duration::from_secs(5 * 60);

/// How long a key that the remote accepted in a test is not doubted again.
const PROVEN_FOR: Duration = Duration::from_secs(60);

/// How many keys are remembered. With more, the oldest good one is forgotten, or the oldest one if none is
/// good. A forgotten key is tried again. A function has only one or a few keys.
const KEYS_MAX: usize = 16;

/// This many single reports in a row must be refused before a key that worked before counts as refused.
const REFUSED_ALONE_MAX: u32 = 3;

/// A 403 this long after the one before begins a new row, if the key worked before. A function that is
/// invoked once a minute sends each report alone, and a firewall may refuse them all.
const ROW_GAP: Duration = Duration::from_secs(30);

/// This many single reports must get a 403 before a key that never worked counts as refused, because a
/// firewall may answer 403, too.
const FORBIDDEN_ALONE_MAX: u32 = 2;

/// A circuit breaker for each key and signal. Reports without a key count as one key.
#[derive(Debug, Default)]
pub struct KeyCircuitBreaker {
    keys: Vec<Key>,
}

/// The state of a key. With OTLP each signal has its own state, because some keys are valid for some signals
/// only.
#[derive(Debug)]
struct Key {
    signal: Option<Signal>,
    value: Option<HeaderValue>,
    has_delivered: bool,
    /// How many single reports in a row were refused.
    refused_alone: u32,
    /// When the last one was refused.
    refused_at: Option<Instant>,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Good,
    /// The next report is sent alone, as a test.
    Doubted,
    /// The remote accepted the test of a doubted key.
    ProvenUntil(Instant),
    /// Nothing is sent with the key until this time. Then one report is sent alone, as a test.
    RefusedUntil(Instant),
}

impl KeyCircuitBreaker {
    /// Whether nothing may be sent with this key now.
    pub fn is_open(&self, signal: Option<Signal>, key: Option<&HeaderValue>, now: Instant) -> bool {
        let standing = self.find(signal, key).map(|it| it.standing);
        matches!(standing, Some(Standing::RefusedUntil(until)) if now < until)
    }

    /// Whether the next request with this key must have one report only, which tests the key.
    pub fn is_tested(
        &self,
        signal: Option<Signal>,
        key: Option<&HeaderValue>,
        now: Instant,
    ) -> bool {
        self.find(signal, key).is_some_and(|it| match it.standing {
            Standing::Doubted => true,
            Standing::RefusedUntil(until) => now >= until,
            Standing::Good | Standing::ProvenUntil(_) => false,
        })
    }

    /// Records that the remote accepted a request with this key.
    pub fn delivered(&mut self, signal: Option<Signal>, key: Option<&HeaderValue>, now: Instant) {
        let key = self.entry(signal, key);
        key.has_delivered = true;
        key.refused_alone = 0;
        key.standing = match key.standing {
            Standing::Doubted => Standing::ProvenUntil(now + PROVEN_FOR),
            Standing::ProvenUntil(until) if now < until => key.standing,
            _ => Standing::Good,
        };
    }

    /// Records that the remote answered 401 or 403.
    pub fn refused(&mut self, request: &Refused<'_>, now: Instant) -> Verdict {
        let key = self.entry(request.route.signal(), request.key);
        if request.reports > 1 {
            if !matches!(key.standing, Standing::ProvenUntil(until) if now < until) {
                key.standing = Standing::Doubted;
            }
            return Verdict::Split;
        }
        if key.begins_row(request.status, now) {
            key.refused_alone = 0;
        }
        key.refused_alone = key.refused_alone.saturating_add(1);
        key.refused_at = Some(now);
        if key.refused_alone < key.refused_alone_max(request.status) {
            key.standing = Standing::Doubted;
            return Verdict::Drop;
        }
        key.standing = Standing::RefusedUntil(now + OPEN_FOR);
        Verdict::DropKey
    }

    fn find(&self, signal: Option<Signal>, key: Option<&HeaderValue>) -> Option<&Key> {
        self.keys.iter().find(|it| it.is(signal, key))
    }

    fn entry(&mut self, signal: Option<Signal>, key: Option<&HeaderValue>) -> &mut Key {
        let known = self.keys.iter().position(|it| it.is(signal, key));
        let index = known.unwrap_or_else(|| {
            if self.keys.len() == KEYS_MAX {
                let good = self.keys.iter().position(|it| it.standing == Standing::Good);
                self.keys.remove(good.unwrap_or_default());
            }
            self.keys.push(Key::of(signal, key));
            self.keys.len() - 1
        });
        &mut self.keys[index]
    }
}

impl Key {
    fn of(signal: Option<Signal>, value: Option<&HeaderValue>) -> Self {
        let (value, standing) = (value.cloned(), Standing::Good);
        let (has_delivered, refused_alone, refused_at) = (false, 0, None);
        Self { signal, value, has_delivered, refused_alone, refused_at, standing }
    }

    fn is(&self, signal: Option<Signal>, value: Option<&HeaderValue>) -> bool {
        (self.signal, self.value.as_ref()) == (signal, value)
    }

    /// Whether a refusal begins a new row. The test of a refused key continues its row.
    fn begins_row(&self, status: StatusCode, now: Instant) -> bool {
        let is_late = |at| now.saturating_duration_since(at) >= ROW_GAP;
        let is_refused = matches!(self.standing, Standing::RefusedUntil(_));
        let may_be_a_firewalls = self.has_delivered && status == StatusCode::FORBIDDEN;
        may_be_a_firewalls && !is_refused && self.refused_at.is_some_and(is_late)
    }

    fn refused_alone_max(&self, status: StatusCode) -> u32 {
        match (self.has_delivered, status) {
            (true, _) => REFUSED_ALONE_MAX,
            (false, StatusCode::FORBIDDEN) => FORBIDDEN_ALONE_MAX,
            (false, _) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::ledger::Loss;
    use crate::payload::route::Route;

    const TRACES: Route = Route::Otlp(Signal::Traces);

    fn key(text: &str) -> HeaderValue {
        HeaderValue::from_str(text).unwrap()
    }

    /// A request with this many reports that got this status.
    fn request(key: Option<&HeaderValue>, status: u16, reports: usize) -> Refused<'_> {
        let status = StatusCode::from_u16(status).unwrap();
        let (loss, bytes, is_divisible) = (Loss::Unauthorized, 10, false);
        Refused { route: TRACES, key, status, loss, reports, bytes, is_divisible }
    }

    #[test]
    fn only_a_refused_key_is_not_used_for_some_time() {
        for refused in [None, Some(&key("a"))] {
            let (mut circuit, now, signal) =
                (KeyCircuitBreaker::default(), Instant::now(), TRACES.signal());
            assert!(!circuit.is_open(signal, refused, now));
            assert_eq!(circuit.refused(&request(refused, 401, 1), now), Verdict::DropKey);
            assert!(circuit.is_open(signal, refused, now + OPEN_FOR.mul_f64(0.99)));
            assert!(!circuit.is_open(signal, refused, now + OPEN_FOR));
            assert!(circuit.is_tested(signal, refused, now + OPEN_FOR));
            assert!(!circuit.is_open(signal, Some(&key("b")), now));
            assert!(!circuit.is_open(Some(Signal::Logs), refused, now), "it may be good for logs");
        }
    }

    #[test]
    fn a_doubted_key_is_tested_until_it_is_accepted_or_refused() {
        let (mut circuit, now, signal, value) =
            (KeyCircuitBreaker::default(), Instant::now(), TRACES.signal(), key("a"));
        let several = request(Some(&value), 403, 2);
        assert_eq!(circuit.refused(&several, now), Verdict::Split);
        assert!(circuit.is_tested(signal, Some(&value), now));
        circuit.delivered(signal, Some(&value), now);
        assert!(!circuit.is_tested(signal, Some(&value), now));
        // The remote has just accepted the key, so refusals are about reports.
        circuit.refused(&several, now);
        assert!(!circuit.is_tested(signal, Some(&value), now));
        circuit.refused(&several, now + PROVEN_FOR);
        assert!(circuit.is_tested(signal, Some(&value), now + PROVEN_FOR));
    }

    #[test]
    fn good_keys_are_forgotten_before_a_refused_one() {
        let (mut circuit, now, signal) =
            (KeyCircuitBreaker::default(), Instant::now(), TRACES.signal());
        let bad = key("bad");
        circuit.refused(&request(Some(&bad), 401, 1), now);
        for nth in 0..3 * KEYS_MAX {
            circuit.delivered(signal, Some(&key(&nth.to_string())), now);
        }
        assert!(circuit.is_open(signal, Some(&bad), now));
        assert_eq!(circuit.keys.len(), KEYS_MAX);
    }

    #[test]
    fn refusals_of_a_proven_key_that_are_far_apart_are_about_reports() {
        for (status, gap, is_refused) in
            [(403, ROW_GAP, false), (403, ROW_GAP / 2, true), (401, ROW_GAP, true)]
        {
            let (mut circuit, mut now, value) =
                (KeyCircuitBreaker::default(), Instant::now(), key("a"));
            circuit.delivered(TRACES.signal(), Some(&value), now);
            let mut verdicts = Vec::new();
            for _ in 0..10 {
                now += gap;
                verdicts.push(circuit.refused(&request(Some(&value), status, 1), now));
            }
            assert_eq!(verdicts.contains(&Verdict::DropKey), is_refused, "{status} each {gap:?}");
        }
    }

    #[test]
    fn beyond_the_limit_the_oldest_key_is_forgotten() {
        let (mut circuit, now, signal) =
            (KeyCircuitBreaker::default(), Instant::now(), TRACES.signal());
        let keys: Vec<HeaderValue> = (0..=KEYS_MAX).map(|nth| key(&nth.to_string())).collect();
        for key in &keys {
            circuit.refused(&request(Some(key), 401, 1), now);
            circuit.refused(&request(Some(key), 401, 1), now);
        }
        assert!(!circuit.is_open(signal, Some(&keys[0]), now));
        assert!(keys[1..].iter().all(|key| circuit.is_open(signal, Some(key), now)));
    }
}
