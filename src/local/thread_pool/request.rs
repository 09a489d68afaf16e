//! Interprets the head of a request as tiny_http does: of repeated headers, the first one counts.

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

/// Whether tiny_http treats the connection itself as the body. By default, Java's HTTP client asks for an
/// upgrade to HTTP/2. Without an answer 101, its request is a normal one.
pub fn is_upgrade(request: &Request) -> bool {
    connection(request).contains("upgrade")
}

fn connection(request: &Request) -> String {
    values(request, "Connection").next().unwrap_or_default().to_ascii_lowercase()
}
