//! Accepts reports for the pipelines, from a local port or from a producer inside this process. Selects the
//! pipelines, takes bytes of their quotas, counts the report, and queues it.
//!
//! Invariant: each pipeline that accepts a report counts it once. The pipelines share its bytes, and each one
//! settles it separately. A refusal counts for the first pipeline with the route.

use std::sync::Arc;
use std::time::Instant;

use crate::failpoint;
use crate::logging;
use crate::payload::budget::Budget;
use crate::payload::ledger::{Account, Ledger, Loss, Outcome, Refusal};
use crate::payload::payload::{Payload, Stored};
use crate::payload::protocol::Protocol;
use crate::payload::quota::{Quota, Room};
use crate::payload::route::{Headers, Route};
use crate::relay::flush::Policy;
use crate::relay::pipeline::Pipeline;
use crate::relay::queue::Message;
use crate::relay::sender::Sender;
use crate::remote::destination::Destination;

/// Memory of a payload in addition to its body and header values, in bytes: the payload itself, its place in
/// the queue, and the allocator's overhead. It is counted, so that a flood of tiny reports stays within the
/// budget too.
const PAYLOAD_OVERHEAD: usize = 768;

#[derive(Debug)]
pub struct Intake {
    pub budget: Budget,
    pub ledger: Ledger,
    pub pipelines: Vec<Pipeline>,
}

impl Intake {
    /// Creates a pipeline for each remote, with an equal part of the buffer. Also returns the pipelines'
    /// senders.
    pub fn to(
        destinations: Vec<Destination>,
        policy: Policy,
        buffer: usize,
    ) -> (Self, Vec<Sender>) {
        let (budget, mut ledger) = (Budget::of(buffer), Ledger::default());
        let quotas = Quota::of_each(&budget, destinations.len());
        let pairs = destinations.into_iter().zip(quotas);
        let (pipelines, senders) =
            pairs.map(|(remote, quota)| Pipeline::to(remote, policy, quota, &mut ledger)).unzip();
        (Self { budget, ledger, pipelines }, senders)
    }

    /// Memory of a report with these headers in addition to its body, in bytes.
    pub fn overhead(headers: &Headers) -> usize {
        PAYLOAD_OVERHEAD + headers.size()
    }

    /// The quota from which a report for this route takes room before its bytes are read. `None` if no remote
    /// has the route.
    pub fn quota(&self, route: Route) -> Option<&Quota> {
        self.pipelines_of(route).next().map(|pipeline| &pipeline.quota)
    }

    /// The account for a refusal of a request for this route, at the port of this protocol.
    pub fn account(&self, route: Option<Route>, port: Protocol) -> &Account {
        let pipeline = route.and_then(|route| self.pipelines_of(route).next());
        pipeline.map_or_else(|| self.ledger.of_port(port), |pipeline| &pipeline.account)
    }

    pub fn pipelines_of(&self, route: Route) -> impl Iterator<Item = &Pipeline> {
        self.pipelines.iter().filter(move |pipeline| pipeline.takes(route))
    }

    /// Queues a report for each remote with its route. `room` comes from [`Self::quota`], and covers the
    /// bytes and the overhead. If a further remote's quota has no room, only that remote's account counts a
    /// refusal.
    ///
    /// # Errors
    /// No remote has the route. The caller must count that.
    pub fn accept(
        &self,
        route: Route,
        headers: Headers,
        bytes: Vec<u8>,
        room: Room,
    ) -> Result<(), Refusal> {
        let mut pipelines = self.pipelines_of(route);
        let first = pipelines.next().ok_or(Refusal::NoRemote)?;
        let Room { of_buffer, of_quota } = room;
        let stored = Arc::new(Stored::new(bytes, of_buffer));
        let (received_at, cost) = (Instant::now(), of_quota.bytes());
        let payload = |pipeline: &Pipeline, of_quota, headers| {
            let (stored, entry) = (Arc::clone(&stored), pipeline.account.accept());
            Payload { route, headers, stored, received_at, of_quota, entry }
        };
        let own = payload(first, of_quota, headers);
        for other in pipelines {
            match other.quota.take_shared(cost) {
                Some(of_quota) => queue(other, payload(other, of_quota, own.headers.clone())),
                None => other.account.refuse(Refusal::Full),
            }
        }
        queue(first, own);
        Ok(())
    }

    /// Counts a report without content. It is not sent.
    pub fn accept_empty(&self, route: Route) {
        for pipeline in self.pipelines_of(route) {
            pipeline.account.accept().settle(Outcome::Dropped(Loss::Empty));
        }
    }
}

fn queue(pipeline: &Pipeline, payload: Payload) {
    failpoint::hit("collector.accepted");
    logging::trace!("took {} bytes for {}", payload.body().len(), payload.route.path());
    // A send fails only if the sender has ended, at the end of the process. The payload is dropped then, and
    // counts as failed.
    drop(pipeline.outbox.send_report(Message::Payload(payload), || pipeline.quota.held()));
    failpoint::hit("collector.handed-on");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::url::Url;
    use crate::payload::signal::Signal;
    use crate::relay::flush::{Strategy, Traffic};
    use crate::relay::queue::{self, Inbox};
    use crate::remote::destination::Endpoints;

    const BUFFER: usize = 64 * 1024;
    const TRACES: Route = Route::Otlp(Signal::Traces);

    /// An intake with a pipeline for each of these lists of routes, and the receiving end of each pipeline.
    fn intake(remotes: &[&[Route]]) -> (Intake, Vec<Inbox>) {
        let url = Url::base("http://a").unwrap();
        let destination = |routes: &&[Route]| Destination {
            protocol: Protocol::Otlp,
            endpoints: Endpoints::below(&url, routes, &Vec::new(), ""),
            proxy: None,
            extra_roots: None,
            trust_all_certificates: false,
        };
        let policy = Policy { strategy: Strategy::Default, traffic: Traffic::Sparse };
        let destinations = remotes.iter().map(destination).collect();
        let (mut intake, _) = Intake::to(destinations, policy, BUFFER);
        let replaced = intake.pipelines.iter_mut().map(|pipeline| {
            let (outbox, inbox) = queue::queue();
            pipeline.outbox = outbox;
            inbox
        });
        let inboxes = replaced.collect();
        (intake, inboxes)
    }

    /// Reports as a producer inside the process does.
    fn produce(intake: &Intake, route: Route, bytes: &[u8]) -> Result<(), Refusal> {
        let headers = Headers::default();
        let quota = intake.quota(route).ok_or(Refusal::NoRemote)?;
        let room = quota.take(bytes.len() + Intake::overhead(&headers)).ok_or(Refusal::Full)?;
        intake.accept(route, headers, bytes.to_vec(), room)
    }

    fn payload(inbox: &Inbox) -> Option<Payload> {
        match inbox.try_recv()? {
            Message::Payload(payload) => Some(payload),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_producer_inside_the_process_reports_as_a_port_does() {
        let (intake, inboxes) = intake(&[&Route::OTLP]);
        produce(&intake, TRACES, b"spans").unwrap();
        let payload = payload(&inboxes[0]).unwrap();
        assert_eq!((payload.body(), payload.route), (&b"spans"[..], TRACES));
        assert_eq!(
            (payload.cost(), intake.budget.held()),
            (PAYLOAD_OVERHEAD + 5, PAYLOAD_OVERHEAD + 5)
        );
        payload.settle(Outcome::Delivered);
        assert_eq!(intake.ledger.total(Protocol::Otlp).delivered, 1);
        assert_eq!((intake.budget.held(), intake.pipelines[0].quota.held()), (0, 0));
    }

    #[test]
    fn a_report_goes_only_to_the_pipeline_of_its_route() {
        let (intake, inboxes) = intake(&[&Route::OTLP[..1], &Route::OTLP[1..]]);
        produce(&intake, Route::OTLP[1], b"metrics").unwrap();
        assert!(payload(&inboxes[0]).is_none());
        assert_eq!(payload(&inboxes[1]).unwrap().body(), b"metrics");
        assert_eq!(produce(&intake, Route::MonitoringData, b"[1]"), Err(Refusal::NoRemote));
    }

    #[test]
    fn several_pipelines_share_a_reports_bytes_and_settle_it_separately() {
        let (intake, inboxes) = intake(&[&Route::OTLP, &Route::OTLP]);
        produce(&intake, TRACES, b"spans").unwrap();
        let [one, other] = [0, 1].map(|nth: usize| payload(&inboxes[nth]).unwrap());
        assert_eq!(one.body().as_ptr(), other.body().as_ptr());
        let cost = one.cost();
        one.settle(Outcome::Delivered);
        let held: Vec<usize> = intake.pipelines.iter().map(|it| it.quota.held()).collect();
        assert_eq!((held, intake.budget.held()), (vec![0, cost], cost));
        other.settle(Outcome::Dropped(Loss::Rejected));
        assert_eq!(intake.budget.held(), 0);
        let balances: Vec<_> = intake.pipelines.iter().map(|it| it.account.balance()).collect();
        assert_eq!([balances[0].delivered, balances[1].dropped(Loss::Rejected)], [1, 1]);
    }

    #[test]
    fn a_pipeline_without_room_refuses_a_report_that_another_one_accepts() {
        let (intake, inboxes) = intake(&[&Route::OTLP, &Route::OTLP]);
        let _full = intake.pipelines[1].quota.take(BUFFER / 2).unwrap();
        produce(&intake, TRACES, b"spans").unwrap();
        assert!(payload(&inboxes[0]).is_some() && payload(&inboxes[1]).is_none());
        let balance = intake.pipelines[1].account.balance();
        assert_eq!((balance.accepted, balance.refused(Refusal::Full)), (0, 1));
    }

    #[test]
    fn an_empty_report_is_counted_and_not_queued() {
        let (intake, inboxes) = intake(&[&Route::OTLP]);
        intake.accept_empty(TRACES);
        assert!(payload(&inboxes[0]).is_none());
        assert_eq!(intake.ledger.total(Protocol::Otlp).dropped(Loss::Empty), 1);
    }
}
