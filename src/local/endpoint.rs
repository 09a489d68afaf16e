//! What a server of a local port calls for each request. The server knows neither reports nor telemetry, and
//! an endpoint knows no server.

use crate::local::body::{Body, ReadError};
use crate::local::head::Head;
use crate::local::response::{Rejection, Response};
use crate::payload::quota::Quota;

/// Answers the requests to one port.
pub trait Endpoint {
    /// A request whose head was admitted. It waits for its body.
    type Request;
    /// Work that is left after the response is sent.
    type Deferred;

    /// Decides by the head of a request.
    fn admit(&self, head: &Head) -> Admission<Self::Request>;

    /// The quota that pays for the body, and the bytes that the request needs in addition to it.
    fn room<'a>(&self, request: &'a Self::Request) -> (&'a Quota, usize);

    /// Ends an admitted request, with its body or the reason why it has none.
    fn finish(
        &self,
        request: Self::Request,
        body: Result<Body, ReadError>,
    ) -> (Response, Option<Self::Deferred>);

    /// Counts bytes that are no request, and answers them.
    fn refuse(&self, rejection: &Rejection) -> Response;
}

/// What a server does after the head of a request.
#[derive(Debug)]
pub enum Admission<R> {
    /// It reads past the body, and sends this response.
    Answered(Response),
    /// It reads the body within the request's quota.
    Awaited(R),
}
