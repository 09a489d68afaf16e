//! The body of a report while a server reads it.
//!
//! Invariant: a permit is taken before the bytes that it covers are kept. So a client that stalls uses at most
//! [`STEP`] bytes of the quota, or twice the bytes that it has sent.

use crate::payload::quota::{Permit, Quota};

/// The longest body that is read to its end although it is not kept, in bytes. Beyond it, the server answers and
/// closes the connection. A client that waits until its whole body is sent then sees the connection end.
pub const UNKEPT_MAX: usize = 128_000_000;

/// The least step by which a permit grows, in bytes. A step is as large as the bytes kept so far, if that is more.
const STEP: usize = 16 * 1024;

/// A complete body, and the permit for it and for the caller's overhead.
#[derive(Debug)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub permit: Permit,
}

/// A body of which some bytes are kept.
#[derive(Debug)]
pub struct PaidBody {
    bytes: Vec<u8>,
    /// For the overhead, the kept bytes, and [`Self::room`] more.
    permit: Permit,
    overhead: usize,
    /// Size limit of the bytes.
    bytes_max: usize,
}

/// The reason if a body is shorter than its length.
pub const ENDED_EARLY: &str = "a body that ended before its content-length";

/// The content of a well-formed body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Empty,
    Items,
}

/// Why a body was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The buffer has no room now.
    Full,
    /// The body is larger than one report may be.
    TooLarge,
    Malformed(&'static str),
}

impl PaidBody {
    /// Begins a body of this length, if it is known. `overhead` is the number of bytes that the caller keeps in
    /// addition to the body.
    ///
    /// # Errors
    /// The body can never be kept, or the overhead has no room now.
    pub fn begin(quota: &Quota, overhead: usize, length: Option<u64>) -> Result<Self, ReadError> {
        let bytes_max = quota.report_max().checked_sub(overhead).ok_or(ReadError::TooLarge)?;
        if length.is_some_and(|it| it > bytes_max as u64) {
            return Err(ReadError::TooLarge);
        }
        let permit = quota.take(overhead).ok_or(ReadError::Full)?;
        Ok(Self { bytes: Vec::new(), permit, overhead, bytes_max })
    }

    /// Takes a permit for the next step of at most `left` further bytes. Returns the size of the step. It is 0
    /// if the body has reached its limit.
    ///
    /// # Errors
    /// The quota has no room now.
    pub fn grow(&mut self, left: usize) -> Result<usize, ReadError> {
        let kept = self.bytes.len();
        let longest = STEP.max(kept).min(self.bytes_max - kept).min(left);
        let paid = [longest, longest.min(STEP)].into_iter().find(|&step| self.permit.grow(step));
        let step = paid.ok_or(ReadError::Full)?;
        self.bytes.reserve_exact(step);
        Ok(step)
    }

    /// The kept bytes. The caller may add as many as [`Self::grow`] has returned.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Keeps further bytes. `left` is how many the rest of the body has at most, these included.
    ///
    /// # Errors
    /// The quota has no room now, or the body is larger than one report may be.
    pub fn push(&mut self, mut bytes: &[u8], mut left: usize) -> Result<(), ReadError> {
        while !bytes.is_empty() {
            if self.room() == 0 && self.grow(left)? == 0 {
                return Err(ReadError::TooLarge);
            }
            let (fits, rest) = bytes.split_at(self.room().min(bytes.len()));
            self.bytes.extend_from_slice(fits);
            left -= fits.len();
            bytes = rest;
        }
        Ok(())
    }

    /// Ends the body. Its permit then covers exactly the bytes and the overhead.
    pub fn finish(mut self) -> Body {
        self.bytes.shrink_to_fit();
        self.permit.shrink_to(self.overhead + self.bytes.len());
        Body { bytes: self.bytes, permit: self.permit }
    }

    /// How many further bytes have a permit.
    fn room(&self) -> usize {
        self.permit.bytes() - self.overhead - self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_covers_the_kept_bytes_and_their_overhead() {
        let quota = Quota::of(100);
        let mut body = PaidBody::begin(&quota, 7, None).unwrap();
        assert_eq!(quota.held(), 7);
        body.push(b"01234", usize::MAX).unwrap();
        assert!(quota.held() >= 12);
        body.push(b"56789", usize::MAX).unwrap();
        let body = body.finish();
        assert_eq!((body.bytes.as_slice(), quota.held()), (&b"0123456789"[..], 17));
        drop(body);
        assert_eq!(quota.held(), 0);
    }

    #[test]
    fn a_body_that_never_fits_is_too_large_and_one_that_does_not_fit_now_is_not() {
        let quota = Quota::of(40); // one report takes at most 30
        let read = |overhead, length: Option<u64>| {
            let mut body = PaidBody::begin(&quota, overhead, length)?;
            body.push(&[0; 20], length.map_or(usize::MAX, |_| 20)).map(|()| body.finish())
        };
        for length in [None, Some(20)] {
            assert!(read(10, length).is_ok());
            assert_eq!(read(11, length).err(), Some(ReadError::TooLarge));
            assert_eq!(read(31, length).err(), Some(ReadError::TooLarge));
        }
        let held = quota.take(15);
        assert_eq!(read(10, Some(20)).err(), Some(ReadError::Full));
        assert_eq!(quota.held(), 15);
        drop(held);
        assert!(read(10, Some(20)).is_ok());
    }

    #[test]
    fn a_stalled_client_holds_at_most_a_step_or_twice_its_bytes() {
        let quota = Quota::of(8 << 20);
        let mut body = PaidBody::begin(&quota, 0, None).unwrap();
        for sent in (1..2_000).map(|it| it * 1_000) {
            body.push(&[0; 1_000], usize::MAX).unwrap();
            assert!(quota.held() <= STEP.max(2 * sent), "{sent}: {}", quota.held());
        }
    }
}
