//! A pipeline, the path of reports to one remote. This is the part that all threads except its sender use.

use std::sync::Arc;
use std::time::Instant;

use crate::failpoint;
use crate::logging;
use crate::payload::ledger::{Account, Ledger};
use crate::payload::payload::Payload;
use crate::payload::quota::{Permit, Quota};
use crate::payload::route::{Headers, Route};
use crate::relay::edge::Live;
use crate::relay::exporter::{Exporter, RemoteHealth};
use crate::relay::flush::Policy;
#[cfg(any(test, fuzzing))]
use crate::relay::queue::Inbox;
use crate::relay::queue::{self, Gone, Message, Outbox};
use crate::relay::sender::Sender;
use crate::remote::client::{Interrupt, Remote};
use crate::remote::destination::Destination;
use crate::remote::withheld::Withheld;

#[derive(Debug)]
pub struct Pipeline {
    routes: Vec<Route>,
    outbox: Outbox,
    interrupt: Interrupt,
    health: RemoteHealth,
    quota: Quota,
    withheld: Withheld,
    account: Account,
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

    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    pub fn account(&self) -> &Account {
        &self.account
    }

    pub fn withheld(&self) -> &Withheld {
        &self.withheld
    }

    /// Whether the remote is failing, so that no invocation should wait for it.
    pub fn is_failing(&self) -> bool {
        self.health.is_failing()
    }

    /// Queues a report for the sender. `permit` is of this pipeline's quota.
    pub fn accept(
        &self,
        target: (Route, Headers),
        bytes: Arc<Vec<u8>>,
        permit: Permit,
        received_at: Instant,
    ) {
        let payload = Payload::accept(target, bytes, permit, &self.account, received_at);
        failpoint::hit("collector.accepted");
        logging::trace!("took {} bytes for {}", payload.body().len(), payload.route().path());
        // A send fails only if the sender has ended, at the end of the process. The payload is dropped then,
        // and counts as failed.
        drop(self.outbox.send_report(Message::Payload(payload), || self.quota.held()));
        failpoint::hit("collector.handed-on");
    }

    /// Sends a message to the sender, and wakes it.
    ///
    /// # Errors
    /// The sender has ended.
    pub fn send(&self, message: Message) -> Result<(), Gone> {
        self.outbox.send(message)
    }

    /// Another end of the queue to the sender.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Ends the current attempt of the sender: see [`Interrupt::end_attempt`].
    pub fn interrupt(&self) {
        self.interrupt.end_attempt();
    }

    /// Replaces the sender's queue. Returns the new receiving end.
    #[cfg(any(test, fuzzing))]
    pub fn listen(&mut self) -> Inbox {
        let (outbox, inbox) = queue::queue();
        self.outbox = outbox;
        inbox
    }
}
