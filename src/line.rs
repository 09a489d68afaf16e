//! The way of reports to one remote, as all but its sender see it.

use crate::courier::Courier;
use crate::destination::Destination;
use crate::dialect::Dialect;
use crate::hold::Trouble;
use crate::outbox::{self, Outbox};
use crate::payload::Route;
use crate::remote::{Interrupt, Remote};
use crate::sender::{Policy, Sender};
use crate::share::Share;

#[derive(Debug)]
pub struct Line {
    pub dialect: Dialect,
    routes: Vec<Route>,
    pub outbox: Outbox,
    pub interrupt: Interrupt,
    pub trouble: Trouble,
    pub share: Share,
}

impl Line {
    /// A line, and the sender at the other end of it.
    pub fn to(destination: Destination, policy: Policy, share: Share) -> (Self, Sender) {
        let (dialect, routes) = (destination.dialect, destination.routes());
        let (outbox, inbox) = outbox::queue();
        let (remote, interrupt) = Remote::at(destination);
        let trouble = Trouble::default();
        let courier = Courier::to(remote, trouble.clone());
        let sender = Sender::new(inbox, courier, policy, share.clone());
        (Self { dialect, routes, outbox, interrupt, trouble, share }, sender)
    }

    /// Whether its remote takes what comes by this route.
    pub fn takes(&self, route: Route) -> bool {
        self.routes.contains(&route)
    }
}
