//! One attempt: builds the request with its URL and headers, sends it, and reads the response.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use ureq::config::AutoHeaderValue;
use ureq::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use ureq::http::{self, Method, Uri};
use ureq::{Agent, Error, SendBody};

use super::{Remote, Request, USER_AGENT};
use crate::failpoint;
use crate::net::freeze::TimeLimit;
use crate::net::resolver::NoResolver;
use crate::net::socket::FREEZE_MAX;
use crate::payload::protocol::Protocol;
use crate::payload::route::Headers;
use crate::remote::connector::RemoteConnector;
use crate::remote::no_answer::{NoAnswer, connecting};
use crate::remote::response::{BODY_TIMEOUT, RemoteResponse};
use crate::remote::tls::Tls;

/// How long an idle connection stays open, freezes included. With ureq's default of 15 s, most invocations
/// would need a new handshake. NAT gateways forget a connection after 350 s, and a later request would hang
/// ("NAT gateway basics", Amazon VPC).
const IDLE_MAX: Duration = Duration::from_secs(300);

impl Remote {
    pub(super) fn attempt(
        &mut self,
        asked: &Request,
        limit: TimeLimit,
    ) -> Result<RemoteResponse, NoAnswer> {
        let mut body = asked.body.clone();
        self.status_line.forget();
        let agent = self.agent().clone();
        let exchange = || {
            failpoint::hit("sender.request");
            let request = self.request(asked, SendBody::from_reader(&mut body))?;
            agent.run(limited(&agent, request, limit))
        };
        // A panic of ureq or rustls fails the attempt only. The batch is kept.
        let sent = catch_unwind(AssertUnwindSafe(exchange)).unwrap_or_else(|_| {
            self.reset();
            Err(io::Error::other("an internal error, a panic").into())
        });
        let had_it = !body.is_untouched();
        // Before a part of the body was sent, a status comes from a proxy and does not answer the report.
        let status = self.status_line.status().filter(|_| had_it);
        self.names.attempted(sent.is_ok() || status.is_some());
        let response = sent.map_err(|error| NoAnswer { error, had_it, status })?;
        let is_otlp = self.destination.protocol == Protocol::Otlp;
        let encoding = asked.headers.encoding().filter(|_| is_otlp);
        Ok(RemoteResponse::of(response, encoding, items_max(asked)))
    }

    /// Builds the HTTP request. It has the reports' headers, and those configured headers that the reports
    /// lack.
    fn request<'a>(
        &self,
        asked: &Request,
        body: SendBody<'a>,
    ) -> Result<http::Request<SendBody<'a>>, Error> {
        let url = self.destination.url(asked.route);
        let url = url.expect("a pipeline gets only its destination's routes");
        let mut request = http::Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::try_from(url).map_err(http::Error::from)?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_LENGTH, asked.body.length().into());
        let Headers { authorization, content_type, content_encoding } = asked.headers;
        for (name, value) in [
            (AUTHORIZATION, authorization),
            (CONTENT_TYPE, content_type),
            (CONTENT_ENCODING, content_encoding),
        ] {
            if let Some(value) = value {
                headers.append(name, value.clone());
            }
        }
        for (name, value) in self.destination.headers(asked.route) {
            if authorization.is_none() || *name != AUTHORIZATION {
                headers.append(name.clone(), value.clone());
            }
        }
        Ok(request)
    }

    fn agent(&mut self) -> &Agent {
        let destination = &self.destination;
        let tls = self.tls.get_or_insert_with(|| Tls::to(destination));
        self.agent.get_or_insert_with(|| {
            let config = Agent::config_builder()
                .proxy(destination.proxy.clone())
                .max_redirects(0)
                .http_status_as_error(false)
                .user_agent(USER_AGENT)
                .accept(AutoHeaderValue::None)
                .max_idle_age(IDLE_MAX)
                .timeout_recv_body(Some(FREEZE_MAX))
                .timeout_per_read(Some(BODY_TIMEOUT))
                .input_buffer_size(16 * 1024)
                .output_buffer_size(16 * 1024)
                .build();
            let (status_line, names) = (self.status_line.clone(), self.names.clone());
            let connector = RemoteConnector { tls: tls.clone(), status_line, names };
            let agent = Agent::with_parts(config, connector, NoResolver);
            if let Some(interruptible) = &self.interruptible {
                interruptible.put(agent.clone());
            }
            agent
        })
    }
}

/// The largest possible number of items in a request. An item has at least one byte, but a content coding may
/// compress it.
fn items_max(request: &Request) -> u64 {
    const BYTES_CODED: u64 = 64 * 1024;
    let is_coded = request.headers.content_encoding.is_some();
    let length = u64::try_from(request.body.length()).unwrap_or(u64::MAX);
    if is_coded { length.saturating_mul(BYTES_CODED) } else { length }
}

/// Sets the time limit, in the form that [`crate::net::socket`] expects.
fn limited<'a>(
    agent: &Agent,
    request: http::Request<SendBody<'a>>,
    limit: TimeLimit,
) -> http::Request<SendBody<'a>> {
    let config = agent.configure_request(request);
    match limit {
        TimeLimit::ExcludingFreezes(limit) => {
            config.timeout_connect(Some(connecting(limit))).timeout_per_write(Some(limit)).build()
        }
        TimeLimit::WallClock(until) => {
            // No later attempt needs time, so the connect may use all of it.
            let left = until.saturating_duration_since(Instant::now());
            config
                .timeout_connect(Some(left))
                .timeout_per_call(Some(left))
                .timeout_recv_body(Some(BODY_TIMEOUT))
                .build()
        }
    }
}
