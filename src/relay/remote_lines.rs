//! Log lines about deliveries to a remote.

use std::time::Instant;

use log::Level;
use ureq::http::StatusCode;

use crate::logging::{Counted, in_ms};
use crate::payload::ledger::Loss;
use crate::payload::protocol::Protocol;
use crate::payload::route::Route;
use crate::relay::backlog::Batch;
use crate::remote::destination::Destination;
use crate::remote::lines::{Shown, debug, line};
use crate::remote::withheld::Withheld;

/// Logs a failed attempt. Its reports wait for the next one.
pub fn failed(level: Level, destination: &Destination, route: Route, why: &str) {
    let at = Shown(destination, route);
    let message = format_args!("cannot deliver to {at}: {why}; reports are kept and tried again");
    line(level, destination, None, message);
}

/// Logs another failed attempt with a quarantined report.
pub fn failed_again(destination: &Destination, route: Route, why: &str) {
    let at = Shown(destination, route);
    debug(
        destination,
        format_args!(
            "cannot deliver a report that failed before to {at}: {why}; it is tried again last"
        ),
    );
}

/// Logs that a request with several reports failed, and that smaller ones follow.
pub fn failed_together(destination: &Destination, reports: usize) {
    let (reports, name) = (Counted(reports, "report"), destination.name());
    debug(destination, format_args!("{reports} failed together at {name}; smaller ones follow"));
}

/// Logs a refused request. The remote may accept a part of it.
pub fn refused_together(destination: &Destination, batch: &Batch, status: StatusCode) {
    let (at, bytes) = (Shown(destination, batch.route()), batch.body().length());
    let reports = Counted(batch.reports(), "report");
    debug(
        destination,
        format_args!("{at} answered {status} to {reports}, {bytes} bytes; smaller requests follow"),
    );
}

/// Logs that the remote answers again after failures.
pub fn is_back(destination: &Destination, route: Route) {
    let at = Shown(destination, route);
    line(Level::Warn, destination, None, format_args!("{at} is back: it answers again"));
}

/// Logs that the remote answered 401 or 403. `this` is the consequence.
pub fn refused_key(
    (level, this): (Level, &str),
    destination: &Destination,
    withheld: &Withheld,
    batch: &Batch,
    status: StatusCode,
) {
    let (at, reports) = (Shown(destination, batch.route()), Counted(batch.reports(), "report"));
    let hint = about_the_key(destination, withheld, batch);
    let reason = Loss::Unauthorized.name();
    let message =
        format_args!("cannot deliver {reports} to {at}: it answered {status}: {hint}; {this}");
    line(level, destination, Some(reason), message);
}

/// A hint for the user about a refused key.
fn about_the_key(destination: &Destination, withheld: &Withheld, batch: &Batch) -> String {
    let is_thundra = destination.protocol == Protocol::Thundra;
    let has_own = batch.headers().authorization.is_some();
    let variable = destination.headers_variable(batch.route());
    let (set, variable) = match (has_own, is_thundra) {
        (true, true) => ("check the key of the agent: set ", variable),
        (true, false) => ("check the key that the SDK sends in Authorization", ""),
        _ if !destination.headers(batch.route()).is_empty() => ("check the key in ", variable),
        (false, true) => ("no key was sent: set ", variable),
        (false, false) => ("no header was sent: set or correct ", variable),
    };
    let withheld = batch.route().signal().and_then(|it| withheld.of(it));
    let or =
        if destination.may_be_answered_by_proxy() { ", unless the proxy refused it" } else { "" };
    let parts = match withheld {
        Some(name) => [" (the SDK's own header ", name, " is not forwarded: set it there)"],
        None => [""; 3],
    };
    [set, variable, &parts.concat(), or].concat()
}

/// Logs reports that the remote refused for good. Other reports are not affected.
pub fn dropped(
    level: Level,
    destination: &Destination,
    batch: &Batch,
    loss: Loss,
    status: StatusCode,
) {
    // In Thundra's protocol, this status allows a retry.
    let is_tried_elsewhere = Protocol::Thundra.is_transient(status);
    let demand = if destination.protocol == Protocol::Otlp && is_tried_elsewhere {
        ", not tried again, as OTLP demands"
    } else {
        ""
    };
    let (what, are) = match batch.reports() {
        1 => ("a report".to_owned(), "it is"),
        several => (format!("{several} reports together"), "they are"),
    };
    let (at, bytes) = (Shown(destination, batch.route()), batch.body().length());
    let has_delivered = batch.account().last_delivery().is_some();
    let hint = about_the_answer(destination, status, has_delivered);
    let message = format_args!(
        "cannot deliver {what}, {bytes} bytes, to {at}: it answered {status}{hint}; {are} \
         dropped{demand}"
    );
    line(level, destination, Some(loss.name()), message);
}

/// A hint for the user about a status that usually shows a mistake in the configuration. A remote that
/// `has_delivered` before has the right scheme.
fn about_the_answer(
    destination: &Destination,
    status: StatusCode,
    has_delivered: bool,
) -> &'static str {
    match status.as_u16() {
        _ if destination.may_be_answered_by_proxy() => " (or the proxy did)",
        400 if !destination.is_https() && !has_delivered => {
            " (if this port speaks TLS, the URL has to begin with https)"
        }
        300..=399 => " (redirects are not followed: set the URL that it redirects to)",
        404 | 405 => " (is this path right?)",
        _ => "",
    }
}

/// Logs items that the remote rejected in an accepted batch.
pub fn rejected(level: Level, destination: &Destination, batch: &Batch, items: u64) {
    let plural = if items == 1 { "" } else { "s" };
    let at = Shown(destination, batch.route());
    let message = format_args!(
        "cannot deliver {items} item{plural} to {at}: it rejected them and took the rest; they are \
         not tried again"
    );
    line(level, destination, Some("rejected_items"), message);
}

/// Logs the first delivery to a remote, so that users see that it works.
pub fn first_delivery(destination: &Destination, batch: &Batch, now: Instant) {
    let (at, reports) = (Shown(destination, batch.route()), Counted(batch.reports(), "report"));
    let ms = in_ms(now.saturating_duration_since(batch.oldest()));
    let message = format_args!("first delivery to {at}: {reports}, {ms} ms after acceptance");
    line(Level::Info, destination, None, message);
}

/// Logs a delivered batch.
pub fn delivered(destination: &Destination, batch: &Batch) {
    let (at, reports) = (Shown(destination, batch.route()), Counted(batch.reports(), "report"));
    debug(destination, format_args!("delivered {reports} to {at} in one request"));
}
