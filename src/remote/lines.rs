//! Log lines about a remote. Each line names its scheme, host, port and the requested path.

use std::error::Error;
use std::fmt::{self, Arguments, Display};

use log::Level;
use ureq::http::StatusCode;

use crate::logging::{self, Value};
use crate::payload::route::Route;
use crate::remote::destination::Destination;

/// Logs that an attempt is repeated, because the first one does not show the remote's state.
pub fn tries_again(destination: &Destination) {
    debug(destination, format_args!("trying again on a new connection to {}", destination.name()));
}

/// Logs that the rest of a response could not be read. Its status is known.
pub fn is_cut(destination: &Destination, route: Route, error: &dyn Error) {
    let at = Shown(destination, route);
    debug(
        destination,
        format_args!("cannot read the answer of {at} to its end: {error}; its status counts"),
    );
}

/// Logs the remote's refusal. The keys in `body` are already hidden.
pub fn refusal(destination: &Destination, route: Route, status: StatusCode, body: &str) {
    debug(destination, format_args!("{} answered {status}: {body:?}", Shown(destination, route)));
}

/// Writes a line at level `debug`.
pub fn debug(destination: &Destination, message: Arguments) {
    line(Level::Debug, destination, None, message);
}

/// Writes a line with the field `remote`, and the field `reason` if there is one.
pub fn line(level: Level, destination: &Destination, reason: Option<&str>, message: Arguments) {
    if !logging::is_on(level) {
        return;
    }
    let name = destination.name();
    let fields = [("remote", Value::Text(&name)), ("reason", reason.unwrap_or_default().into())];
    let known = if reason.is_some() { 2 } else { 1 };
    logging::write(level, &fields[..known], message);
}

/// The URL of a route and the proxy to it. It is formatted only if its line is written.
pub struct Shown<'a>(pub &'a Destination, pub Route);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self(destination, route) = self;
        f.write_str(&destination.shown(*route))?;
        match destination.proxy_name() {
            Some(proxy) => f.write_str(&[" through the proxy ", &proxy].concat()),
            None => Ok(()),
        }
    }
}
