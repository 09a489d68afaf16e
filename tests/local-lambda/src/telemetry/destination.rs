//! The address at which a subscriber listens.

use serde_json::Value;

/// The port that Lambda itself uses (AWS docs "Accessing real-time telemetry data for extensions using the
/// Telemetry API").
const RESERVED_PORT: u16 = 9001;
const HOSTS: [&str; 2] = ["sandbox.localdomain", "sandbox"];

/// Deliveries go to 127.0.0.1 in both cases, as in the emulator. A local execution environment has no network
/// of its own in which these names would have an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Http {
        port: u16,
        /// The host and port of the URI.
        authority: String,
        /// The path and query of the URI, or `/`.
        target: String,
    },
    Tcp {
        port: u16,
    },
}

impl Destination {
    /// # Errors
    ///
    /// When the destination is not valid. The error is the text of `errorMessage`.
    pub fn of(destination: &Value) -> Result<Self, String> {
        let protocol = destination.get("protocol").and_then(Value::as_str);
        match protocol {
            Some("HTTP") => match destination.get("URI").and_then(Value::as_str) {
                Some(uri) => http(uri),
                None => Err("destination.URI is not provided".to_owned()),
            },
            Some("TCP") => {
                let port = destination.get("port").and_then(Value::as_u64);
                Ok(Self::Tcp { port: open_port(port.and_then(|port| port.try_into().ok()))? })
            }
            _ => Err("destination.protocol must be HTTP or TCP".to_owned()),
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Http { port, .. } | Self::Tcp { port } => *port,
        }
    }
}

fn http(uri: &str) -> Result<Destination, String> {
    let Some(rest) = uri.strip_prefix("http://") else {
        return Err("destination.URI scheme must be http".to_owned());
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    if !HOSTS.contains(&host) {
        return Err("destination.URI host must be sandbox.localdomain".to_owned());
    }
    if port.is_empty() {
        return Err("URI port is not provided".to_owned());
    }
    let port = open_port(port.parse().ok())?;
    let target = target.split('#').next().unwrap_or_default();
    if target.contains(|character: char| character.is_ascii_control() || character == ' ') {
        return Err("destination.URI path must not have spaces".to_owned());
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok(Destination::Http {
        port,
        authority: authority.to_owned(),
        target: format!("{slash}{target}"),
    })
}

fn open_port(port: Option<u16>) -> Result<u16, String> {
    match port {
        Some(RESERVED_PORT) => Err(format!("port {RESERVED_PORT} is reserved")),
        Some(port @ 1..) => Ok(port),
        Some(0) | None => Err("port must be a number from 1 to 65535".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check_http(uri: &str, expected: Result<(u16, &str, &str), &str>) {
        let expected = expected.map(|(port, authority, target)| Destination::Http {
            port,
            authority: authority.to_owned(),
            target: target.to_owned(),
        });
        let destination = Destination::of(&json!({"protocol": "HTTP", "URI": uri}));
        assert_eq!(destination, expected.map_err(str::to_owned), "{uri}");
    }

    #[track_caller]
    fn check_error(destination: &Value, expected: &str) {
        assert_eq!(Destination::of(destination), Err(expected.to_owned()));
    }

    #[test]
    fn a_uri_names_the_own_host_a_port_and_perhaps_a_path() {
        let long = "sandbox.localdomain:4243";
        check_http("http://sandbox.localdomain:4243", Ok((4243, long, "/")));
        check_http("http://sandbox.localdomain:4243/", Ok((4243, long, "/")));
        check_http("http://sandbox.localdomain:4243/a/b?c=d#e", Ok((4243, long, "/a/b?c=d")));
        check_http("http://sandbox.localdomain:4243?c=d", Ok((4243, long, "/?c=d")));
        check_http("http://sandbox:65535", Ok((65535, "sandbox:65535", "/")));
    }

    #[test]
    fn a_uri_to_anywhere_else_is_refused() {
        let host = "destination.URI host must be sandbox.localdomain";
        for uri in ["http://127.0.0.1:4243", "http://:4243", "http://a@sandbox:1", "http://"] {
            check_http(uri, Err(host));
        }
        check_http("https://sandbox:4243", Err("destination.URI scheme must be http"));
        check_http("sandbox:4243", Err("destination.URI scheme must be http"));
        check_http("http://sandbox.localdomain", Err("URI port is not provided"));
        check_http("http://sandbox.localdomain:/x", Err("URI port is not provided"));
        check_http("http://sandbox:9001", Err("port 9001 is reserved"));
        for port in ["0", "65536", "-1", "a", "1:2"] {
            let uri = format!("http://sandbox:{port}");
            check_http(&uri, Err("port must be a number from 1 to 65535"));
        }
        check_http("http://sandbox:1/a b", Err("destination.URI path must not have spaces"));
        check_http("http://sandbox:1/a\r\nb", Err("destination.URI path must not have spaces"));
    }

    #[test]
    fn a_tcp_destination_is_a_port() {
        let tcp = Destination::of(&json!({"protocol": "TCP", "port": 4243}));
        assert_eq!(tcp, Ok(Destination::Tcp { port: 4243 }));
        check_error(&json!({"protocol": "TCP", "port": 9001}), "port 9001 is reserved");
        for port in [json!(0), json!(65536), json!("4243"), json!(1.5), Value::Null] {
            let destination = json!({"protocol": "TCP", "port": port});
            check_error(&destination, "port must be a number from 1 to 65535");
        }
    }

    #[test]
    fn a_protocol_without_its_field_and_an_unknown_one_are_refused() {
        check_error(&json!({"protocol": "HTTP", "port": 1}), "destination.URI is not provided");
        for destination in [json!({}), json!({"protocol": "http", "URI": "x"}), json!("x")] {
            check_error(&destination, "destination.protocol must be HTTP or TCP");
        }
    }
}
