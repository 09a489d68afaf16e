//! What the event loop calls for each request. It knows neither reports nor telemetry, and an endpoint knows no
//! server.

use crate::local::body::{Body, PaidBody, ReadError};
use crate::local::head::Head;
use crate::local::response::{Rejection, Response};

/// Answers the requests to one port.
pub trait Endpoint {
    /// A request whose head was admitted. It waits for its body.
    type Request;
    /// Work that is left after the response is sent.
    type Deferred;

    /// Decides by the head of a request.
    fn admit(&self, head: &Head) -> Admission<Self::Request>;

    /// Begins the body of an admitted request. Its length may be unknown.
    ///
    /// # Errors
    /// The body cannot be kept.
    fn begin(&self, request: &Self::Request, length: Option<u64>) -> Result<PaidBody, ReadError>;

    /// Ends an admitted request, with its body or the reason why it has none.
    fn finish(
        &self,
        request: Self::Request,
        body: Result<Body, ReadError>,
    ) -> (Response, Option<Self::Deferred>);

    /// Counts bytes that are no request, and answers them.
    fn refuse(&self, rejection: &Rejection) -> Response;

    /// Does the work that is left after a response.
    fn go_on(&self, deferred: Self::Deferred);
}

/// What a server does after the head of a request.
#[derive(Debug)]
pub enum Admission<R> {
    /// It reads past the body, and sends this response.
    Answered(Response),
    /// It reads the body within the request's quota.
    Awaited(R),
}
