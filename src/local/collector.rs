//! Answers the requests to the local ports: routes, limits and responses. Turns agents' reports into payloads.
//!
//! A server first passes the head of a request, and then its body if it is a report. So the report takes
//! its bytes of the quota before they are read.
//!
//! Invariant: a request waits only for its own bytes. The collector never waits for the sender, because only
//! the quota limits the queue between them.

mod headers;
mod health;
mod otlp;
pub mod report;
mod target;

use self::report::{Report, Unanswered};
use self::target::Target;
use crate::failpoint;
use crate::local::endpoint::Admission;
use crate::local::head::Head;
use crate::local::mistakes::Mistakes;
use crate::local::no_remote::NoRemote;
use crate::local::response::{Rejection, Response, ResponseFormat};
use crate::payload::encoding::Encoding;
use crate::payload::ledger::Refusal;
use crate::payload::protocol::Protocol;
use crate::payload::route::{Headers, Route};
use crate::relay::intake::{Intake, Recipients};

/// Answers requests, and passes reports to the intake.
#[derive(Debug)]
pub struct Collector {
    intake: Intake,
    no_remote: Vec<NoRemote>,
    mistakes: Mistakes,
}

impl Collector {
    pub fn new(intake: Intake, no_remote: Vec<NoRemote>) -> Self {
        Self { intake, no_remote, mistakes: Mistakes::default() }
    }

    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Decides by the head of a request to the port of this protocol. Counts a refusal.
    pub fn admit(&self, head: &Head, protocol: Protocol) -> Admission<Report<'_>> {
        let target = Target::of(head.method, head.target, protocol);
        let account = self.intake.account(target.route(), protocol);
        let account = Some(account).filter(|_| head.may_be_report());
        let format = format_of(head, protocol);
        let unanswered = Unanswered::new(account, &self.mistakes, protocol, format);
        failpoint::hit("collector.request");
        let rejection = match target {
            Target::Reports(route) => match self.recipients_of(head, route) {
                Ok((recipients, headers)) => {
                    return Admission::Awaited(Report::new(recipients, headers, unanswered));
                }
                Err(rejection) => rejection,
            },
            Target::Health => {
                unanswered.disarm();
                return Admission::Answered(health::response(&self.intake));
            }
            Target::WrongMethod { .. } => {
                Rejection::new(Refusal::WrongMethod, "this path takes another method")
            }
            Target::Unknown => Rejection::new(Refusal::UnknownPath, nothing_here(protocol)),
        };
        let response = unanswered.refuse(head.target, &rejection);
        Admission::Answered(match target {
            Target::WrongMethod { allowed } => response.allowing(allowed),
            _ => response,
        })
    }

    /// Counts bytes at the port of this protocol that are no request.
    pub fn refuse(&self, rejection: &Rejection, protocol: Protocol) -> Response {
        let account = Some(self.intake.account(None, protocol));
        let format = match protocol {
            Protocol::Thundra => ResponseFormat::Thundra,
            Protocol::Otlp => ResponseFormat::Otlp(Encoding::Json),
        };
        Unanswered::new(account, &self.mistakes, protocol, format).refuse("", rejection)
    }

    fn recipients_of(
        &self,
        head: &Head,
        route: Route,
    ) -> Result<(Recipients<'_>, Headers), Rejection> {
        let Some(recipients) = self.intake.recipients(route) else {
            self.no_remote.iter().for_each(|it| it.explain(route));
            let reason =
                "no remote is configured for this: see the log of thundra-lambda-extension";
            return Err(Rejection::new(Refusal::NoRemote, reason));
        };
        if let Some(signal) = route.signal() {
            for pipeline in recipients.pipelines() {
                pipeline.withheld().look_at(signal, head.names());
            }
        }
        Ok((recipients, headers::forwarded(head, route)?))
    }
}

fn nothing_here(port: Protocol) -> &'static str {
    match port {
        Protocol::Thundra => {
            "this port has only the paths /v1/monitoring-data and /v1/composite-monitoring-data"
        }
        Protocol::Otlp => "this port has only the paths /v1/traces, /v1/metrics and /v1/logs",
    }
}

fn format_of(head: &Head, protocol: Protocol) -> ResponseFormat {
    match protocol {
        Protocol::Thundra => ResponseFormat::Thundra,
        // A client with an unknown content type gets its error as JSON, which people can read.
        Protocol::Otlp => {
            let encoding = head.text("Content-Type").and_then(Encoding::of);
            ResponseFormat::Otlp(encoding.unwrap_or(Encoding::Json))
        }
    }
}
