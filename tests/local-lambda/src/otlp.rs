//! OTLP over HTTP: requests for tests to send, and decoding for the remote.

mod encoding;
mod message;
mod partial;
mod request;
mod signal;

pub use encoding::Encoding;
pub use signal::Signal;

pub(crate) use partial::Partial;
pub(crate) use request::Request;

use crate::remote::Received;

/// A request that contains spans with these names.
#[must_use]
pub fn traces(names: &[&str], encoding: Encoding) -> Vec<u8> {
    Request::traces(names).write(encoding)
}

/// A request that contains one gauge with each of these names. The values of their points count from 0.
#[must_use]
pub fn metrics(names: &[&str], encoding: Encoding) -> Vec<u8> {
    Request::metrics(names).write(encoding)
}

/// A request that contains log records with these bodies.
#[must_use]
pub fn logs(bodies: &[&str], encoding: Encoding) -> Vec<u8> {
    Request::logs(bodies).write(encoding)
}

/// Each resource of this request as JSON, with everything below it, in order. Merging requests must keep all of
/// it.
///
/// # Panics
///
/// When it is no OTLP, or cannot be decoded.
#[must_use]
pub fn resources(received: &Received) -> Vec<String> {
    let Some(request) = Request::of(received) else { panic!("no OTLP: {received}") };
    request.resources()
}

/// The names of the spans in this request, in order.
///
/// # Panics
///
/// When it is no request with traces.
#[must_use]
pub fn span_names(received: &Received) -> Vec<String> {
    match Request::of(received) {
        Some(Request::Traces(traces)) => {
            message::spans(&traces).map(|it| it.name.clone()).collect()
        }
        _ => panic!("no OTLP with traces: {received}"),
    }
}
