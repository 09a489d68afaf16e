//! Connects to a remote through a proxy.
//!
//! For an https remote, ureq makes a tunnel (CONNECT). For a plain http remote, each request has the complete
//! URL in its first line (RFC 9112, 3.2.2), as with curl and Go. ureq would make a tunnel there too, but most
//! proxies refuse it: Squid allows CONNECT to port 443 only.

use std::fmt;
use std::mem;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, NextTimeout, Transport,
};
use ureq::{Agent, Proxy};

/// Connects to the remote through its proxy. `None` if no proxy is configured.
///
/// # Errors
/// The proxy cannot be reached, or it refuses.
pub fn connect(details: &ConnectionDetails) -> Result<Option<Box<dyn Transport>>, ureq::Error> {
    let Some(proxy) = details.config.proxy() else { return Ok(None) };
    if details.needs_tls() {
        let tunnel = ConnectProxyConnector::default().connect(details, None::<()>)?;
        return Ok(match tunnel {
            Some(Either::B(tunnel)) => Some(tunnel),
            Some(Either::A(())) | None => None,
        });
    }
    let host = details.uri.authority().map_or("", |it| it.as_str());
    Ok(Some(Box::new(Forwarding {
        proxy: connect_to(proxy, details)?,
        origin: format!("http://{host}"),
        authorization: authorization(proxy),
        begins: true,
    })))
}

/// Connects to the proxy itself, with the same connector.
fn connect_to(
    proxy: &Proxy,
    details: &ConnectionDetails,
) -> Result<Box<dyn Transport>, ureq::Error> {
    let uri = proxy.uri();
    let config = Agent::config_builder()
        .proxy(None)
        .input_buffer_size(details.config.input_buffer_size())
        .output_buffer_size(details.config.output_buffer_size())
        .build();
    (details.run_connector)(&ConnectionDetails {
        uri,
        addrs: details.resolver.resolve(uri, &config, details.timeout)?,
        config: &config,
        request_level: details.request_level,
        resolver: details.resolver,
        now: details.now,
        timeout: details.timeout,
        current_time: details.current_time.clone(),
        run_connector: details.run_connector.clone(),
        register_shutdown: details.register_shutdown.clone(),
    })
}

/// The header line with the proxy's credentials. Empty without credentials.
fn authorization(proxy: &Proxy) -> String {
    if proxy.username().is_none() && proxy.password().is_none() {
        return String::new();
    }
    let [user, password] = [proxy.username(), proxy.password()].map(Option::unwrap_or_default);
    let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Proxy-Authorization: Basic {credentials}\r\n")
}

/// A connection to a proxy that forwards each request to the remote.
struct Forwarding {
    proxy: Box<dyn Transport>,
    /// The remote's origin, such as `http://host:port`.
    origin: String,
    /// The header line for the proxy, which does not forward it (RFC 9110, 11.7.2).
    authorization: String,
    /// Whether the next output is the head of a request.
    begins: bool,
}

impl Transport for Forwarding {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.proxy.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if !mem::take(&mut self.begins) {
            return self.proxy.transmit_output(amount, timeout);
        }
        let head = &self.proxy.buffers().output()[..amount];
        let head = absolute(head, &self.origin, &self.authorization);
        let mut rest = head.as_slice();
        while !rest.is_empty() {
            let output = self.proxy.buffers().output();
            let (part, later) = rest.split_at(rest.len().min(output.len()));
            output[..part.len()].copy_from_slice(part);
            self.proxy.transmit_output(part.len(), timeout)?;
            rest = later;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.begins = true;
        self.proxy.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.proxy.is_open()
    }
}

/// A request's head for a proxy: with the complete URL in its first line, followed by this header line.
fn absolute(head: &[u8], origin: &str, line: &str) -> Vec<u8> {
    let behind = |mark: &[u8]| {
        let at = head.windows(mark.len()).position(|it| it == mark);
        at.map_or(head.len(), |at| at + mark.len())
    };
    let (method, first_line) = (behind(b" "), behind(b"\r\n"));
    let target = &head[method..first_line];
    [&head[..method], origin.as_bytes(), target, line.as_bytes(), &head[first_line..]].concat()
}

impl fmt::Debug for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Forwarding")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_gets_the_complete_url_followed_by_the_credentials() {
        let line = "Proxy-Authorization: Basic eA==\r\n";
        for (head, line, expected) in [
            (
                "POST /v1/traces?a=b%20c HTTP/1.1\r\nhost: a:1\r\n\r\n",
                "",
                "POST http://a:1/v1/traces?a=b%20c HTTP/1.1\r\nhost: a:1\r\n\r\n",
            ),
            ("POST / HTTP/1.1\r\n", line, &*format!("POST http://a:1/ HTTP/1.1\r\n{line}")),
        ] {
            let absolute = absolute(head.as_bytes(), "http://a:1", line);
            assert_eq!(String::from_utf8(absolute).unwrap(), expected);
        }
    }

    #[test]
    fn credentials_are_decoded_once_and_sent_as_basic() {
        for (url, line) in [
            ("http://p:3128", ""),
            // The credentials and the header of RFC 7617, section 2.
            (
                "http://Aladdin:open%20sesame@p",
                "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n",
            ),
            ("http://u@p", "Proxy-Authorization: Basic dTo=\r\n"),
        ] {
            assert_eq!(authorization(&Proxy::new(url).unwrap()), line, "{url}");
        }
    }
}
