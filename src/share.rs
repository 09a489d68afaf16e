//! What of the buffer one remote's reports may take: all of it, until another's come too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub struct Share {
    /// Bytes.
    buffer: usize,
    /// How many of the shares are used.
    used: Arc<AtomicUsize>,
    is_used: bool,
}

impl Share {
    pub fn of(buffer: usize) -> Self {
        Self { buffer, used: Arc::default(), is_used: false }
    }

    /// Another one of the same buffer.
    pub fn another(&self) -> Self {
        Self { buffer: self.buffer, used: Arc::clone(&self.used), is_used: false }
    }

    /// To be told of each report.
    pub fn takes(&mut self) {
        if !self.is_used {
            self.is_used = true;
            self.used.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Equal parts, for those that are used: one that is full of what its remote does not take leaves
    /// the others theirs.
    pub fn bytes(&self) -> usize {
        self.buffer / self.used.load(Ordering::Relaxed).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_has_all_and_two_have_a_half_each() {
        let mut one = Share::of(100);
        let mut other = one.another();
        assert_eq!(one.bytes(), 100);
        one.takes();
        one.takes();
        assert_eq!((one.bytes(), other.bytes()), (100, 100), "nothing has come for the other");
        other.takes();
        assert_eq!((one.bytes(), other.bytes()), (50, 50));
    }
}
