//! The smallest possible extension: it registers for INVOKE, if that exists, and for SHUTDOWN, and polls. It is
//! blocking, and has one connection and no crate but std. Other extensions are compared with it.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// # Errors
///
/// When the API does not exist, or its answer is not valid.
pub fn main() -> io::Result<()> {
    let path = env::args_os().next().unwrap_or_default();
    let name = Path::new(&path).file_name().unwrap_or_default().to_string_lossy();
    let host = env::var("AWS_LAMBDA_RUNTIME_API")
        .map_err(|error| io::Error::other(format!("AWS_LAMBDA_RUNTIME_API: {error}")))?;
    let mut connection = BufReader::new(TcpStream::connect(&host)?);

    // Managed Instances refuse INVOKE.
    let managed = env::var_os("AWS_LAMBDA_INITIALIZATION_TYPE")
        .is_some_and(|kind| kind == "lambda-managed-instances");
    let events =
        if managed { r#"{"events":["SHUTDOWN"]}"# } else { r#"{"events":["INVOKE","SHUTDOWN"]}"# };
    let register = format!(
        "POST /2020-01-01/extension/register HTTP/1.1\r\nHost: {host}\r\n\
         Lambda-Extension-Name: {name}\r\nContent-Length: {}\r\n\r\n{events}",
        events.len()
    );
    let id = exchange(&mut connection, &register)?.identifier;
    let next = format!(
        "GET /2020-01-01/extension/event/next HTTP/1.1\r\nHost: {host}\r\n\
         Lambda-Extension-Identifier: {id}\r\n\r\n"
    );
    while !exchange(&mut connection, &next)?.is_shutdown() {}
    Ok(())
}

struct Answer {
    identifier: String,
    body: String,
}

impl Answer {
    fn is_shutdown(&self) -> bool {
        let compact: String = self.body.split_whitespace().collect();
        compact.contains(r#""eventType":"SHUTDOWN""#)
    }
}

/// Without timeouts, because Lambda may freeze the process inside this call.
fn exchange(connection: &mut BufReader<TcpStream>, request: &str) -> io::Result<Answer> {
    connection.get_mut().write_all(request.as_bytes())?;
    let status = line(connection)?;
    if status.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(status));
    }
    let (mut identifier, mut length, mut chunked) = (String::new(), 0, false);
    loop {
        let header = line(connection)?;
        let Some((name, value)) = header.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "lambda-extension-identifier" => value.trim().clone_into(&mut identifier),
            "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let mut body = String::new();
    // AWS's daemon sends only long answers in chunks, and none here is long. But it may send any in chunks.
    while chunked {
        length = u64::from_str_radix(&line(connection)?, 16).map_err(io::Error::other)?;
        connection.take(length).read_to_string(&mut body)?;
        line(connection)?;
        chunked = length > 0;
        length = 0;
    }
    connection.take(length).read_to_string(&mut body)?;
    Ok(Answer { identifier, body })
}

/// A line without its end. If the connection ends early, this is an error.
fn line(connection: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match connection.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}
