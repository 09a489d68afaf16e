//! The runtime's result for an event.

use std::time::Instant;

use crate::failure::ErrorBody;
use crate::http::Request;
use crate::reply::Reply;

/// Limit of a response: 6 MiB and 100 bytes (AWS docs "Lambda quotas"; the emulator's
/// `interop.MaxPayloadSize`).
pub const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;

/// The result that the runtime posted.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub payload: Vec<u8>,
    /// The type of the error, if the result is one.
    pub error_type: Option<String>,
    pub at: Instant,
}

impl Outcome {
    pub fn error(error_type: &str, payload: Vec<u8>, at: Instant) -> Self {
        Self { payload, error_type: Some(error_type.to_owned()), at }
    }

    pub fn reported(request: &Request, at: Instant) -> Self {
        let given = request.header("Lambda-Runtime-Function-Error-Type").unwrap_or_default();
        let known = given.starts_with("Runtime.") || given.starts_with("Function.");
        let error_type = if known { given } else { "Function.Unknown" };
        Self::error(error_type, request.body.clone(), at)
    }
}

pub fn too_large(at: Instant) -> (Outcome, Reply) {
    let error_type = "Function.ResponseSizeTooLarge";
    let message = format!(
        "Response payload size exceeded maximum allowed payload size ({PAYLOAD_BYTES_MAX} bytes)."
    );
    let body = ErrorBody { error_type, error_message: &message }.rendered();
    let told = format!("Exceeded maximum allowed payload size ({PAYLOAD_BYTES_MAX} bytes).");
    (Outcome::error(error_type, body, at), Reply::error(413, "RequestEntityTooLarge", &told))
}
