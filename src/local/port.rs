//! A local port that the event loop serves: for reports, or for Lambda's telemetry.

use std::ptr;

use crate::failpoint;
use crate::local::body::{Body, ReadError};
use crate::local::collector::Collector;
use crate::local::collector::report::Report;
use crate::local::endpoint::{Admission, Endpoint};
use crate::local::head::Head;
use crate::local::receiver::Receiver;
use crate::local::response::{Rejection, Response};
use crate::payload::protocol::Protocol;
use crate::payload::quota::Quota;

/// Who answers the requests to a port. Both live as long as the process.
#[derive(Clone, Copy, Debug)]
pub enum Port {
    /// Reports of this protocol.
    Reports(&'static Collector, Protocol),
    /// Batches of the Telemetry API.
    Telemetry(&'static Receiver),
}

/// A request that waits for its body.
#[derive(Debug)]
pub enum Awaiting {
    Report(Report<'static>),
    Batch(&'static Receiver),
}

impl Endpoint for Port {
    type Request = Awaiting;
    /// A batch, which is parsed after its response is sent.
    type Deferred = Body;

    fn admit(&self, head: &Head) -> Admission<Awaiting> {
        match *self {
            Self::Reports(collector, protocol) => match collector.admit(head, protocol) {
                Admission::Awaited(report) => Admission::Awaited(Awaiting::Report(report)),
                Admission::Answered(response) => Admission::Answered(response),
            },
            Self::Telemetry(receiver) => Admission::Awaited(Awaiting::Batch(receiver)),
        }
    }

    fn room<'a>(&self, request: &'a Awaiting) -> (&'a Quota, usize) {
        match request {
            Awaiting::Report(report) => (report.quota(), report.overhead()),
            Awaiting::Batch(receiver) => (receiver.quota(), 0),
        }
    }

    fn finish(&self, request: Awaiting, body: Result<Body, ReadError>) -> (Response, Option<Body>) {
        match request {
            Awaiting::Report(report) => {
                failpoint::hit("collector.body");
                (report.finish(body, false), None)
            }
            Awaiting::Batch(receiver) => receiver.answer(body),
        }
    }

    fn refuse(&self, rejection: &Rejection) -> Response {
        match *self {
            Self::Reports(collector, protocol) => collector.refuse(rejection, protocol),
            Self::Telemetry(receiver) => {
                receiver.answer(Err(ReadError::Malformed(rejection.reason))).0
            }
        }
    }
}

impl PartialEq for Port {
    fn eq(&self, other: &Self) -> bool {
        match (*self, *other) {
            (Self::Reports(_, protocol), Self::Reports(_, other)) => protocol == other,
            (Self::Telemetry(receiver), Self::Telemetry(other)) => ptr::eq(receiver, other),
            _ => false,
        }
    }
}

impl Port {
    /// Does the work that is left after a response.
    pub fn go_on(&self, batch: &Body) {
        if let Self::Telemetry(receiver) = self {
            receiver.report(&batch.bytes);
        }
    }
}
