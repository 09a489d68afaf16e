//! A report whose head was admitted. It takes its body, and is accepted or refused.

use crate::failpoint;
use crate::local::body::{Body, Content, ReadError};
use crate::local::collector::otlp;
use crate::local::collector::target::path_of;
use crate::local::mistakes::Mistakes;
use crate::local::response::{Rejection, Response, ResponseFormat};
use crate::logging;
use crate::payload::json_scan;
use crate::payload::ledger::{Account, Refusal};
use crate::payload::protocol::Protocol;
use crate::payload::quota::Quota;
use crate::payload::route::{Headers, Route};
use crate::relay::intake::{Intake, Recipients};

/// A report without its body. Dropping it counts the request as failed.
#[derive(Debug)]
pub struct Report<'a> {
    recipients: Recipients<'a>,
    headers: Headers,
    unanswered: Unanswered<'a>,
}

/// A request that is neither answered nor counted. Dropping this value, as a panic does, counts the request as
/// failed.
#[derive(Debug)]
pub struct Unanswered<'a> {
    /// `None` if the request does not count.
    account: Option<&'a Account>,
    mistakes: &'a Mistakes,
    protocol: Protocol,
    format: ResponseFormat,
}

impl<'a> Report<'a> {
    pub fn new(recipients: Recipients<'a>, headers: Headers, unanswered: Unanswered<'a>) -> Self {
        Self { recipients, headers, unanswered }
    }

    /// The quota that pays for the body.
    pub fn quota(&self) -> &'a Quota {
        self.recipients.quota()
    }

    /// The bytes that the report needs of the quota in addition to its body.
    pub fn overhead(&self) -> usize {
        Intake::overhead(&self.headers)
    }

    /// Accepts the report, or refuses it. A body that `may_be_cut` is checked from start to end.
    pub fn finish(self, body: Result<Body, ReadError>, may_be_cut: bool) -> Response {
        failpoint::hit("collector.body");
        let Self { recipients, headers, unanswered } = self;
        let route = recipients.route();
        let checked = body
            .map_err(Rejection::from)
            .and_then(|body| Ok((inspect(route, &headers, &body.bytes, may_be_cut)?, body)));
        let (content, body) = match checked {
            Ok(checked) => checked,
            Err(rejection) => return unanswered.refuse(route.local_path(), &rejection),
        };
        let format = unanswered.disarm();
        match content {
            Content::Empty => recipients.accept_empty(),
            Content::Items => recipients.accept(headers, body.bytes, body.permit),
        }
        Response::accepted(format)
    }
}

impl<'a> Unanswered<'a> {
    pub fn new(
        account: Option<&'a Account>,
        mistakes: &'a Mistakes,
        protocol: Protocol,
        format: ResponseFormat,
    ) -> Self {
        Self { account, mistakes, protocol, format }
    }

    /// Another place counts the request. Returns the format of its response.
    pub fn disarm(mut self) -> ResponseFormat {
        self.account = None;
        self.format
    }

    /// Counts the request as refused, and returns its response.
    pub fn refuse(mut self, target: &str, rejection: &Rejection) -> Response {
        let refusal = rejection.refusal;
        logging::debug!("refused a request as {}", refusal.name());
        if let Some(account) = self.account.take() {
            account.refuse(refusal);
            self.mistakes.explain(self.protocol, path_of(target), rejection);
        }
        Response::refused(rejection, self.format)
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(account) = self.account {
            account.refuse(Refusal::Failed);
        }
    }
}

impl From<ReadError> for Rejection {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Full => Self::new(Refusal::Full, "the buffer is full"),
            ReadError::TooLarge => Self::new(
                Refusal::TooLarge,
                "the body is larger than three quarters of its remote's part of \
                 THUNDRA_EXTENSION_BUFFER",
            ),
            ReadError::Malformed(reason) => Self::new(Refusal::Malformed, reason),
        }
    }
}

/// Checks the start and end of a report, and refuses it if no remote can understand it. A plain body that
/// `may_be_cut` is checked from start to end.
fn inspect(
    route: Route,
    headers: &Headers,
    body: &[u8],
    may_be_cut: bool,
) -> Result<Content, Rejection> {
    if let Route::Otlp(signal) = route {
        return otlp::inspect(signal, headers, body, may_be_cut);
    }
    if is_nothing(body) {
        return Ok(Content::Empty);
    }
    if may_be_cut && headers.content_encoding.is_none() && !json_scan::is_whole(body) {
        return Err(ReadError::Malformed("a chunked body that is not a whole JSON document").into());
    }
    Ok(Content::Items)
}

/// Whether a body has no items. Agents send `[]` if they have trimmed a whole batch away.
fn is_nothing(body: &[u8]) -> bool {
    let inner = body.trim_ascii().strip_prefix(b"[").and_then(|it| it.strip_suffix(b"]"));
    inner.unwrap_or(body).trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_bodies_and_empty_arrays_have_no_items() {
        for body in ["", " ", "[]", " [ \n] ", "[\t]"] {
            assert!(is_nothing(body.as_bytes()), "{body:?}");
        }
        for body in ["{}", "[{}]", "[[]]", "x", "[", "]"] {
            assert!(!is_nothing(body.as_bytes()), "{body:?}");
        }
    }
}
