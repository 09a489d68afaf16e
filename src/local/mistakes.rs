//! Logs one line about the first report that a port refuses because its client has a wrong setting. All
//! reports of such a client are refused, and only the closing line, hours later, counts them.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::local::response::Rejection;
use crate::logging;
use crate::net::url::shown_path;
use crate::payload::ledger::Refusal;
use crate::payload::protocol::Protocol;

/// The longest path that the log shows, in characters.
const PATH_MAX: usize = 64;

/// Which refusals of each protocol's port are already logged.
#[derive(Debug, Default)]
pub struct Mistakes([[AtomicBool; Refusal::ALL.len()]; 2]);

impl Mistakes {
    /// Logs a line if a wrong setting causes this refusal, and none is logged yet. The line is about a
    /// request to this protocol's port.
    pub fn explain(&self, protocol: Protocol, path: &str, rejection: &Rejection) {
        let Rejection { refusal, reason, .. } = *rejection;
        let is_logged = &self.0[protocol as usize][refusal as usize];
        if is_of_settings(refusal) && !is_logged.swap(true, Ordering::Relaxed) {
            let line = line_without_path(refusal, protocol);
            logging::warn!("{}", line.unwrap_or_else(|| self::line(protocol, path, reason)));
        }
    }
}

/// Whether a wrong setting of the client, or of the buffer, causes this refusal.
fn is_of_settings(refusal: Refusal) -> bool {
    match refusal {
        Refusal::TooLarge
        | Refusal::UnknownPath
        | Refusal::WrongMethod
        | Refusal::UnknownMediaType
        | Refusal::Http2
        | Refusal::Tls => true,
        // A full buffer passes, and no setting makes a body malformed. A missing remote and a fault have lines of
        // their own.
        Refusal::Full | Refusal::Malformed | Refusal::NoRemote | Refusal::Failed => false,
    }
}

/// The line for a connection of which nothing can be read, not even a path.
fn line_without_path(refusal: Refusal, protocol: Protocol) -> Option<String> {
    let hint = match refusal {
        Refusal::Http2 => {
            "an SDK exports over gRPC; set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or create an \
             exporter for HTTP in the code"
        }
        Refusal::Tls => "an SDK's endpoint begins with https://; begin it with http://",
        _ => return None,
    };
    let name = protocol.name();
    Some(format!(
        "cannot accept reports at the port for {name}: {hint}; such reports are refused and lost"
    ))
}

fn line(protocol: Protocol, path: &str, reason: &str) -> String {
    let name = protocol.name();
    let path = if path.is_empty() { "/" } else { path };
    let path: String = shown_path(path).chars().take(PATH_MAX).collect();
    format!(
        "cannot accept a report at {path:?} of the port for {name}: {reason}; such reports are refused \
         and lost"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_path_without_keys_and_control_characters() {
        for (path, shown) in [
            ("", "\"/\""),
            ("/v1/traces/v1/traces", "\"/v1/traces/v1/traces\""),
            ("/0123456789abcdef0123456789abcdef/v1", "\"/***/v1\""),
            ("/a\n\u{1b}[31mb", "\"/a\\n\\u{1b}[31mb\""),
        ] {
            let line = line(Protocol::Otlp, path, "why");
            let begin = format!("cannot accept a report at {shown} of the port for OTLP: why; ");
            assert!(line.starts_with(&begin), "{line}");
        }
        let long = "/a".repeat(1_000);
        assert!(line(Protocol::Otlp, &long, "why").len() < 200);
    }
}
