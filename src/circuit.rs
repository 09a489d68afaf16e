//! Which keys the remote has refused: pure, the time is an argument.

use std::time::{Duration, Instant};

use ureq::http::HeaderValue;

use crate::signal::Signal;

/// How long nothing is sent with a key that was refused: it rarely gets better, and each try costs.
const OPEN_FOR: Duration = Duration::from_secs(5 * 60);

/// So many keys are remembered; one function has one, or a few. With more the oldest is tried again.
const KEYS_MAX: usize = 16;

/// A circuit breaker for each key, where it is used; no key is one, too.
#[derive(Debug, Default)]
pub struct Circuit {
    open: Vec<(Option<Signal>, Option<HeaderValue>, Instant)>,
}

impl Circuit {
    /// The remote refused this key, for this signal if it is one for OTLP: some keys are good for a
    /// part of them.
    pub fn open(&mut self, signal: Option<Signal>, key: Option<&HeaderValue>, now: Instant) {
        self.open.retain(|(of, known, _)| (*of, known.as_ref()) != (signal, key));
        if self.open.len() == KEYS_MAX {
            self.open.remove(0);
        }
        self.open.push((signal, key.cloned(), now + OPEN_FOR));
    }

    /// Whether nothing is to be sent with this key.
    pub fn is_open(&self, signal: Option<Signal>, key: Option<&HeaderValue>, now: Instant) -> bool {
        let is_it = |of: Option<Signal>, known: Option<&HeaderValue>| (of, known) == (signal, key);
        self.open.iter().any(|(of, known, until)| is_it(*of, known.as_ref()) && now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> HeaderValue {
        HeaderValue::from_str(text).unwrap()
    }

    #[test]
    fn a_refused_key_is_left_alone_for_a_time_and_no_other_is() {
        let (mut circuit, now, refused) = (Circuit::default(), Instant::now(), key("a"));
        assert!(!circuit.is_open(None, Some(&refused), now));
        circuit.open(None, Some(&refused), now);
        assert!(circuit.is_open(None, Some(&refused), now + OPEN_FOR.mul_f64(0.99)));
        assert!(!circuit.is_open(None, Some(&refused), now + OPEN_FOR));
        assert!(!circuit.is_open(None, Some(&key("b")), now) && !circuit.is_open(None, None, now));
        circuit.open(None, None, now);
        assert!(circuit.is_open(None, None, now));
    }

    #[test]
    fn a_key_that_is_refused_for_one_signal_is_tried_for_the_others() {
        let (mut circuit, now, refused) = (Circuit::default(), Instant::now(), key("a"));
        for key in [None, Some(&refused)] {
            circuit.open(Some(Signal::Logs), key, now);
            assert!(circuit.is_open(Some(Signal::Logs), key, now));
            assert!(!circuit.is_open(Some(Signal::Traces), key, now));
        }
    }

    #[test]
    fn no_more_keys_are_remembered_than_there_is_room_for() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        for nth in 0..=KEYS_MAX {
            circuit.open(None, Some(&key(&nth.to_string())), now);
            circuit.open(None, Some(&key(&nth.to_string())), now);
        }
        assert!(!circuit.is_open(None, Some(&key("0")), now));
        assert!((1..=KEYS_MAX).all(|nth| circuit.is_open(None, Some(&key(&nth.to_string())), now)));
    }
}
