//! Describes why an attempt got no answer: which host failed, and what the user can try.

use std::io::{self, ErrorKind};

use ureq::{Error, Timeout};

use super::response::PROXY_KEY;
use crate::remote::destination::Destination;

/// std's text before the reason of a failed look-up.
const LOOK_UP: &str = "failed to lookup address information: ";

/// rustls' name for an answer that is not TLS.
const NOT_TLS: &str = "InvalidContentType";

/// rustls' name for a certificate whose authority is not trusted.
const NOT_TRUSTED: &str = "UnknownIssuer";

/// webpki's name for an authority's certificate that a server uses. `openssl req -x509` makes such
/// certificates.
const OF_AN_AUTHORITY: &str = "CaUsedAsEndEntity";

/// rustls' name for a certificate with an unsupported signature.
const NOT_CHECKABLE: &str = "UnsupportedSignatureAlgorithm";

/// rustls' name for the alert of a server that shares no parameters with the client.
const NOTHING_IN_COMMON: &str = "HandshakeFailure";

/// rustls' name for the alert of a TLS 1.3 server that requires a client certificate.
const CLIENT_CERTIFICATE: &str = "CertificateRequired";

/// rustls' name for the alert of a server that supports older versions only.
const OLD_TLS: &str = "ProtocolVersion";

/// The reason in words, without secrets. `had_request` is true if a part of the request was sent. With https,
/// the TLS handshake was then complete.
#[cold]
pub fn why(error: &Error, destination: &Destination, had_request: bool) -> String {
    match error {
        Error::HostNotFound => cannot_look_up(destination, "it has no address"),
        Error::Timeout(Timeout::Resolve) => cannot_look_up(destination, "no answer in time"),
        Error::Timeout(Timeout::Connect) => no_connection("in time"),
        Error::Timeout(_) => "no answer in time".to_owned(),
        Error::ConnectProxyFailed(why) => {
            let hint = if why.contains("407") { PROXY_KEY } else { "" };
            [next_hop(destination), ": ", why, hint].concat()
        }
        Error::Io(error) => of_io(error, destination, had_request),
        // The error's own text contains the URL with its query.
        Error::BadUri(_) => "the URL cannot be used".to_owned(),
        Error::Protocol(_) => [
            "its answer is not HTTP/1.1: ",
            &error.to_string(),
            " (https instead of http, or the port of gRPC?)",
        ]
        .concat(),
        _ => error.to_string(),
    }
}

/// Describes which step was incomplete when the execution environment's end interrupted the attempt.
pub fn interrupted(error: &Error, destination: &Destination) -> String {
    let missing = match error {
        Error::Io(error) if error.kind() == ErrorKind::Interrupted => {
            cannot_look_up(destination, "no answer yet")
        }
        // An interrupted connect ends with this error. An established connection ends with others.
        Error::Io(error) if error.kind() == ErrorKind::ConnectionReset => no_connection("yet"),
        _ => "no answer yet".to_owned(),
    };
    [&missing, ", and the execution environment ends"].concat()
}

fn no_connection(when: &str) -> String {
    let hint = " (does a firewall, or a VPC without a way out, stand between?)";
    ["no connection ", when, hint].concat()
}

fn of_io(error: &io::Error, destination: &Destination, had_request: bool) -> String {
    let text = error.to_string();
    if let Some(why) = text.strip_prefix(LOOK_UP) {
        return cannot_look_up(destination, why);
    }
    if is_of_connecting(error.kind()) {
        return match &destination.proxy {
            Some(_) => [next_hop(destination), ": ", &text].concat(),
            None => text,
        };
    }
    let is_https = destination.endpoints.any().is_https();
    let in_handshake = !had_request && is_https;
    let hint = if text.contains(NOT_TLS) || (in_handshake && is_of_an_end(error.kind())) {
        " (does it speak TLS? http instead of https may be right)"
    } else if !is_https && is_of_an_end(error.kind()) {
        " (does it speak TLS? https instead of http may be right)"
    } else if text.contains(NOT_TRUSTED) && destination.extra_roots.is_none() {
        " (if its authority is your own, set SSL_CERT_FILE to that one's PEM file)"
    } else if text.contains(OF_AN_AUTHORITY) {
        " (it is self-signed: SSL_CERT_FILE has to hold that very certificate, with the host as its \
         subjectAltName; a common name is not enough)"
    } else if text.contains(NOT_CHECKABLE) {
        " (a certificate of its chain is signed with a key of curve P-521, or with SHA-1: neither is \
         supported)"
    } else if in_handshake && text.contains(NOTHING_IN_COMMON) {
        " (it may have a key of curve P-521, only ciphers without forward secrecy, or want a client \
         certificate: none is supported)"
    } else if text.contains(CLIENT_CERTIFICATE) {
        " (it wants a client certificate, which is not supported)"
    } else if text.contains(OLD_TLS) {
        " (it speaks no newer TLS than 1.1, which is not supported)"
    } else {
        ""
    };
    [&text, hint].concat()
}

/// Whether only the next hop, the proxy or the remote, can cause this error.
fn is_of_connecting(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
    )
}

/// Whether the peer ended the connection. A server without TLS may do that.
fn is_of_an_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
}

/// Describes a failed look-up. With a proxy, only the proxy's address is looked up here.
fn cannot_look_up(destination: &Destination, why: &str) -> String {
    ["cannot look up the address of ", next_hop(destination), ": ", why].concat()
}

/// The host to which the extension connects.
fn next_hop(destination: &Destination) -> &str {
    if destination.proxy.is_some() { "the proxy" } else { destination.endpoints.any().host() }
}

#[cfg(test)]
mod tests {
    use ureq::Proxy;

    use super::*;
    use crate::net::url::Url;
    use crate::payload::protocol::Protocol;
    use crate::remote::destination::Endpoints;

    fn destination(proxy: Option<&str>) -> Destination {
        Destination {
            protocol: Protocol::Otlp,
            endpoints: Endpoints::below(
                &Url::base("https://remote.example:8443/in").unwrap(),
                &crate::payload::route::Route::OTLP,
                &Vec::new(),
                "",
            ),
            proxy: proxy.map(|it| Proxy::new(it).unwrap()),
            extra_roots: None,
            trust_all_certificates: false,
        }
    }

    /// Checks the text without a proxy and with one.
    #[track_caller]
    fn check(error: impl Fn() -> Error, alone: &str, proxied: &str) {
        let proxy = destination(Some("http://user:secret@proxy.corp:8080"));
        for (destination, words) in [(destination(None), alone), (proxy, proxied)] {
            let text = why(&error(), &destination, false);
            assert!(text.starts_with(words), "{text:?}, not {words:?}");
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn a_failed_connection_names_the_host_that_failed() {
        let look_up = || io::Error::other(format!("{LOOK_UP}Name does not resolve")).into();
        check(
            look_up,
            "cannot look up the address of remote.example: Name does not resolve",
            "cannot look up the address of the proxy: Name does not resolve",
        );
        check(
            || Error::HostNotFound,
            "cannot look up the address of remote.example: ",
            "cannot look up the address of the proxy: ",
        );
        check(
            || io::Error::from(ErrorKind::ConnectionRefused).into(),
            "connection refused",
            "the proxy: connection refused",
        );
        check(
            || Error::Timeout(Timeout::Connect),
            "no connection in time (",
            "no connection in time (",
        );
        check(|| Error::Timeout(Timeout::Global), "no answer in time", "no answer in time");
        check(
            || Error::ConnectProxyFailed("407".to_owned()),
            "remote.example: 407",
            "the proxy: 407",
        );
    }

    #[test]
    fn an_interrupted_attempt_names_its_incomplete_step() {
        let text = |kind: ErrorKind| interrupted(&io::Error::from(kind).into(), &destination(None));
        let begins = |kind, words| assert!(text(kind).starts_with(words), "{}", text(kind));
        begins(
            ErrorKind::Interrupted,
            "cannot look up the address of remote.example: no answer yet",
        );
        begins(ErrorKind::ConnectionReset, "no connection yet (does a firewall");
        begins(ErrorKind::UnexpectedEof, "no answer yet, and the execution environment ends");
    }

    #[test]
    fn a_connection_that_ends_in_the_handshake_may_be_to_a_server_without_tls() {
        let destination = destination(None);
        for kind in [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset] {
            let hint = |had_request| {
                why(&io::Error::from(kind).into(), &destination, had_request).contains("TLS?")
            };
            assert_eq!([hint(false), hint(true)], [true, false], "{kind}");
        }
    }

    #[test]
    fn an_error_of_tls_or_http_has_a_hint_for_the_user() {
        let tls = |why: &str| {
            let why = format!("received corrupt message of type {why}");
            move || io::Error::other(why.clone()).into()
        };
        check(
            tls(NOT_TLS),
            "received corrupt message of type InvalidContentType (does it speak TLS? http instead",
            "received corrupt message of type InvalidContentType (does it speak TLS? http instead",
        );
        check(
            tls(NOT_TRUSTED),
            "received corrupt message of type UnknownIssuer (if its authority",
            "received corrupt message of type UnknownIssuer (if its authority",
        );
        check(
            tls(OF_AN_AUTHORITY),
            "received corrupt message of type CaUsedAsEndEntity (it is self-signed: SSL_CERT_FILE",
            "received corrupt message of type CaUsedAsEndEntity (it is self-signed: SSL_CERT_FILE",
        );
        check(
            tls(NOT_CHECKABLE),
            "received corrupt message of type UnsupportedSignatureAlgorithm (a certificate of its chain",
            "received corrupt message of type UnsupportedSignatureAlgorithm (a certificate of its chain",
        );
        check(
            tls(NOTHING_IN_COMMON),
            "received corrupt message of type HandshakeFailure (it may have a key of curve P-521",
            "received corrupt message of type HandshakeFailure (it may have a key of curve P-521",
        );
        check(
            || Error::BadUri("https://a?key=secret".to_owned()),
            "the URL cannot be used",
            "the URL cannot be used",
        );
    }
}
