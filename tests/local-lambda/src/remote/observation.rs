//! The requests and connections of the remote, for tests to inspect and wait for.

use std::collections::HashSet;
use std::time::Duration;

use crate::items::{Delivery, Item};
use crate::remote::Remote;
use crate::remote::record::{CutShort, Fate, Received, Record};

#[expect(
    clippy::missing_panics_doc,
    reason = "every wait of a double panics when its time is over"
)]
impl Remote {
    /// All requests so far. Each is recorded before it is answered.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.record.read(|record| record.received.clone())
    }

    /// Requests that did not arrive completely, and connections that failed before any request.
    #[must_use]
    pub fn cut_short(&self) -> Vec<CutShort> {
        self.shared.record.read(|record| record.cut_short.clone())
    }

    /// How often each of these items was delivered so far. An answer that is being written does not confirm its
    /// items yet.
    #[must_use]
    pub fn delivery(&self, expected: &[impl AsRef<[u8]>]) -> Delivery {
        Delivery::of(&self.received(), expected)
    }

    /// Waits until at least `count` requests were received. Returns all of them.
    pub fn wait_for(&self, count: usize, within: Duration) -> Vec<Received> {
        let whole =
            |record: &mut Record| (record.received.len() >= count).then(|| record.received.clone());
        self.shared.record.wait(within, whole).unwrap_or_else(|| {
            panic!("not {count} requests within {within:?}; {}", self.seen());
        })
    }

    /// Whether no further request is received for this time. Tests use it to prove that nothing happens.
    #[must_use]
    pub fn is_silent_for(&self, time: Duration) -> bool {
        let before = self.received().len();
        let further = |record: &mut Record| (record.received.len() > before).then_some(());
        self.shared.record.wait(time, further).is_none()
    }

    /// Waits until the fates of at least `count` answers are known. Returns all requests.
    pub fn wait_for_fates(&self, count: usize, within: Duration) -> Vec<Received> {
        let settled = |record: &mut Record| {
            let known = record.received.iter().filter(|it| it.fate != Fate::Pending).count();
            (known >= count).then(|| record.received.clone())
        };
        self.shared.record.wait(within, settled).unwrap_or_else(|| {
            panic!("not {count} answers within {within:?}; {}", self.seen());
        })
    }

    /// Waits until at least `count` requests were cut short. Returns all of these.
    pub fn wait_for_cut_short(&self, count: usize, within: Duration) -> Vec<CutShort> {
        let cut = |record: &mut Record| {
            (record.cut_short.len() >= count).then(|| record.cut_short.clone())
        };
        self.shared.record.wait(within, cut).unwrap_or_else(|| {
            panic!("not {count} requests cut short within {within:?}; {}", self.seen());
        })
    }

    /// Waits until each of these items was accepted. Returns how often each was delivered.
    pub fn wait_for_items(&self, expected: &[impl AsRef<[u8]>], within: Duration) -> Delivery {
        let mut missing: HashSet<Item> = expected.iter().map(Item::from).collect();
        let mut looked_at = 0;
        let all = self.shared.record.wait(within, |record| {
            for request in record.received[looked_at..].iter().filter(|it| it.is_accepted()) {
                for item in request.items() {
                    missing.remove(&item);
                }
            }
            looked_at = record.received.len();
            missing.is_empty().then_some(())
        });
        let delivery = self.delivery(expected);
        all.unwrap_or_else(|| {
            panic!("not all items within {within:?}: {delivery}; {}", self.seen());
        });
        delivery
    }

    /// Waits until at least `count` TCP connections were accepted.
    pub fn wait_for_connections(&self, count: usize, within: Duration) {
        let served = self.shared.connections.wait_for(count, within);
        assert!(served, "not {count} connections within {within:?}; {}", self.seen());
    }

    /// How many TCP connections were accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.entrance.accepted()
    }

    fn seen(&self) -> String {
        let line = |it: &Received| format!("  {it}");
        let requests: Vec<String> = self.received().iter().map(line).collect();
        let cut_short: Vec<String> = self.cut_short().iter().map(CutShort::to_string).collect();
        format!(
            "seen instead: {} connections; broken off: {cut_short:?}; requests:\n{}",
            self.connections(),
            requests.join("\n")
        )
    }
}
