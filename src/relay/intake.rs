//! Accepts reports for the pipelines, from a local port or from a producer inside this process. Selects the
//! pipelines, takes bytes of their quotas, counts the report, and queues it.
//!
//! Invariant: each pipeline that accepts a report counts it once. The pipelines share its bytes, and each one
//! settles it separately. A refusal before that counts for the first pipeline with the route.

use std::iter;
use std::sync::Arc;
use std::time::Instant;

use crate::payload::ledger::{Account, Ledger, Loss, Outcome, Refusal};
use crate::payload::protocol::Protocol;
use crate::payload::quota::{Permit, Quota};
use crate::payload::route::{Headers, Route};
use crate::relay::flush::Policy;
use crate::relay::pipeline::Pipeline;
#[cfg(any(test, fuzzing))]
use crate::relay::queue::Inbox;
use crate::relay::sender::Sender;
use crate::remote::destination::Destination;

/// Memory of a payload in addition to its body and header values, in bytes: the payload itself, its place in
/// the queue, and the allocator's overhead. It is counted, so that a flood of tiny reports stays within the
/// buffer too.
const PAYLOAD_OVERHEAD: usize = 768;

#[derive(Debug)]
pub struct Intake {
    buffer: usize,
    ledger: Ledger,
    pipelines: Vec<Pipeline>,
}

/// The pipelines of one route.
#[derive(Debug)]
pub struct Recipients<'a> {
    route: Route,
    /// The pipeline that pays for the bytes while they are read, and counts a refusal.
    first: &'a Pipeline,
    /// All later pipelines. Some of them have other routes.
    later: &'a [Pipeline],
}

impl Intake {
    /// Creates a pipeline for each remote, with an equal part of the buffer. Also returns the pipelines'
    /// senders.
    pub fn to(
        destinations: Vec<Destination>,
        policy: Policy,
        buffer: usize,
    ) -> (Self, Vec<Sender>) {
        let mut ledger = Ledger::default();
        let quotas = Quota::of_each(buffer, destinations.len());
        let pairs = destinations.into_iter().zip(quotas);
        let (pipelines, senders) =
            pairs.map(|(remote, quota)| Pipeline::to(remote, policy, quota, &mut ledger)).unzip();
        (Self { buffer, ledger, pipelines }, senders)
    }

    /// Memory of a report with these headers in addition to its body, in bytes.
    pub fn overhead(headers: &Headers) -> usize {
        PAYLOAD_OVERHEAD + headers.size()
    }

    pub fn pipelines(&self) -> &[Pipeline] {
        &self.pipelines
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The size of the buffer, in bytes.
    pub fn buffer(&self) -> usize {
        self.buffer
    }

    /// How many bytes of the buffer are in use.
    pub fn held(&self) -> usize {
        self.pipelines.iter().map(|it| it.quota().held()).sum()
    }

    /// The pipelines of this route. `None` if no remote has it. The caller must count that.
    pub fn recipients(&self, route: Route) -> Option<Recipients<'_>> {
        let index = self.pipelines.iter().position(|it| it.takes(route))?;
        let (first, later) = self.pipelines[index..].split_first()?;
        Some(Recipients { route, first, later })
    }

    /// The account for a refusal of a request for this route, at the port of this protocol.
    pub fn account(&self, route: Option<Route>, port: Protocol) -> &Account {
        let recipients = route.and_then(|route| self.recipients(route));
        recipients.map_or_else(|| self.ledger.of_port(port), |it| it.first.account())
    }
}

impl<'a> Recipients<'a> {
    pub fn route(&self) -> Route {
        self.route
    }

    /// The quota from which a report takes a permit before its bytes are read.
    pub fn quota(&self) -> &'a Quota {
        self.first.quota()
    }

    pub fn pipelines(&self) -> impl Iterator<Item = &'a Pipeline> + use<'a> {
        iter::once(self.first).chain(self.others())
    }

    fn others(&self) -> impl Iterator<Item = &'a Pipeline> + use<'a> {
        let route = self.route;
        self.later.iter().filter(move |it| it.takes(route))
    }

    /// Queues a report for each pipeline. The permit is of [`Self::quota`], and covers the bytes and the
    /// overhead. If another pipeline's quota has no room, only that pipeline's account counts a refusal.
    pub fn accept(self, headers: Headers, bytes: Vec<u8>, permit: Permit) {
        let (bytes, received_at) = (Arc::new(bytes), Instant::now());
        for other in self.others() {
            match other.quota().take(permit.bytes()) {
                Some(permit) => {
                    other.accept(
                        (self.route, headers.clone()),
                        Arc::clone(&bytes),
                        permit,
                        received_at,
                    );
                }
                None => other.account().refuse(Refusal::Full),
            }
        }
        self.first.accept((self.route, headers), bytes, permit, received_at);
    }

    /// Counts a report without content. It is not sent.
    pub fn accept_empty(self) {
        for pipeline in self.pipelines() {
            pipeline.account().accept().settle(Outcome::Dropped(Loss::Empty));
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Intake {
    /// Replaces the queues of all senders. Returns the new receiving ends.
    pub fn listen(&mut self) -> Vec<Inbox> {
        self.pipelines.iter_mut().map(Pipeline::listen).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::url::Url;
    use crate::payload::payload::Payload;
    use crate::payload::signal::Signal;
    use crate::relay::flush::{Strategy, Traffic};
    use crate::relay::queue::Message;
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
        let inboxes = intake.listen();
        (intake, inboxes)
    }

    /// Reports as a producer inside the process does.
    fn produce(intake: &Intake, route: Route, bytes: &[u8]) -> Result<(), Refusal> {
        let headers = Headers::default();
        let recipients = intake.recipients(route).ok_or(Refusal::NoRemote)?;
        let cost = bytes.len() + Intake::overhead(&headers);
        let permit = recipients.quota().take(cost).ok_or(Refusal::Full)?;
        recipients.accept(headers, bytes.to_vec(), permit);
        Ok(())
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
        assert_eq!((payload.body(), payload.route()), (&b"spans"[..], TRACES));
        assert_eq!((payload.cost(), intake.held()), (PAYLOAD_OVERHEAD + 5, PAYLOAD_OVERHEAD + 5));
        payload.settle(Outcome::Delivered);
        assert_eq!(intake.ledger.total(Protocol::Otlp).delivered, 1);
        assert_eq!(intake.held(), 0);
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
        let held: Vec<usize> = intake.pipelines.iter().map(|it| it.quota().held()).collect();
        assert_eq!(held, [0, cost]);
        other.settle(Outcome::Dropped(Loss::Rejected));
        assert_eq!(intake.held(), 0);
        let balances: Vec<_> = intake.pipelines.iter().map(|it| it.account().balance()).collect();
        assert_eq!([balances[0].delivered, balances[1].dropped(Loss::Rejected)], [1, 1]);
    }

    #[test]
    fn a_pipeline_without_room_refuses_a_report_that_another_one_accepts() {
        let (intake, inboxes) = intake(&[&Route::OTLP, &Route::OTLP]);
        let _full = intake.pipelines[1].quota().take(BUFFER / 2).unwrap();
        produce(&intake, TRACES, b"spans").unwrap();
        assert!(payload(&inboxes[0]).is_some() && payload(&inboxes[1]).is_none());
        let balance = intake.pipelines[1].account().balance();
        assert_eq!((balance.accepted, balance.refused(Refusal::Full)), (0, 1));
    }

    #[test]
    fn an_empty_report_is_counted_and_not_queued() {
        let (intake, inboxes) = intake(&[&Route::OTLP]);
        intake.recipients(TRACES).unwrap().accept_empty();
        assert!(payload(&inboxes[0]).is_none());
        assert_eq!(intake.ledger.total(Protocol::Otlp).dropped(Loss::Empty), 1);
    }
}
