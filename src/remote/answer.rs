//! What the remote said, and what it means for the batch.

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use ureq::Body;
use ureq::http::header::CONTENT_TYPE;
use ureq::http::{HeaderMap, Response, StatusCode};

use super::{Delivery, Failure};
use crate::backoff;
use crate::dialect::Dialect;
use crate::encoding::Encoding;
use crate::ledger::Loss;
use crate::logging;
use crate::partial;

/// What is read of an answer so that its connection can be used again, in bytes. A longer answer
/// costs a new connection, and so does one that takes longer once its status is there.
const BYTES_MAX: u64 = 64 * 1024;
pub const BODY_TIMEOUT: Duration = Duration::from_millis(250);

pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// How many items it said that it rejected of those that it took.
    rejected_items: u64,
}

impl Answer {
    /// The status is the answer. Of the body only OTLP wants to know something, and only of one that
    /// goes with a success; else it is read to free the connection.
    /// An answer of OTLP is in the encoding of what was asked, unless it says otherwise.
    pub fn of(response: Response<Body>, asked: Option<Encoding>) -> Self {
        let (head, mut body) = response.into_parts();
        let mut said = body.as_reader().take(BYTES_MAX);
        let encoding = asked.filter(|_| head.status.is_success()).and_then(|asked| {
            let Some(content_type) = head.headers.get(CONTENT_TYPE) else { return Some(asked) };
            content_type.to_str().ok().and_then(Encoding::of)
        });
        let mut kept = Vec::new();
        let read = match encoding {
            Some(_) => io::copy(&mut said, &mut kept),
            None => io::copy(&mut said, &mut io::sink()),
        };
        let is_whole = read.as_ref().is_ok_and(|length| *length < BYTES_MAX);
        if let Err(error) = read {
            logging::debug!("cannot read the remote's answer to its end: {error}");
        }
        let rejected_items =
            encoding.filter(|_| is_whole).map_or(0, |it| partial::rejected(it, &kept));
        Self { status: head.status, headers: head.headers, rejected_items }
    }

    /// What it means for the batch.
    pub fn means(&self, dialect: Dialect, now: SystemTime) -> Delivery {
        let Self { status, headers, rejected_items } = self;
        if status.is_success() {
            return Delivery::Delivered { rejected_items: *rejected_items };
        }
        if dialect.is_transient(*status) {
            return Delivery::Failed(Failure {
                why: format!("it answered {status}"),
                is_answered: true,
                after: backoff::retry_after(headers, now),
                is_suspect: *status != StatusCode::TOO_MANY_REQUESTS,
            });
        }
        let loss = match status.as_u16() {
            401 | 403 => Loss::Unauthorized,
            413 => Loss::TooLarge,
            // Redirects too: they would carry the key to another host.
            _ => Loss::Rejected,
        };
        Delivery::Dropped(loss, *status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each status means.
    fn check(dialect: Dialect, is_transient: impl Fn(u16) -> bool) {
        for status in 100..600 {
            let status_code = StatusCode::from_u16(status).unwrap();
            let answer =
                Answer { status: status_code, headers: HeaderMap::new(), rejected_items: 7 };
            let delivery = answer.means(dialect, SystemTime::now());
            let expected = match status {
                200..=299 => matches!(delivery, Delivery::Delivered { rejected_items: 7 }),
                429 => matches!(delivery, Delivery::Failed(Failure { is_suspect: false, .. })),
                _ if is_transient(status) => {
                    matches!(delivery, Delivery::Failed(Failure { is_suspect: true, .. }))
                }
                401 | 403 => matches!(delivery, Delivery::Dropped(Loss::Unauthorized, _)),
                413 => matches!(delivery, Delivery::Dropped(Loss::TooLarge, _)),
                _ => matches!(delivery, Delivery::Dropped(Loss::Rejected, _)),
            };
            assert!(expected, "{status}: {delivery:?}");
        }
    }

    #[test]
    fn each_status_means_one_thing() {
        check(Dialect::Thundra, |status| matches!(status, 408 | 425 | 500..));
        check(Dialect::Otlp, |status| matches!(status, 502..=504));
    }
}
