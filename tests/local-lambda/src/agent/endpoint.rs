//! The address to which an agent reports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;

use super::sockets::Socket;
use super::stream::{self, Stream};
use super::wire::Destination;

#[derive(Debug, Clone)]
pub struct Endpoint {
    authority: String,
    base: String,
    /// The host and the first part of the path, by which Node's agent names its target.
    resource: String,
    host: Host,
}

#[derive(Debug, Clone)]
enum Host {
    Localhost(Localhost, u16),
    Plain,
    /// TLS, with the name in the server's certificate and the trusted authorities.
    Tls(String, Option<Arc<ClientConfig>>),
}

/// How `localhost` resolves for the agent. It differs between Lambda's own images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Localhost {
    /// 127.0.0.1, and `::1` if that fails
    #[default]
    V4First,
    /// `::1`, and 127.0.0.1 if that fails: Python, Go, and Node.js from 20 on
    V6First,
    /// `::1` alone: Node.js 17 to 19, which try the first address only
    V6Only,
}

impl Endpoint {
    /// The extension's local collector: `http://localhost:PORT/v1`.
    #[must_use]
    pub fn local(port: u16, localhost: Localhost) -> Self {
        Self {
            authority: format!("localhost:{port}"),
            base: "/v1".to_owned(),
            resource: "localhost/v1".to_owned(),
            host: Host::Localhost(localhost, port),
        }
    }

    /// A remote collector, `http[s]://HOST[:PORT][/PATH]`. One with TLS needs [`Self::trusting`].
    ///
    /// # Errors
    ///
    /// When the URL has another form, with the reason.
    pub fn remote(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err("the URL does not start with http:// or https://".to_owned()),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        let (host, authority) = match port {
            Some((host, port)) if port.parse::<u16>().is_ok() => (host, authority.to_owned()),
            Some((_, port)) => return Err(format!("{port:?} is no port")),
            None => (authority, format!("{authority}:{default_port}")),
        };
        if host.is_empty() {
            return Err("the URL has no host".to_owned());
        }
        let path = path.trim_end_matches('/');
        let base = if path.is_empty() { String::new() } else { format!("/{path}") };
        let first = path.split('/').next().unwrap_or_default();
        let resource = format!("{host}/{first}");
        let host = match scheme {
            "https" => Host::Tls(host.trim_matches(['[', ']']).to_owned(), None),
            _ => Host::Plain,
        };
        Ok(Self { authority, base, resource, host })
    }

    /// Trusts only the authorities in this file. Without TLS this changes nothing.
    ///
    /// # Errors
    ///
    /// When the file has no certificates, with the reason.
    pub fn trusting(mut self, pem_file: &Path) -> Result<Self, String> {
        if let Host::Tls(_, config) = &mut self.host {
            *config = Some(stream::trusting(pem_file)?);
        }
        Ok(self)
    }

    pub(super) fn secure(&self, socket: Socket) -> io::Result<Stream> {
        match &self.host {
            Host::Localhost(..) | Host::Plain => Ok(Stream::Plain(socket)),
            Host::Tls(host, Some(config)) => Stream::tls(socket, config, host),
            Host::Tls(_, None) => Err(io::Error::other("no authority is trusted")),
        }
    }

    pub(super) fn destination(&self) -> Destination<'_> {
        Destination { base: &self.base, authority: &self.authority, resource: &self.resource }
    }

    /// The addresses, in the order of the attempts.
    pub(super) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
        let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
        let (hosts, port) = match &self.host {
            Host::Plain | Host::Tls(..) => return Ok(self.authority.to_socket_addrs()?.collect()),
            Host::Localhost(Localhost::V4First, port) => (vec![v4, v6], port),
            Host::Localhost(Localhost::V6First, port) => (vec![v6, v4], port),
            Host::Localhost(Localhost::V6Only, port) => (vec![v6], port),
        };
        Ok(hosts.into_iter().map(|host| SocketAddr::new(host, *port)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: Result<[&str; 3], &str>) {
        let endpoint = Endpoint::remote(url);
        let parts = endpoint.as_ref().map(|it| [&*it.authority, &*it.base, &*it.resource]);
        assert_eq!(parts.map_err(|why| &**why), expected);
    }

    #[test]
    fn a_url_is_split_into_its_parts() {
        check("http://127.0.0.1:80/v1", Ok(["127.0.0.1:80", "/v1", "127.0.0.1/v1"]));
        check("http://[::1]:81/a/b/", Ok(["[::1]:81", "/a/b", "[::1]/a"]));
        check("https://host/v1", Ok(["host:443", "/v1", "host/v1"]));
        check("http://[::1]", Ok(["[::1]:80", "", "[::1]/"]));
    }

    #[test]
    fn an_invalid_url_of_a_collector_is_refused_with_the_reason() {
        check("ftp://host/v1", Err("the URL does not start with http:// or https://"));
        check("http://host:port/v1", Err("\"port\" is no port"));
        check("http:///v1", Err("the URL has no host"));
    }
}
