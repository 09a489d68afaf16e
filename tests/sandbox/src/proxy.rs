//! An HTTP proxy that knows CONNECT (RFC 9110, section 9.3.6) and nothing else.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::acceptor::Accepted;
use crate::http::{self, Request};
use crate::listener::Listener;
use crate::messages::Messages;
use crate::watch::Watch;

pub struct Proxy {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The only `Proxy-Authorization` that is let through, if any is needed.
    required: Mutex<Option<String>>,
    asked: Watch<Vec<Asked>>,
}

struct Asked {
    target: String,
    authorization: Option<String>,
}

#[expect(clippy::missing_panics_doc, reason = "a lock is poisoned only by a panic of the double")]
impl Proxy {
    #[must_use]
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let listener = Listener::start("proxy", move |accepted| {
            // A tunnel ends when either side does, in an error or not.
            let _ = serve(&accepted, &serving);
        });
        Self { listener, shared }
    }

    /// Answers 407 to whoever does not bring these Basic credentials.
    #[must_use]
    pub fn requiring(self, user: &str, password: &str) -> Self {
        let credentials = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        *self.shared.required.lock().expect("an option is set whole") = Some(credentials);
        self
    }

    /// `http://127.0.0.1:PORT`, without credentials.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.address())
    }

    /// Every `host:port` a tunnel was asked to, refused ones included, in the order of arrival.
    #[must_use]
    pub fn tunnels(&self) -> Vec<String> {
        self.shared.asked.read(|asked| asked.iter().map(|it| it.target.clone()).collect())
    }

    /// The `Proxy-Authorization` that came with each of [`Proxy::tunnels`].
    #[must_use]
    pub fn authorizations(&self) -> Vec<Option<String>> {
        self.shared.asked.read(|asked| asked.iter().map(|it| it.authorization.clone()).collect())
    }
}

fn serve(accepted: &Accepted, shared: &Shared) -> io::Result<()> {
    let client = &*accepted.stream;
    let mut messages = Messages::new(client);
    while let Some(request) = messages.request()? {
        let refusal = match admit(&request, shared) {
            Ok(()) => match TcpStream::connect(&request.target) {
                Ok(server) => {
                    (&*client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
                    (&server).write_all(&messages.into_unread())?;
                    return tunnel(client, &server);
                }
                Err(error) => http::render(502, &[], error.to_string().as_bytes()),
            },
            Err(refusal) => refusal,
        };
        (&*client).write_all(&refusal)?;
    }
    Ok(())
}

fn admit(request: &Request, shared: &Shared) -> Result<(), Vec<u8>> {
    if request.method != "CONNECT" {
        return Err(http::render(405, &[("Allow".to_owned(), "CONNECT".to_owned())], b""));
    }
    let authorization = request.header("Proxy-Authorization").map(str::to_owned);
    let required = shared.required.lock().expect("an option is set whole").clone();
    let admitted = required.is_none() || required == authorization;
    let asked = Asked { target: request.target.clone(), authorization };
    shared.asked.update(|all| all.push(asked));
    if admitted {
        return Ok(());
    }
    let challenge = ("Proxy-Authenticate".to_owned(), "Basic realm=\"sandbox\"".to_owned());
    Err(http::render(407, &[challenge], b""))
}

/// Copies both ways until both sides have said that they are done.
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
        // A reset on one side leaves nothing to say to the other.
        Err(_) => to.shutdown(Shutdown::Both),
    }
}
