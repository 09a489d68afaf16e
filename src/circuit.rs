//! Which keys the remote has refused: pure, the time is an argument.

use std::time::{Duration, Instant};

use ureq::http::HeaderValue;

/// How long nothing is sent with a key that was refused: it rarely gets better, and each try costs.
const OPEN_FOR: Duration = Duration::from_secs(5 * 60);

/// So many keys are remembered; one function has one, or a few. With more the oldest is tried again.
const KEYS_MAX: usize = 16;

/// A circuit breaker for each key; no key is one, too.
#[derive(Debug, Default)]
pub struct Circuit {
    open: Vec<(Option<HeaderValue>, Instant)>,
}

impl Circuit {
    /// The remote refused this key.
    pub fn open(&mut self, key: Option<&HeaderValue>, now: Instant) {
        self.open.retain(|(known, _)| known.as_ref() != key);
        if self.open.len() == KEYS_MAX {
            self.open.remove(0);
        }
        self.open.push((key.cloned(), now + OPEN_FOR));
    }

    /// Whether nothing is to be sent with this key.
    pub fn is_open(&self, key: Option<&HeaderValue>, now: Instant) -> bool {
        self.open.iter().any(|(known, until)| known.as_ref() == key && now < *until)
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
        assert!(!circuit.is_open(Some(&refused), now));
        circuit.open(Some(&refused), now);
        assert!(circuit.is_open(Some(&refused), now + OPEN_FOR.mul_f64(0.99)));
        assert!(!circuit.is_open(Some(&refused), now + OPEN_FOR));
        assert!(!circuit.is_open(Some(&key("b")), now) && !circuit.is_open(None, now));
        circuit.open(None, now);
        assert!(circuit.is_open(None, now));
    }

    #[test]
    fn no_more_keys_are_remembered_than_there_is_room_for() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        for nth in 0..=KEYS_MAX {
            circuit.open(Some(&key(&nth.to_string())), now);
            circuit.open(Some(&key(&nth.to_string())), now);
        }
        assert!(!circuit.is_open(Some(&key("0")), now));
        assert!((1..=KEYS_MAX).all(|nth| circuit.is_open(Some(&key(&nth.to_string())), now)));
    }
}
