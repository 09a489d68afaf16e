//! A pipeline, the path of reports to one remote. This is the part that all threads except its sender use.

use std::sync::Arc;

use crate::payload::ledger::{Account, Ledger};
use crate::payload::quota::Quota;
use crate::payload::route::Route;
use crate::relay::edge::Live;
use crate::relay::exporter::{Exporter, RemoteHealth};
use crate::relay::flush::Policy;
use crate::relay::queue::{self, Outbox};
use crate::relay::sender::Sender;
use crate::remote::client::{Interrupt, Remote};
use crate::remote::destination::Destination;
use crate::remote::withheld::Withheld;

#[derive(Debug)]
pub struct Pipeline {
    routes: Vec<Route>,
    pub outbox: Outbox,
    pub interrupt: Interrupt,
    pub health: RemoteHealth,
    pub quota: Quota,
    pub withheld: Withheld,
    pub account: Account,
}

impl Pipeline {
    /// Creates a pipeline and its sender.
    pub fn to(
        destination: Destination,
        policy: Policy,
        quota: Quota,
        ledger: &mut Ledger,
    ) -> (Self, Sender) {
        let (protocol, routes) = (destination.protocol, destination.routes());
        let (outbox, inbox) = queue::queue();
        let withheld = Withheld::default();
        let account = ledger.open(protocol, destination.name());
        let destination = Arc::new(destination);
        let (remote, interrupt) = Remote::at(Arc::clone(&destination));
        let health = RemoteHealth::default();
        let exporter = Exporter::to(destination, withheld.clone(), health.clone());
        let sender = Sender::new(Live { inbox, remote }, exporter, policy, quota.clone());
        (Self { routes, outbox, interrupt, health, quota, withheld, account }, sender)
    }

    /// Whether its remote has this route.
    pub fn takes(&self, route: Route) -> bool {
        self.routes.contains(&route)
    }
}
