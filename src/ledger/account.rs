//! The counts behind the promise that nothing is lost silently, for one protocol.
//!
//! Invariant: `accepted = delivered + dropped + pending` at every moment. A report is accepted by
//! making its [`Entry`], and each entry is settled exactly once: by what became of the report, or
//! by being dropped, which counts it as failed. Pending are the entries that are alive.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::ser::{Serialize, SerializeMap, Serializer};

/// Counts of reports (one POST of an agent each) since the process started. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Account(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    delivered: AtomicU64,
    dropped: [AtomicU64; Loss::ALL.len()],
    refused: [AtomicU64; Refusal::ALL.len()],
    rejected_items: AtomicU64,
}

/// Why an accepted report did not reach the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It held nothing: no body, or an empty array.
    Empty,
    /// The remote answered 401 or 403.
    Unauthorized,
    /// The remote answered 413.
    TooLarge,
    /// The remote answered another status that sending again would not change.
    Rejected,
    /// It was the oldest when the buffer was full of what the remote did not take.
    Evicted,
    /// Time ran out at the end of the sandbox.
    Unsent,
    /// It was in hand when something inside failed.
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
}

/// Why a request to the local collector was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The budget had no room for it at that moment.
    Full,
    /// It is larger than one report may be.
    TooLarge,
    /// Its length, chunks or headers make no sense, or it ended early.
    Malformed,
    /// There is nothing at that path.
    UnknownPath,
    /// It is a report for which there is no remote.
    NoRemote,
    /// The path takes another method.
    WrongMethod,
    /// It is written or encoded in a way that OTLP does not have.
    UnknownMediaType,
}

impl Refusal {
    pub const ALL: [Self; 7] = [
        Self::Full,
        Self::TooLarge,
        Self::Malformed,
        Self::UnknownPath,
        Self::NoRemote,
        Self::WrongMethod,
        Self::UnknownMediaType,
    ];

    /// Whether a report was lost by it, rather than a stray request turned away.
    pub fn is_loss(self) -> bool {
        !matches!(self, Self::UnknownPath | Self::WrongMethod)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::UnknownPath => "unknown_path",
            Self::NoRemote => "no_remote",
            Self::WrongMethod => "wrong_method",
            Self::UnknownMediaType => "unknown_media_type",
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

    /// Counts items that the remote rejected of reports which it took otherwise: these are delivered.
    pub fn reject_items(&self, items: u64) {
        let more = |count: u64| Some(count.saturating_add(items));
        let _ = self.0.rejected_items.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
    }

    /// All counts as they stood at one moment.
    pub fn balance(&self) -> Balance {
        // The counters only grow, so two equal readings in a row are one moment. Under a flood of
        // reports that moment may not come; the last reading then differs by reports in flight.
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
            // Last: whatever was settled above had been accepted before.
            accepted: load(&self.0.accepted),
        }
    }
}

/// An accepted report that is not settled yet. Dropping it counts the report as failed, so that
/// nothing a panic takes along goes uncounted.
#[derive(Debug)]
#[must_use = "dropping the entry counts the report as failed"]
pub struct Entry {
    account: Account,
    outcome: Outcome,
}

/// What became of an accepted report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    Dropped(Loss),
}

impl Entry {
    /// Where it is counted.
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

/// The counts at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    pub accepted: u64,
    pub delivered: u64,
    dropped: [u64; Loss::ALL.len()],
    refused: [u64; Refusal::ALL.len()],
    rejected_items: u64,
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

    /// The line written at SHUTDOWN, and whether anything was lost. An empty report is no loss; one
    /// that is still pending at the end is unsent.
    pub fn closing_line(&self) -> (String, bool) {
        let lost = |loss| {
            let pending = if loss == Loss::Unsent { self.pending() } else { 0 };
            (self.dropped(loss) + pending, loss.name().to_owned())
        };
        let dropped = Loss::ALL.into_iter().filter(|&it| it != Loss::Empty).map(lost);
        let refused = Refusal::ALL.into_iter().filter(|&it| it.is_loss());
        let rejected = (self.rejected_items, "rejected items of what was delivered".to_owned());
        let causes: Vec<String> = dropped
            .chain(refused.map(|it| (self.refused(it), format!("refused as {}", it.name()))))
            .chain([rejected])
            .filter(|&(count, _)| count > 0)
            .map(|(count, cause)| format!("{count} {cause}"))
            .collect();
        let delivered =
            format!("delivered {} of {} accepted reports", self.delivered, self.accepted);
        if causes.is_empty() {
            (delivered, false)
        } else {
            (format!("{delivered}, lost: {}", causes.join(", ")), true)
        }
    }
}

/// As `/health` shows it.
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
    fn an_entry_that_a_panic_takes_along_counts_as_failed() {
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

    #[track_caller]
    fn check(losses: &[Loss], refusals: &[Refusal], line: &str, lost: bool) {
        let account = Account::default();
        account.accept().settle(Outcome::Delivered);
        for &loss in losses {
            account.accept().settle(Outcome::Dropped(loss));
        }
        for &refusal in refusals {
            account.refuse(refusal);
        }
        assert_eq!(account.balance().closing_line(), (line.to_owned(), lost));
    }

    #[test]
    fn the_closing_line_names_every_loss_with_its_reason() {
        check(&[], &[], "delivered 1 of 1 accepted reports", false);
        check(&[Loss::Empty], &[], "delivered 1 of 2 accepted reports", false);
        check(&[], &[Refusal::UnknownPath], "delivered 1 of 1 accepted reports", false);
        check(
            &[Loss::Unsent, Loss::Unauthorized, Loss::Unsent],
            &[Refusal::Full],
            "delivered 1 of 4 accepted reports, lost: 1 unauthorized, 2 unsent, 1 refused as full",
            true,
        );
    }

    #[test]
    fn what_is_pending_at_the_end_is_unsent() {
        let account = Account::default();
        let _in_hand = account.accept();
        account.accept().settle(Outcome::Dropped(Loss::Unsent));
        let (line, lost) = account.balance().closing_line();
        assert!(lost);
        assert_eq!(line, "delivered 0 of 2 accepted reports, lost: 2 unsent");
    }

    #[test]
    fn names_follow_the_order_of_their_counters() {
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
