//! `local-lambda remote`: the local remote collector, for tests that are not written in Rust.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use local_lambda::{
    Answer, Authority, CutShort, Delivery, Fate, Item, KeepAlive, Pace, Received, Remote,
};
use serde_json::{Map, Value, json};

use super::course::{Admission, Course, parse_admission, parse_course, parse_pace};
use super::output;
use super::span::positive;

/// Runs a remote collector that records every request, and fails as ordered
///
/// Prints one line of JSON when it listens, `{"url": "https://localhost:PORT/v1", "ca": "DIR/ca.pem"}`. Answers
/// requests as --answer orders. For OTLP, use that URL without its `/v1`. Before each answer it appends one
/// line to DIR/requests.jsonl, `{"method", "path", "headers": {NAME: VALUE}, "body_base64"}`. So a client that
/// has the answer finds the line there. Ends on a signal, or when its standard input closes. Shells give
/// background jobs no standard input, so redirect one that stays open.
#[derive(clap::Args)]
pub struct Arguments {
    /// Serve HTTPS, with a certificate for localhost and 127.0.0.1 from the authority in DIR/ca.pem
    #[arg(long)]
    tls: bool,

    /// The directory for requests.jsonl and ca.pem. It is created if it does not exist
    #[arg(long)]
    dir: PathBuf,

    /// The answer to a request. If repeated, the answers to the first, the second and so on, and the last one
    /// for the rest
    ///
    /// STATUS is a number from 200 to 599. A 200 has the body `{}`, or an empty one for OTLP in Protobuf, and
    /// all others have none. `hang` sends no answer while the connection lasts, and `reset` resets it instead.
    /// `half` sends the beginning of a 200 and closes, `half-reset` does the same and resets. END@MOMENT leaves
    /// the connection at a moment of the request. END is `close`, `reset` or `hang`. MOMENT is `bytes:N` (after
    /// N bytes of the request), `head` (after its head), `body:N` (after N bytes of its body), `answer` (after
    /// all of it, before the answer) or `answered` (after a 200). Requests count in the order of their first
    /// bytes.
    #[arg(long, value_name = "ANSWER", default_value = "200", value_parser = parse_course)]
    answer: Vec<Course>,

    /// The treatment of a connection: `serve`, or before anything is read `close`, `reset` or `hang`. If
    /// repeated, the treatments of the first, the second and so on, and the last one for the rest
    #[arg(long, value_name = "ADMISSION", default_value = "serve", value_parser = parse_admission)]
    accept: Vec<Admission>,

    /// The delay of each answer, such as 200ms or 2s. A client that leaves earlier gets no answer, but its
    /// request counts as accepted
    #[arg(long, value_name = "TIME", value_parser = positive)]
    latency: Option<Duration>,

    /// The pace of reading requests: a number of bytes, then a pause, such as 1024/100ms
    #[arg(long, value_name = "BYTES/PAUSE", value_parser = parse_pace)]
    read_pace: Option<Pace>,

    /// The pace of writing answers, such as 1/10ms for byte by byte
    #[arg(long, value_name = "BYTES/PAUSE", value_parser = parse_pace)]
    write_pace: Option<Pace>,

    /// Close each connection after this number of answers, without announcing it
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..))]
    close_after: Option<u32>,

    /// Close each connection that was idle for this time
    #[arg(long, value_name = "TIME", value_parser = positive)]
    close_idle_after: Option<Duration>,

    /// When standard input closes, print one more line of JSON
    ///
    /// The line is `{"requests", "undelivered", "cut_short": [{"connection", "path", "body_bytes"}], "items",
    /// "repeated": [ITEM]}`. `requests` counts complete requests. `undelivered` counts those whose client had
    /// left before the answer. `cut_short` lists incomplete requests. `items` counts different items that were
    /// answered with a 2xx, and `repeated` lists those that came more than once. Items are the elements of an
    /// array, or of its data.allMonitoringData. For OTLP they are spans, data points and log records.
    #[arg(long)]
    report: bool,
}

pub fn run(arguments: &Arguments) -> io::Result<()> {
    fs::create_dir_all(&arguments.dir)?;
    let requests = arguments.dir.join("requests.jsonl");
    let requests = OpenOptions::new().create(true).append(true).open(requests)?;
    let (remote, authority_file) = if arguments.tls {
        let authority = Authority::create()?;
        let file = arguments.dir.join("ca.pem");
        fs::copy(authority.pem_file(), &file)?;
        (Remote::start_tls(&authority), Some(file))
    } else {
        (Remote::start(), None)
    };
    script(&remote, arguments);
    record(&remote, requests, arguments);
    output::print(&format!("{}\n", announcement(&remote, authority_file.as_deref())))?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    if arguments.report {
        output::print(&format!("{}\n", report(&remote)))?;
    }
    Ok(())
}

fn script(remote: &Remote, arguments: &Arguments) {
    let courses = arguments.answer.clone();
    if courses.iter().any(|course| course.cut.is_some()) {
        remote.cut_with(move |request| nth(&courses, request).cut);
    }
    let admissions = arguments.accept.clone();
    remote.refuse_with(move |connection| nth(&admissions, connection).0);
    if let Some(pace) = arguments.read_pace {
        remote.read_at(pace);
    }
    let mut keep_alive = KeepAlive::default();
    if let Some(most) = arguments.close_after {
        keep_alive = keep_alive.requests(most as usize);
    }
    if let Some(longest) = arguments.close_idle_after {
        keep_alive = keep_alive.idle(longest);
    }
    remote.keep_alive(keep_alive);
}

fn record(remote: &Remote, requests: File, arguments: &Arguments) {
    let requests = Mutex::new(requests);
    let courses = arguments.answer.clone();
    let (pace, latency) = (arguments.write_pace, arguments.latency);
    remote.answer_with(move |received| {
        let line = format!("{}\n", line(received));
        let mut requests = requests.lock().expect("a write that failed was the last");
        requests.write_all(line.as_bytes()).expect("cannot write to requests.jsonl");
        let answer = match &nth(&courses, received.number).answer {
            // The request is not decoded, because the decoding library does not support all of OTLP's JSON.
            answer if *answer == Answer::ok() => Answer::accepting_unread(received),
            answer => answer.clone(),
        };
        let answer = pace.map_or(answer.clone(), |pace| answer.at_pace(pace));
        latency.map_or(answer.clone(), |latency| answer.after(latency))
    });
}

/// The element at this place, or the last one.
fn nth<T>(all: &[T], place: usize) -> &T {
    all.get(place).or(all.last()).expect("an option with a default has a value")
}

fn announcement(remote: &Remote, authority_file: Option<&Path>) -> Value {
    let mut announcement = json!({ "url": remote.base_url() });
    if let Some(file) = authority_file {
        announcement["ca"] = json!(file);
    }
    announcement
}

fn line(received: &Received) -> Value {
    let header = |(name, value): &(String, String)| (name.clone(), Value::from(value.as_str()));
    json!({
        "method": received.method,
        "path": received.path,
        "headers": received.headers.iter().map(header).collect::<Map<_, _>>(),
        "body_base64": STANDARD.encode(&received.body),
    })
}

fn report(remote: &Remote) -> Value {
    let (received, cut_short) = (remote.received(), remote.cut_short());
    let undelivered = received.iter().filter(|it| it.fate == Fate::Undelivered).count();
    let cut = |it: &CutShort| {
        let path = it.head.as_ref().map(|head| &head.path);
        json!({ "connection": it.connection, "path": path, "body_bytes": it.body.len() })
    };
    let items: Vec<Item> = received.iter().flat_map(Received::items).collect();
    let delivery = Delivery::of(&received, &items);
    let repeated: Vec<String> = delivery.repeated.iter().map(Item::to_string).collect();
    json!({
        "requests": received.len(),
        "undelivered": undelivered,
        "cut_short": cut_short.iter().map(cut).collect::<Vec<_>>(),
        "items": delivery.once.len() + repeated.len(),
        "repeated": repeated,
    })
}
