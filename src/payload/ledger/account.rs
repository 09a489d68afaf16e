//! Counts the reports for one remote, so that no report is lost without a trace.
//!
//! Invariant: `accepted = delivered + dropped + pending` at any time. Accepting a report creates its
//! [`Entry`]. Each entry is settled exactly once, with the report's outcome. Dropping an unsettled entry
//! counts the report as failed. The existing entries are the pending reports.

use std::array;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::logging::in_ms;

/// Counts of reports since the process started. A report is one POST of an agent. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Account(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    delivered: AtomicU64,
    dropped: [AtomicU64; Loss::ALL.len()],
    refused: [AtomicU64; Refusal::ALL.len()],
    rejected_items: AtomicU64,
    /// The time of the last delivery, in milliseconds since 1970. 0 if there was none.
    last_delivery: AtomicU64,
}

/// Why an accepted report did not reach the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The report had no body, or an empty array.
    Empty,
    /// The remote answered 401 or 403.
    Unauthorized,
    /// The remote answered 413.
    TooLarge,
    /// The remote answered another status for which a retry is useless.
    Rejected,
    /// The report was the oldest in a full buffer, because the remote accepted no reports.
    Evicted,
    /// Time ran out at the end of the execution environment.
    Unsent,
    /// An internal fault lost the report.
    Failed,
}

impl Loss {
    pub const ALL: [Self; 7] = [
        Self::Empty,
        Self::Unauthorized,
        Self::TooLarge,
        Self::Rejected,
        Self::Evicted,
        Self::Unsent,
        Self::Failed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Unauthorized => "unauthorized",
            Self::TooLarge => "too_large",
            Self::Rejected => "rejected",
            Self::Evicted => "evicted",
            Self::Unsent => "unsent",
            Self::Failed => "failed",
        }
    }

    /// An explanation of the name, for the log.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Empty => "without content",
            Self::Unauthorized => "the remote refused the key",
            Self::TooLarge => "the remote refused the size",
            Self::Rejected => "the remote refused the report",
            Self::Evicted => "the remote failed until the buffer was full",
            Self::Unsent => "the end came first",
            Self::Failed => "a fault of the extension",
        }
    }
}

/// Why a request to the local collector was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The buffer had no room for the report.
    Full,
    /// The report is larger than allowed.
    TooLarge,
    /// The request's length, chunks or headers are invalid, or it ended early.
    Malformed,
    /// The path does not exist.
    UnknownPath,
    /// No remote is configured for the report.
    NoRemote,
    /// The path accepts another method only.
    WrongMethod,
    /// The report has a content type or encoding that OTLP does not have.
    UnknownMediaType,
    /// The client speaks HTTP/2, as each client of gRPC does.
    Http2,
    /// The client speaks TLS.
    Tls,
    /// An internal fault happened before the report was accepted.
    Failed,
}

impl Refusal {
    pub const ALL: [Self; 10] = [
        Self::Full,
        Self::TooLarge,
        Self::Malformed,
        Self::UnknownPath,
        Self::NoRemote,
        Self::WrongMethod,
        Self::UnknownMediaType,
        Self::Http2,
        Self::Tls,
        Self::Failed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::UnknownPath => "unknown_path",
            Self::NoRemote => "no_remote",
            Self::WrongMethod => "wrong_method",
            Self::UnknownMediaType => "unknown_media_type",
            Self::Http2 => "http2",
            Self::Tls => "tls",
            Self::Failed => "failed",
        }
    }

    /// An explanation of the name, for the log.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Full => "the buffer was full",
            Self::TooLarge => "larger than a report may be",
            Self::Malformed => "no whole report",
            Self::UnknownPath => "nothing is at that path",
            Self::NoRemote => "no remote is configured",
            Self::WrongMethod => "the path takes another method",
            Self::UnknownMediaType => "neither protobuf nor JSON",
            Self::Http2 => "HTTP/2 instead of HTTP/1.1",
            Self::Tls => "TLS instead of plain HTTP",
            Self::Failed => "a fault of the extension",
        }
    }
}

impl Account {
    /// Counts a report as accepted.
    pub fn accept(&self) -> Entry {
        self.0.accepted.fetch_add(1, Ordering::SeqCst);
        Entry { account: self.clone(), outcome: Outcome::Dropped(Loss::Failed) }
    }

    pub fn refuse(&self, refusal: Refusal) {
        self.0.refused[refusal as usize].fetch_add(1, Ordering::SeqCst);
    }

    /// Counts items that the remote rejected. The remote accepted the rest of their reports, which count as
    /// delivered.
    pub fn reject_items(&self, items: u64) {
        let more = |count: u64| Some(count.saturating_add(items));
        let _ = self.0.rejected_items.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
    }

    /// Records the time of a delivery. True if it is the first one.
    pub fn note_delivery(&self, now: SystemTime) -> bool {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0.last_delivery.swap(in_ms(since_epoch).max(1), Ordering::Relaxed) == 0
    }

    /// The time of the last delivery.
    pub fn last_delivery(&self) -> Option<SystemTime> {
        let ms = self.0.last_delivery.load(Ordering::Relaxed);
        (ms > 0).then(|| UNIX_EPOCH + Duration::from_millis(ms))
    }

    /// All counts at one moment.
    pub fn balance(&self) -> Balance {
        // Counters only grow, so two equal readings in a row show one moment. Under constant traffic no two
        // readings may be equal. Then the last reading differs by a few reports in flight.
        const READINGS_MAX: usize = 1_000;
        let mut last = self.read();
        for _ in 0..READINGS_MAX {
            let again = self.read();
            if again == last {
                break;
            }
            last = again;
        }
        last
    }

    fn read(&self) -> Balance {
        let load = |count: &AtomicU64| count.load(Ordering::SeqCst);
        Balance {
            delivered: load(&self.0.delivered),
            dropped: array::from_fn(|it| load(&self.0.dropped[it])),
            refused: array::from_fn(|it| load(&self.0.refused[it])),
            rejected_items: load(&self.0.rejected_items),
            // Read last, because each settled report was accepted before.
            accepted: load(&self.0.accepted),
        }
    }
}

/// An accepted report that is not settled yet. Dropping the entry counts the report as failed. So a report
/// that a panic destroys is counted too.
#[derive(Debug)]
#[must_use = "dropping the entry counts the report as failed"]
pub struct Entry {
    account: Account,
    outcome: Outcome,
}

/// The outcome of an accepted report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    Dropped(Loss),
}

impl Entry {
    /// The account that counts the report.
    pub fn account(&self) -> &Account {
        &self.account
    }

    pub fn settle(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let counts = &self.account.0;
        let count = match self.outcome {
            Outcome::Delivered => &counts.delivered,
            Outcome::Dropped(loss) => &counts.dropped[loss as usize],
        };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

/// All counts of an account at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    pub accepted: u64,
    pub delivered: u64,
    pub rejected_items: u64,
    dropped: [u64; Loss::ALL.len()],
    refused: [u64; Refusal::ALL.len()],
}

impl Balance {
    pub fn dropped(&self, loss: Loss) -> u64 {
        self.dropped[loss as usize]
    }

    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize]
    }

    pub fn pending(&self) -> u64 {
        self.accepted - self.delivered - self.dropped.iter().sum::<u64>()
    }
}

impl Add for Balance {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            delivered: self.delivered + other.delivered,
            dropped: array::from_fn(|it| self.dropped[it] + other.dropped[it]),
            refused: array::from_fn(|it| self.refused[it] + other.refused[it]),
            rejected_items: self.rejected_items.saturating_add(other.rejected_items),
        }
    }
}

/// The format of `/health`.
impl Serialize for Balance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let dropped = Loss::ALL.map(|loss| (loss.name(), self.dropped(loss)));
        let refused = Refusal::ALL.map(|refusal| (refusal.name(), self.refused(refusal)));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("accepted", &self.accepted)?;
        map.serialize_entry("delivered", &self.delivered)?;
        map.serialize_entry("pending", &self.pending())?;
        map.serialize_entry("dropped", &Named(&dropped))?;
        map.serialize_entry("refused", &Named(&refused))?;
        map.serialize_entry("rejected_items", &self.rejected_items)?;
        map.end()
    }
}

struct Named<'a>(&'a [(&'static str, u64)]);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_is_pending_until_it_is_settled_once() {
        let account = Account::default();
        let [first, second, third] = array::from_fn(|_| account.accept());
        first.settle(Outcome::Delivered);
        second.settle(Outcome::Dropped(Loss::Rejected));
        let balance = account.balance();
        assert_eq!((balance.accepted, balance.delivered, balance.pending()), (3, 1, 1));
        assert_eq!(balance.dropped(Loss::Rejected), 1);
        drop(third);
        assert_eq!((account.balance().pending(), account.balance().dropped(Loss::Failed)), (0, 1));
    }

    #[test]
    fn an_entry_that_a_panic_destroys_counts_as_failed() {
        let account = Account::default();
        let panicking = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _entry = account.accept();
                std::panic::resume_unwind(Box::new(()));
            });
            thread.join().is_err()
        });
        assert!(panicking);
        assert_eq!(account.balance().dropped(Loss::Failed), 1);
    }

    #[test]
    fn only_the_first_delivery_counts_as_first_and_the_last_one_is_remembered() {
        let account = Account::default();
        assert_eq!(account.last_delivery(), None);
        assert!(account.note_delivery(UNIX_EPOCH));
        for ms in [1, 1_795_431_644_745] {
            let now = UNIX_EPOCH + Duration::from_millis(ms);
            assert!(!account.note_delivery(now));
            assert_eq!(account.last_delivery(), Some(now));
        }
    }

    #[test]
    fn losses_and_refusals_are_listed_in_the_order_of_their_counters() {
        for (at, loss) in Loss::ALL.into_iter().enumerate() {
            assert_eq!(loss as usize, at);
        }
        for (at, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, at);
        }
    }

    #[test]
    fn a_balance_under_traffic_never_shows_more_settled_than_accepted() {
        let account = Account::default();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope
                    .spawn(|| (0..5_000).for_each(|_| account.accept().settle(Outcome::Delivered)));
            }
            for _ in 0..500 {
                let balance = account.balance();
                assert!(balance.delivered <= balance.accepted, "{balance:?}");
            }
        });
        assert_eq!((account.balance().accepted, account.balance().pending()), (15_000, 0));
    }
}
