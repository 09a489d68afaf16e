//! The remote's response, and the outcome of the request that follows from it.

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use log::Level;
use ureq::Body;
use ureq::http::header::CONTENT_TYPE;
use ureq::http::{HeaderMap, Response, StatusCode};

use crate::logging;
use crate::payload::encoding::Encoding;
use crate::payload::ledger::Loss;
use crate::payload::protocol::Protocol;
use crate::remote::backoff;
use crate::remote::delivery::{Delivery, Failure};
use crate::remote::partial_success;

/// How many bytes of a response's body are read. A longer body is not parsed, and its connection is not reused.
const BYTES_MAX: u64 = 64 * 1024;
/// Time limit of reading a body after its head. After a longer time, the connection is not reused.
pub const BODY_TIMEOUT: Duration = Duration::from_millis(250);

/// A hint for the log if a proxy answers 407.
pub const PROXY_KEY: &str = " (a proxy wants a user and a password: THUNDRA_EXTENSION_PROXY)";

pub struct RemoteResponse {
    status: StatusCode,
    headers: HeaderMap,
    /// How many items the remote rejected in a request that it accepted.
    rejected_items: u64,
    /// The body of a refusal, if the log shows it.
    refusal: Option<Vec<u8>>,
    /// Why the body could not be read to its end.
    cut: Option<io::Error>,
}

impl RemoteResponse {
    /// Reads a response to its end, so that its connection can be reused. Only two bodies are needed: that of
    /// OTLP's success, for the rejected items, and that of a refusal, for the log at level `debug`. An OTLP
    /// response without a `Content-Type` has the encoding of its request, `asked`. A number of rejected items
    /// above `items_max`, the sent ones, is ignored.
    pub fn of(response: Response<Body>, asked: Option<Encoding>, items_max: u64) -> Self {
        let (head, mut body) = response.into_parts();
        let mut content = body.as_reader().take(BYTES_MAX);
        let encoding = asked.filter(|_| head.status.is_success()).and_then(|asked| {
            let Some(content_type) = head.headers.get(CONTENT_TYPE) else { return Some(asked) };
            content_type.to_str().ok().and_then(Encoding::of)
        });
        let is_shown = !head.status.is_success() && logging::is_on(Level::Debug);
        let mut kept = Vec::new();
        let read = if encoding.is_some() || is_shown {
            io::copy(&mut content, &mut kept)
        } else {
            io::copy(&mut content, &mut io::sink())
        };
        let is_whole = read.as_ref().is_ok_and(|length| *length < BYTES_MAX);
        let rejected = encoding.filter(|_| is_whole).map(|it| partial_success::rejected(it, &kept));
        let rejected_items = rejected.filter(|it| *it <= items_max).unwrap_or_default();
        let (refusal, cut) = (is_shown.then_some(kept), read.err());
        Self { status: head.status, headers: head.headers, rejected_items, refusal, cut }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The body of a refusal, if the log shows it.
    pub fn refusal(&self) -> Option<&[u8]> {
        self.refusal.as_deref()
    }

    /// Why the body could not be read to its end.
    pub fn cut(&self) -> Option<&io::Error> {
        self.cut.as_ref()
    }

    /// The outcome of the request.
    pub fn delivery(&self, protocol: Protocol, now: SystemTime) -> Delivery {
        let Self { status, headers, rejected_items, .. } = self;
        if status.is_success() {
            return Delivery::Delivered { rejected_items: *rejected_items };
        }
        // A proxy requires other credentials. The remote has not received the report.
        let is_of_a_proxy = *status == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        if is_of_a_proxy || protocol.is_transient(*status) {
            return Delivery::Failed(Failure {
                why: answered(*status, if is_of_a_proxy { PROXY_KEY } else { "" }),
                is_answered: true,
                after: backoff::retry_after(headers, now),
                may_be_poison: !is_of_a_proxy && *status != StatusCode::TOO_MANY_REQUESTS,
            });
        }
        let loss = match status.as_u16() {
            401 | 403 => Loss::Unauthorized,
            413 => Loss::TooLarge,
            // A redirect is rejected too, because it could send the key to another host.
            _ => Loss::Rejected,
        };
        Delivery::Dropped(loss, *status)
    }
}

/// Describes an attempt with this status, for the log.
pub fn answered(status: StatusCode, more: &str) -> String {
    format!("it answered {status}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the outcome for each status.
    fn check(protocol: Protocol, is_transient: impl Fn(u16) -> bool) {
        for status in 100..600 {
            let status_code = StatusCode::from_u16(status).unwrap();
            let headers = HeaderMap::new();
            let (rejected_items, refusal, cut) = (7, None, None);
            let answer =
                RemoteResponse { status: status_code, headers, rejected_items, refusal, cut };
            let delivery = answer.delivery(protocol, SystemTime::now());
            let expected = match status {
                200..=299 => matches!(delivery, Delivery::Delivered { rejected_items: 7 }),
                407 | 429 => {
                    matches!(delivery, Delivery::Failed(Failure { may_be_poison: false, .. }))
                }
                _ if is_transient(status) => {
                    matches!(delivery, Delivery::Failed(Failure { may_be_poison: true, .. }))
                }
                401 | 403 => matches!(delivery, Delivery::Dropped(Loss::Unauthorized, _)),
                413 => matches!(delivery, Delivery::Dropped(Loss::TooLarge, _)),
                _ => matches!(delivery, Delivery::Dropped(Loss::Rejected, _)),
            };
            assert!(expected, "{status}: {delivery:?}");
        }
    }

    #[test]
    fn each_status_has_one_outcome() {
        check(Protocol::Thundra, |status| matches!(status, 408 | 425 | 500..));
        check(Protocol::Otlp, |status| matches!(status, 502..=504));
    }
}
