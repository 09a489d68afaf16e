//! The counts of all reports: an account for each protocol.
//!
//! Invariant: in each, `accepted = delivered + dropped + pending` at every moment.

mod account;

use crate::dialect::Dialect;

pub use self::account::{Account, Balance, Entry, Loss, Outcome, Refusal};

#[derive(Debug, Default)]
pub struct Ledger {
    thundra: Account,
    otlp: Option<Account>,
}

impl Ledger {
    /// With an account for OTLP too.
    pub fn with_otlp() -> Self {
        Self { otlp: Some(Account::default()), ..Self::default() }
    }

    /// That of the remote that is spoken to so. Without one for OTLP all goes to the other.
    pub fn of(&self, dialect: Dialect) -> &Account {
        match (dialect, &self.otlp) {
            (Dialect::Otlp, Some(otlp)) => otlp,
            _ => &self.thundra,
        }
    }

    /// The line written at SHUTDOWN, and whether anything was lost.
    pub fn closing_line(&self) -> (String, bool) {
        let (line, lost) = self.thundra.balance().closing_line();
        let Some(otlp) = &self.otlp else { return (line, lost) };
        let (otlp_line, otlp_lost) = otlp.balance().closing_line();
        (format!("{line}; otlp: {otlp_line}"), lost || otlp_lost)
    }

    /// That of the remote for OTLP, where one is asked for.
    pub fn otlp(&self) -> Option<&Account> {
        self.otlp.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_are_separate_and_close_in_one_line() {
        let ledger = Ledger::with_otlp();
        ledger.of(Dialect::Thundra).accept().settle(Outcome::Delivered);
        ledger.of(Dialect::Otlp).accept().settle(Outcome::Delivered);
        let line = "delivered 1 of 1 accepted reports; otlp: delivered 1 of 1 accepted reports";
        assert_eq!(ledger.closing_line(), (line.to_owned(), false));
        ledger.of(Dialect::Otlp).reject_items(7);
        ledger.of(Dialect::Otlp).accept().settle(Outcome::Dropped(Loss::Rejected));
        let line = "delivered 1 of 1 accepted reports; otlp: delivered 1 of 2 accepted reports, \
                    lost: 1 rejected, 7 rejected items of what was delivered";
        assert_eq!(ledger.closing_line(), (line.to_owned(), true));
    }

    #[test]
    fn without_otlp_nothing_tells_of_it() {
        let ledger = Ledger::default();
        assert_eq!(ledger.closing_line().0, "delivered 0 of 0 accepted reports");
        assert!(ledger.otlp().is_none());
    }
}
