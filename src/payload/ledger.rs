//! Counts all reports. Each remote has an account. Each port has one for requests that belong to no remote.
//!
//! Invariant: in each account, `accepted = delivered + dropped + pending` at any time.

mod account;
mod closing;

use crate::payload::protocol::Protocol;

pub use self::account::{Account, Balance, Entry, Loss, Outcome, Refusal};
pub use self::closing::Closing;

#[derive(Debug, Default)]
pub struct Ledger {
    remotes: Vec<RemoteAccount>,
    /// One account for each port, in the order of [`Protocol`]'s variants.
    ports: [Account; 2],
}

/// The account of one remote.
#[derive(Debug)]
pub struct RemoteAccount {
    pub protocol: Protocol,
    /// Scheme, host and port.
    pub name: String,
    pub account: Account,
}

impl Ledger {
    /// Adds an account for a remote. The remote gets a clone, which shares the counts.
    pub fn open(&mut self, protocol: Protocol, name: String) -> Account {
        let account = Account::default();
        self.remotes.push(RemoteAccount { protocol, name, account: account.clone() });
        account
    }

    /// The account of this protocol's port.
    pub fn of_port(&self, protocol: Protocol) -> &Account {
        &self.ports[protocol as usize]
    }

    pub fn remotes(&self) -> &[RemoteAccount] {
        &self.remotes
    }

    /// The counts of a protocol: of all its remotes and of its port.
    pub fn total(&self, protocol: Protocol) -> Balance {
        let remotes = self.remotes.iter().filter(|it| it.protocol == protocol);
        let remotes = remotes.map(|it| it.account.balance());
        remotes.fold(self.of_port(protocol).balance(), |total, it| total + it)
    }

    /// The closing lines at SHUTDOWN: one for each remote, and one for requests that belong to no remote.
    pub fn closings(&self) -> Vec<Closing> {
        let mut closings = Vec::new();
        for protocol in [Protocol::Thundra, Protocol::Otlp] {
            let before = closings.len();
            for RemoteAccount { name, account, .. } in
                self.remotes.iter().filter(|it| it.protocol == protocol)
            {
                closings.push(Closing::of(protocol, Some(name.clone()), account.balance()));
            }
            let ports = self.of_port(protocol).balance();
            if ports != Balance::default() {
                match &mut closings[before..] {
                    // All requests to the port were meant for the only remote.
                    [only] => only.add(ports),
                    _ => closings.push(Closing::of(protocol, None, ports)),
                }
            }
        }
        closings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(ledger: &Ledger) -> Vec<String> {
        ledger.closings().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_remote_has_a_closing_line_and_a_protocol_without_requests_has_none() {
        let mut ledger = Ledger::default();
        assert_eq!(lines(&ledger), [""; 0]);
        let [first, second] =
            ["https://a:443", "http://b:80"].map(|it| ledger.open(Protocol::Otlp, it.to_owned()));
        first.accept().settle(Outcome::Delivered);
        second.accept().settle(Outcome::Dropped(Loss::Unsent));
        let first_line = "OTLP to https://a:443: 1 accepted, 1 delivered";
        let second_line =
            "OTLP to http://b:80: 1 accepted, 0 delivered, lost: 1 unsent (the end came first)";
        assert_eq!(lines(&ledger), [first_line, second_line]);
        ledger.of_port(Protocol::Otlp).refuse(Refusal::UnknownPath);
        let ports = "OTLP without a remote: 0 accepted, 0 delivered, lost: 1 refused as unknown_path (nothing is at that path)";
        assert_eq!(lines(&ledger), [first_line, second_line, ports]);
        let total = ledger.total(Protocol::Otlp);
        assert_eq!((total.accepted, total.delivered, total.pending()), (2, 1, 0));
        assert_eq!(total.refused(Refusal::UnknownPath), 1);
        assert_eq!(ledger.total(Protocol::Thundra), Balance::default());
    }

    #[test]
    fn refusals_of_a_port_count_as_losses_of_its_only_remote() {
        let mut ledger = Ledger::default();
        ledger
            .open(Protocol::Thundra, "http://a:80".to_owned())
            .accept()
            .settle(Outcome::Delivered);
        ledger.of_port(Protocol::Thundra).refuse(Refusal::NoRemote);
        let line = "Thundra to http://a:80: 1 accepted, 1 delivered, lost: 1 refused as no_remote (no remote is configured)";
        assert_eq!(lines(&ledger), [line]);
    }
}
