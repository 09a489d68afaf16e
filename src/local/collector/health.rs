//! `GET /health`: the version, the outcomes of reports, and the remotes. `docs/health.md` explains each name.

use serde::Serialize;

use crate::local::response::Response;
use crate::logging::timestamp;
use crate::payload::ledger::{Balance, RemoteAccount};
use crate::payload::protocol::Protocol;
use crate::relay::intake::Intake;

pub fn response(intake: &Intake) -> Response {
    let ledger = intake.ledger();
    Response::ok(&Health {
        version: env!("CARGO_PKG_VERSION"),
        reports: ledger.total(Protocol::Thundra),
        otlp: ledger.total(Protocol::Otlp),
        remotes: ledger.remotes().iter().map(RemoteHealth::of).collect(),
        buffer: Buffer { held: intake.held(), size: intake.buffer() },
    })
}

#[derive(Serialize)]
struct Health<'a> {
    version: &'a str,
    /// The counts of Thundra's protocol.
    reports: Balance,
    /// The counts of OTLP.
    otlp: Balance,
    remotes: Vec<RemoteHealth<'a>>,
    buffer: Buffer,
}

#[derive(Serialize)]
struct RemoteHealth<'a> {
    remote: &'a str,
    protocol: &'a str,
    last_delivery: Option<String>,
    reports: Balance,
}

impl<'a> RemoteHealth<'a> {
    fn of(RemoteAccount { protocol, name, account }: &'a RemoteAccount) -> Self {
        Self {
            remote: name,
            protocol: protocol.name(),
            last_delivery: account.last_delivery().map(timestamp),
            reports: account.balance(),
        }
    }
}

/// The buffer's use and size, in bytes.
#[derive(Serialize)]
struct Buffer {
    held: usize,
    size: usize,
}
