//! What the head of a request says, read as tiny_http reads it: of headers that repeat, the first.

use tiny_http::{HTTPVersion, Request};

/// The values of all headers of this name.
pub fn values<'a>(request: &'a Request, name: &'static str) -> impl Iterator<Item = &'a str> {
    let headers = request.headers().iter().filter(move |it| it.field.equiv(name));
    headers.map(|it| it.value.as_str())
}

/// Whether tiny_http closes the connection after this request.
pub fn is_last(request: &Request) -> bool {
    let connection = connection(request);
    let is_old = *request.http_version() == HTTPVersion(1, 0);
    let ends = connection.contains("close") || connection.contains("upgrade");
    ends || is_old && !connection.contains("keep-alive")
}

/// Whether tiny_http hands out the connection itself as the body. Java's HTTP client asks to
/// upgrade to HTTP/2 by default, and means the request all the same if it is not answered with 101.
pub fn is_upgrade(request: &Request) -> bool {
    connection(request).contains("upgrade")
}

fn connection(request: &Request) -> String {
    values(request, "Connection").next().unwrap_or_default().to_ascii_lowercase()
}
