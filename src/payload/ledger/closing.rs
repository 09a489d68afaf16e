//! The closing line of a remote, which is logged at SHUTDOWN.

use std::fmt::Write;

use log::Level;

use super::account::{Balance, Loss, Refusal};
use crate::logging;
use crate::payload::protocol::Protocol;

/// The outcomes of all reports for one remote, or the refusals of a port without a remote.
#[derive(Debug)]
pub struct Closing {
    protocol: Protocol,
    remote: Option<String>,
    balance: Balance,
}

impl Closing {
    pub fn of(protocol: Protocol, remote: Option<String>, balance: Balance) -> Self {
        Self { protocol, remote, balance }
    }

    /// Adds these counts.
    pub fn add(&mut self, balance: Balance) {
        let own = std::mem::take(&mut self.balance);
        self.balance = own + balance;
    }

    /// Logs the line, as a warning if reports or items were lost.
    pub fn log(&self) {
        let reason = self.reason();
        let level = if reason.is_empty() { Level::Info } else { Level::Warn };
        let Balance { accepted, delivered, rejected_items, .. } = self.balance;
        logging::at!(
            level,
            fields: [
                ("remote", self.remote.as_deref().unwrap_or_default().into()),
                ("protocol", self.protocol.name().into()),
                ("accepted", accepted.into()),
                ("refused", self.refused().into()),
                ("delivered", delivered.into()),
                ("empty", self.balance.dropped(Loss::Empty).into()),
                ("lost", self.lost().into()),
                ("rejected_items", rejected_items.into()),
                ("reason", (&*reason).into()),
                ("version", env!("CARGO_PKG_VERSION").into()),
            ],
            "{}",
            self.line(&reason)
        );
    }

    fn line(&self, reason: &str) -> String {
        let Balance { accepted, delivered, .. } = self.balance;
        let to = self.remote.as_ref().map_or(" without a remote", |_| " to ");
        let (protocol, remote) = (self.protocol.name(), self.remote.as_deref().unwrap_or_default());
        let mut line =
            format!("{protocol}{to}{remote}: {accepted} accepted, {delivered} delivered");
        let empty = self.balance.dropped(Loss::Empty);
        if empty > 0 {
            let _ = write!(line, ", {empty} empty");
        }
        if !reason.is_empty() {
            line += ", lost: ";
            line += reason;
        }
        line
    }

    /// How many reports were lost: those refused, and those accepted but not delivered, except empty ones. So
    /// `accepted + refused = delivered + empty + lost`.
    fn lost(&self) -> u64 {
        LOSSES.iter().fold(self.refused(), |lost, it| lost + self.dropped(*it))
    }

    fn refused(&self) -> u64 {
        Refusal::ALL.iter().fold(0, |refused, it| refused + self.balance.refused(*it))
    }

    /// The dropped reports with this reason. Reports that are still pending at the end count as unsent.
    fn dropped(&self, loss: Loss) -> u64 {
        let pending = if loss == Loss::Unsent { self.balance.pending() } else { 0 };
        self.balance.dropped(loss) + pending
    }

    /// The losses with their reasons. Empty without losses.
    fn reason(&self) -> String {
        let mut reason = String::new();
        for loss in LOSSES {
            add(&mut reason, self.dropped(loss), "", loss.name(), loss.meaning());
        }
        for refusal in Refusal::ALL {
            let refused = self.balance.refused(refusal);
            add(&mut reason, refused, "refused as ", refusal.name(), refusal.meaning());
        }
        let items = self.balance.rejected_items;
        add(&mut reason, items, "", "rejected items", "the remote took the rest of their reports");
        reason
    }
}

fn add(reason: &mut String, count: u64, how: &str, name: &str, meaning: &str) {
    if count > 0 {
        let comma = if reason.is_empty() { "" } else { ", " };
        let _ = write!(reason, "{comma}{count} {how}{name} ({meaning})");
    }
}

/// Reasons that count as a loss: all except [`Loss::Empty`].
const LOSSES: [Loss; Loss::ALL.len() - 1] =
    [Loss::Unauthorized, Loss::TooLarge, Loss::Rejected, Loss::Evicted, Loss::Unsent, Loss::Failed];

#[cfg(test)]
impl std::fmt::Display for Closing {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.line(&self.reason()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::ledger::{Account, Outcome};

    /// Checks the line for one delivered report and these losses.
    #[track_caller]
    fn check(losses: &[Loss], refusals: &[Refusal], items: u64, line: &str, lost: u64) {
        let account = Account::default();
        account.accept().settle(Outcome::Delivered);
        for &loss in losses {
            account.accept().settle(Outcome::Dropped(loss));
        }
        for &refusal in refusals {
            account.refuse(refusal);
        }
        account.reject_items(items);
        let closing =
            Closing::of(Protocol::Otlp, Some("http://a:80".to_owned()), account.balance());
        assert_eq!(
            (closing.to_string(), closing.lost()),
            (format!("OTLP to http://a:80: {line}"), lost)
        );
        let Balance { accepted, delivered, .. } = closing.balance;
        let empty = closing.balance.dropped(Loss::Empty);
        assert_eq!(accepted + closing.refused(), delivered + empty + closing.lost());
    }

    #[test]
    fn the_line_names_every_loss_with_its_reason_and_adds_up() {
        check(&[], &[], 0, "1 accepted, 1 delivered", 0);
        check(&[Loss::Empty], &[], 0, "2 accepted, 1 delivered, 1 empty", 0);
        let line =
            "1 accepted, 1 delivered, lost: 1 refused as unknown_path (nothing is at that path)";
        check(&[], &[Refusal::UnknownPath], 0, line, 1);
        check(
            &[Loss::Unsent, Loss::Unauthorized, Loss::Unsent, Loss::Empty],
            &[Refusal::Full, Refusal::WrongMethod],
            7,
            "5 accepted, 1 delivered, 1 empty, lost: 1 unauthorized (the remote refused the key), \
             2 unsent (the end came first), 1 refused as full (the buffer was full), 1 refused as \
             wrong_method (the path takes another method), 7 rejected items (the remote took the rest of \
             their reports)",
            5,
        );
    }

    #[test]
    fn every_loss_except_that_of_empty_reports_is_named() {
        for loss in Loss::ALL {
            assert_eq!(LOSSES.contains(&loss), loss != Loss::Empty);
            let (name, meaning) = (loss.name(), loss.meaning());
            let line = format!("2 accepted, 1 delivered, lost: 1 {name} ({meaning})");
            if loss == Loss::Empty {
                check(&[loss], &[], 0, "2 accepted, 1 delivered, 1 empty", 0);
            } else {
                check(&[loss], &[], 0, &line, 1);
            }
        }
        for refusal in Refusal::ALL {
            let (name, meaning) = (refusal.name(), refusal.meaning());
            let line = format!("1 accepted, 1 delivered, lost: 1 refused as {name} ({meaning})");
            check(&[], &[refusal], 0, &line, 1);
        }
    }

    #[test]
    fn a_report_that_is_pending_at_the_end_counts_as_unsent() {
        let account = Account::default();
        let _pending = account.accept();
        account.accept().settle(Outcome::Dropped(Loss::Unsent));
        let closing = Closing::of(Protocol::Thundra, None, account.balance());
        assert_eq!(closing.lost(), 2);
        let line = "Thundra without a remote: 2 accepted, 0 delivered, lost: 2 unsent (the end came first)";
        assert_eq!(closing.to_string(), line);
    }
}
