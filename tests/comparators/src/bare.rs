//! The cost of a post that is dropped: `floor` with tiny_http, as its documentation shows it. It reads a report
//! and answers it.

use std::env;
use std::io::{self, Cursor};
use std::thread;

use tiny_http::{Response, Server, StatusCode};

#[path = "../../local-lambda/src/bin/floor.rs"]
mod floor;

const PORT: &str = "THUNDRA_EXTENSION_PORT";

fn main() -> io::Result<()> {
    let port = env::var(PORT).unwrap_or_else(|_| "3333".to_owned());
    let server = Server::http(format!("127.0.0.1:{port}")).map_err(io::Error::other)?;
    thread::Builder::new().name("server".to_owned()).spawn(move || serve(&server))?;
    floor::main()
}

fn serve(server: &Server) {
    for mut request in server.incoming_requests() {
        let read = io::copy(request.as_reader(), &mut io::sink());
        let status = StatusCode(if read.is_ok() { 200 } else { 400 });
        let body = b"{}";
        let response = Response::new(status, Vec::new(), Cursor::new(body), Some(body.len()), None);
        // A client that has left needs no answer.
        let _ = request.respond(response);
    }
}
