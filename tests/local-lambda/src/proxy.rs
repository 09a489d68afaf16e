//! An HTTP proxy that makes tunnels (CONNECT; RFC 9110, section 9.3.6) and forwards requests with a
//! whole URL (RFC 9112, section 3.2.2).

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::acceptor::Accepted;
use crate::http::{self, Request, Response};
use crate::listener::Listener;
use crate::messages::Messages;
use crate::watch::Watch;

pub struct Proxy {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The only `Proxy-Authorization` that the proxy accepts. With `None`, it accepts any.
    required: Mutex<Option<String>>,
    /// Whether CONNECT is refused, as Squid refuses it for ports other than 443.
    refuses_tunnels: AtomicBool,
    asked: Watch<Vec<Asked>>,
}

struct Asked {
    /// The `host:port` of a tunnel, or a URL.
    target: String,
    authorization: Option<String>,
    /// The connection's number, from 0, in the order of acceptance.
    connection: usize,
}

impl Asked {
    fn is_tunnel(&self) -> bool {
        !self.target.contains("://")
    }
}

#[expect(clippy::missing_panics_doc, reason = "a lock is poisoned only by a panic of the double")]
impl Proxy {
    #[must_use]
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let listener = Listener::start("proxy", move |accepted| {
            // A tunnel ends when either side ends, also after an error.
            let _ = serve(&accepted, &serving);
        });
        Self { listener, shared }
    }

    /// Answers 407 to requests without these Basic credentials.
    #[must_use]
    pub fn requiring(self, user: &str, password: &str) -> Self {
        let credentials = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        *self.shared.required.lock().expect("an option is set whole") = Some(credentials);
        self
    }

    /// Answers 403 to CONNECT.
    #[must_use]
    pub fn refusing_tunnels(self) -> Self {
        self.shared.refuses_tunnels.store(true, Ordering::Relaxed);
        self
    }

    /// `http://127.0.0.1:PORT`, without credentials.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.address())
    }

    /// The `host:port` of each requested tunnel, also of refused ones, in the order of arrival.
    #[must_use]
    pub fn tunnels(&self) -> Vec<String> {
        self.asked(|it| it.is_tunnel().then(|| it.target.clone()))
    }

    /// The URL of each request to forward, also of refused ones, in the order of arrival.
    #[must_use]
    pub fn forwarded(&self) -> Vec<String> {
        self.asked(|it| (!it.is_tunnel()).then(|| it.target.clone()))
    }

    /// The number of the connection, from 0, for each tunnel and each URL.
    #[must_use]
    pub fn connections(&self) -> Vec<usize> {
        self.asked(|it| Some(it.connection))
    }

    /// The `Proxy-Authorization` of each tunnel and each URL.
    #[must_use]
    pub fn authorizations(&self) -> Vec<Option<String>> {
        self.asked(|it| Some(it.authorization.clone()))
    }

    fn asked<T>(&self, of: impl Fn(&Asked) -> Option<T>) -> Vec<T> {
        self.shared.asked.read(|asked| asked.iter().filter_map(of).collect())
    }
}

fn serve(accepted: &Accepted, shared: &Shared) -> io::Result<()> {
    let client = &*accepted.stream;
    let mut messages = Messages::new(client);
    while let Some(request) = messages.request()? {
        let answer = match admit(&request, accepted.number, shared) {
            Ok(()) if request.method != "CONNECT" => forward(&request),
            Ok(()) => match TcpStream::connect(&request.target) {
                Ok(server) => {
                    (&*client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
                    (&server).write_all(&messages.into_unread())?;
                    return tunnel(client, &server);
                }
                Err(error) => Err(error),
            },
            Err(refusal) => Ok(refusal),
        };
        let bad_gateway = |error: io::Error| http::render(502, &[], error.to_string().as_bytes());
        (&*client).write_all(&answer.unwrap_or_else(bad_gateway))?;
    }
    Ok(())
}

fn admit(request: &Request, connection: usize, shared: &Shared) -> Result<(), Vec<u8>> {
    let is_tunnel = request.method == "CONNECT";
    if !is_tunnel && !request.target.starts_with("http://") {
        return Err(http::render(400, &[], b"a proxy is asked for a whole URL"));
    }
    let authorization = request.header("Proxy-Authorization").map(str::to_owned);
    let required = shared.required.lock().expect("an option is set whole").clone();
    let admitted = required.is_none() || required == authorization;
    let asked = Asked { target: request.target.clone(), authorization, connection };
    shared.asked.update(|all| all.push(asked));
    if !admitted {
        let challenge =
            ("Proxy-Authenticate".to_owned(), "Basic realm=\"local-lambda\"".to_owned());
        return Err(http::render(407, &[challenge], b""));
    }
    if is_tunnel && shared.refuses_tunnels.load(Ordering::Relaxed) {
        return Err(http::render(403, &[], b"no tunnel to this port"));
    }
    Ok(())
}

/// Forwards the request on a new connection, without the headers for this proxy. Returns the answer.
fn forward(request: &Request) -> io::Result<Vec<u8>> {
    let Request { method, target, headers, body } = request;
    let address = target.trim_start_matches("http://");
    let (address, path) = address.split_at(address.find('/').unwrap_or(address.len()));
    let server = TcpStream::connect(address)?;
    let mut sent = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n").into_bytes();
    for (name, value) in headers.iter().filter(|(name, _)| is_forwarded(name)) {
        write!(sent, "{name}: {value}\r\n")?;
    }
    (&server).write_all(&[&sent, b"\r\n".as_slice(), body].concat())?;
    let Response { status, mut headers, body } = Messages::new(&server).response()?;
    headers.retain(|(name, _)| is_forwarded(name) && !name.eq_ignore_ascii_case("Content-Length"));
    Ok(http::render(status, &headers, &body))
}

/// Whether a header is forwarded. Headers for one connection are not (RFC 9110, section 7.6.1).
fn is_forwarded(name: &str) -> bool {
    let own = ["Connection", "Proxy-Authorization", "Proxy-Connection", "Transfer-Encoding"];
    !own.iter().any(|it| it.eq_ignore_ascii_case(name))
}

/// Copies in both directions until both sides have closed.
fn tunnel(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    thread::scope(|scope| {
        let up = scope.spawn(|| copy(client, server));
        let down = copy(server, client);
        up.join().expect("copying bytes does not panic").and(down)
    })
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    match copied {
        Ok(_) => to.shutdown(Shutdown::Write),
        // After a reset on one side, nothing can be sent to the other.
        Err(_) => to.shutdown(Shutdown::Both),
    }
}
