//! A remote's quota of the buffer: an equal part, fixed at the start.

use crate::payload::budget::{Budget, Permit};

/// The largest part of the buffer for one report, as a fraction. A larger one is answered with 413.
/// The rest is room for other reports while this one is read and sent.
const REPORT_PART_MAX: (usize, usize) = (3, 4);

/// The quota of one remote. Clones share it.
#[derive(Clone, Debug)]
pub struct Quota {
    whole: Budget,
    part: Budget,
}

impl Quota {
    /// The quotas of this many remotes: equal parts of the buffer.
    pub fn of_each(buffer: &Budget, remotes: usize) -> impl Iterator<Item = Self> {
        let whole = buffer.clone();
        (0..remotes)
            .map(move |_| Self { whole: whole.clone(), part: Budget::of(whole.size() / remotes) })
    }

    /// A quota of the whole buffer.
    pub fn all_of(buffer: &Budget) -> Self {
        Self { whole: buffer.clone(), part: Budget::of(buffer.size()) }
    }

    /// The size of the quota, in bytes.
    pub fn size(&self) -> usize {
        self.part.size()
    }

    /// How many bytes of the quota are in use.
    pub fn held(&self) -> usize {
        self.part.held()
    }

    /// Size limit of one report, in bytes.
    pub fn report_max(&self) -> usize {
        let (part, whole) = REPORT_PART_MAX;
        self.size().min(self.whole.size() / whole * part)
    }

    /// Takes this many bytes of the quota and of the buffer. `None` if fewer are free now.
    pub fn take(&self, bytes: usize) -> Option<Room> {
        let (of_quota, of_buffer) = (self.part.take(bytes)?, self.whole.take(bytes)?);
        Some(Room { of_buffer, of_quota })
    }

    /// Takes bytes of the quota only, because another remote's report already has a permit of the buffer for
    /// them.
    pub fn take_shared(&self, bytes: usize) -> Option<Permit> {
        self.part.take(bytes)
    }
}

/// Bytes of the buffer and of one remote's quota.
#[derive(Debug)]
#[must_use = "dropping it gives its bytes back"]
pub struct Room {
    pub of_buffer: Permit,
    pub of_quota: Permit,
}

impl Room {
    /// Takes `bytes` more. False if fewer bytes are free now; then nothing is taken.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let before = self.of_quota.bytes();
        if !self.of_quota.grow(bytes) {
            return false;
        }
        let is_taken = self.of_buffer.grow(bytes);
        if !is_taken {
            self.of_quota.shrink_to(before);
        }
        is_taken
    }

    /// Returns all bytes except `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.of_buffer.shrink_to(bytes);
        self.of_quota.shrink_to(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_remote_has_an_equal_part_however_much_the_others_take() {
        let buffer = Budget::of(80);
        let quotas: Vec<Quota> = Quota::of_each(&buffer, 4).collect();
        let rooms: Vec<Room> = quotas.iter().map(|it| it.take(20).unwrap()).collect();
        assert!(quotas.iter().all(|it| it.size() == 20 && it.take(1).is_none()));
        assert_eq!((buffer.held(), quotas[0].held()), (80, 20));
        drop(rooms);
        assert_eq!((buffer.held(), quotas[0].held()), (0, 0));
    }

    #[test]
    fn one_report_takes_at_most_three_quarters_of_the_buffer_and_its_remotes_part() {
        let report_max =
            |remotes| Quota::of_each(&Budget::of(80), remotes).next().unwrap().report_max();
        assert_eq!([1, 2, 4].map(report_max), [60, 40, 20]);
    }

    #[test]
    fn room_is_taken_from_both_the_quota_and_the_buffer_or_from_neither() {
        let buffer = Budget::of(10);
        let quota = Quota::all_of(&buffer);
        let mut room = quota.take(5).unwrap();
        let others = buffer.take(4);
        assert!(!room.grow(2) && room.grow(1) && !room.grow(usize::MAX));
        assert!(quota.take(1).is_none());
        assert_eq!((quota.held(), buffer.held()), (6, 10));
        room.shrink_to(1);
        assert_eq!((quota.held(), buffer.held()), (1, 5));
        drop((room, others));
        assert_eq!((quota.held(), buffer.held()), (0, 0));
    }
}
