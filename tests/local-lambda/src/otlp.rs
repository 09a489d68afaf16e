//! OTLP over HTTP: requests as a test makes them, and as the remote reads them.

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

/// A request whose spans have these names, and nothing else.
#[must_use]
pub fn traces(names: &[&str], encoding: Encoding) -> Vec<u8> {
    Request::traces(names).write(encoding)
}

/// A request with a gauge of each of these names; their points count from 0.
#[must_use]
pub fn metrics(names: &[&str], encoding: Encoding) -> Vec<u8> {
    Request::metrics(names).write(encoding)
}

/// A request whose log records have these bodies, and nothing else.
#[must_use]
pub fn logs(bodies: &[&str], encoding: Encoding) -> Vec<u8> {
    Request::logs(bodies).write(encoding)
}

/// What this request says of each resource as JSON, with all that is below it, in order: requests that
/// were merged have all of it.
///
/// # Panics
///
/// When it is no OTLP that can be read.
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
