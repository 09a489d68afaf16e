//! A local port that the event loop serves: for reports, or for Lambda's telemetry.

use std::ptr;

use crate::local::body::{Body, PaidBody, ReadError};
use crate::local::collector::Collector;
use crate::local::collector::report::Report;
use crate::local::endpoint::{Admission, Endpoint};
use crate::local::head::Head;
use crate::local::receiver::Receiver;
use crate::local::response::{Rejection, Response};
use crate::payload::protocol::Protocol;

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

impl Port {
    pub fn is_telemetry(&self) -> bool {
        matches!(self, Self::Telemetry(_))
    }

    pub fn is_of(&self, receiver: &Receiver) -> bool {
        matches!(self, Self::Telemetry(it) if ptr::eq(*it, receiver))
    }
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

    fn begin(&self, request: &Awaiting, length: Option<u64>) -> Result<PaidBody, ReadError> {
        match request {
            Awaiting::Report(report) => PaidBody::begin(report.quota(), report.overhead(), length),
            Awaiting::Batch(receiver) => PaidBody::begin(receiver.quota(), 0, length),
        }
    }

    fn finish(&self, request: Awaiting, body: Result<Body, ReadError>) -> (Response, Option<Body>) {
        match request {
            Awaiting::Report(report) => (report.finish(body, false), None),
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

    fn go_on(&self, batch: Body) {
        if let Self::Telemetry(receiver) = self {
            receiver.report(&batch.bytes);
        }
    }
}
