//! The functions that the fuzz targets of `tests/fuzz` call. Each checks, for any bytes, the properties of a
//! parser's result. Only cargo-fuzz builds this file, with its `--cfg fuzzing`.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};
use std::{iter, thread};

use serde_json::Value;
use serde_json::value::RawValue;
use tiny_http::{Header, Method, TestRequest};
use ureq::http::{HeaderMap, HeaderValue, header};

use crate::config::Config;
use crate::config::environment::Environment;
use crate::lambda::deadline::{Deadline, Now};
use crate::lambda::extensions_api::Event;
use crate::lambda::telemetry::ended;
use crate::local::collector::Collector;
use crate::local::event_loop::connection::{Connection, Need};
use crate::local::event_loop::running_time::RunningTime;
use crate::local::event_loop::{EventLoop, Order};
use crate::local::port::Port;
use crate::local::thread_pool::exchange;
use crate::local::thread_pool::workers::{self, ServerHandle};
use crate::net::url::Url;
use crate::payload::encoding::Encoding;
use crate::payload::format::BodyFormat;
use crate::payload::items::{ItemRange, is_within};
use crate::payload::json_scan;
use crate::payload::ledger::{Account, Loss};
use crate::payload::limits::RequestLimits;
use crate::payload::payload::Payload;
use crate::payload::protobuf::is_message;
use crate::payload::protocol::Protocol;
use crate::payload::quota::Quota;
use crate::payload::route::{Headers, Route};
use crate::payload::signal::Signal;
use crate::relay::backlog::{Backlog, Batch};
use crate::relay::flush::{Policy, Traffic};
use crate::relay::intake::Intake;
use crate::relay::queue::{Inbox, Message};
use crate::remote::backoff::{self, Backoff, Jitter};
use crate::remote::destination::Destination;
use crate::remote::partial_success;

/// The seeds contain this text in place of a secret.
const SECRET: &str = "s3cret";

/// Input: one line for each variable, `NAME=value`.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let variables: Vec<_> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let (config, problems) = Config::from(&Environment::of(&variables));
    assert!(config.port > 0);
    assert!((64 << 10..=64 << 20).contains(&config.buffer));
    let url = |url: String| Url::whole(&url).expect("an endpoint is a url");
    let own: Vec<u16> =
        config.ports.iter().chain(&config.late_ports).map(|(port, _)| *port).collect();
    for destination in &config.destinations {
        for route in destination.routes() {
            let endpoint = destination.url(route).map(url);
            assert!(endpoint.is_some_and(|it| !own.iter().any(|port| it.is_local(*port))));
        }
    }
    let is_shown = |name: &str| {
        let shown = ["_ENABLED", "_FLUSH", "_BUFFER", "_PORT", "_LEVEL", "_CERTIFICATES"];
        shown.iter().any(|it| name.to_ascii_uppercase().trim().ends_with(it))
    };
    let may_show_it =
        variables.iter().any(|(name, value)| is_shown(name) && value.contains(SECRET))
            || variables.iter().any(|(name, _)| name.contains(SECRET));
    for problem in problems.iter().map(ToString::to_string) {
        assert!(may_show_it || !problem.contains(SECRET), "{problem}");
    }
}

/// Input: an event, as `/event/next` returns it.
pub fn event(bytes: &[u8]) {
    const AT_MOST: Duration = Duration::from_secs(2);
    let (kind, deadline_ms) = match Event::parse(bytes) {
        Event::Invoke(invocation) => ("INVOKE", invocation.deadline_ms),
        Event::Shutdown { deadline_ms, .. } => ("SHUTDOWN", deadline_ms),
        Event::Unknown => return,
    };
    // The tree's parser refuses deep nesting, and invalid UTF-8 in fields that the event's parser ignores.
    if let Ok(said) = serde_json::from_slice::<Value>(bytes) {
        assert_eq!(said["eventType"], kind);
    }
    if let Some(deadline_ms) = deadline_ms {
        let now = Now { wall: SystemTime::UNIX_EPOCH, monotonic: Instant::now() };
        let deadline = Deadline::from_epoch_ms(deadline_ms, AT_MOST, now);
        assert!(deadline.remaining(now.monotonic) <= AT_MOST);
    }
}

/// Input: a batch of telemetry.
pub fn telemetry(bytes: &[u8]) {
    let ends = ended(bytes);
    let Ok(Value::Array(records)) = serde_json::from_slice(bytes) else { return };
    let done = records.iter().filter(|it| it["type"] == "platform.runtimeDone");
    let ids: Vec<&str> = done.filter_map(|it| it["record"]["requestId"].as_str()).collect();
    let mut left = ids.iter();
    for end in &ends {
        assert!(left.any(|it| *it == end.request_id.0), "{:?}, in this order", end.request_id);
    }
    // If a member is repeated, our parser ignores the record, but in the tree the later value replaces the
    // first.
    let members: [&[u8]; 5] = [b"type", b"record", b"requestId", b"status", b"errorType"];
    let is_single = |name: &&[u8]| occurrences(bytes, name) <= records.len().min(1);
    let is_plain = !bytes.contains(&b'\\') && members.iter().all(is_single);
    assert!(!is_plain || ids.iter().any(|it| it.len() > 64) || ends.len() == ids.len());
}

/// Input: the limits of a request (a byte with the items, a byte with the bytes), and an array to split by
/// them.
pub fn array(bytes: &[u8]) {
    let [items, size, array @ ..] = bytes else { return };
    let most =
        RequestLimits { reports: 1, items: usize::from(*items).max(1), bytes: usize::from(*size) };
    let Some(mut rest) = ItemRange::of(BodyFormat::JsonArray, array) else {
        let is_empty =
            matches!(serde_json::from_slice(array), Ok(Value::Array(it)) if it.is_empty());
        assert!(is_empty || serde_json::from_slice::<Vec<&RawValue>>(array).is_err());
        return;
    };
    let all = items_of(array);
    assert_eq!(rest.items, all.len());
    assert!(json_scan::is_whole(array));
    let keeps = all.len() <= most.items && array.len() <= most.bytes;
    assert_eq!(is_within(most, BodyFormat::JsonArray, array), keeps);
    let mut sent = Vec::new();
    while rest.items > 0 {
        let head = rest.split_to(BodyFormat::JsonArray, array, most);
        let request = [b"[", &array[head.range.clone()], b"]"].concat();
        let of_it = items_of(&request);
        assert_eq!(of_it.len(), head.items);
        assert!(head.items == 1 || most.allow(head.items, request.len()));
        sent.extend(of_it);
    }
    assert_eq!(sent, all);
}

/// Input: the limit of a request in bytes, a byte that selects the encoding, and an OTLP request to split by
/// the limit. The same bytes are also read as the response to a request.
pub fn otlp(bytes: &[u8]) {
    let [size, kind, body @ ..] = bytes else { return };
    let encoding = if kind & 1 == 0 { Encoding::Protobuf } else { Encoding::Json };
    let _ = partial_success::rejected(encoding, body);
    let most = RequestLimits { reports: 1, items: usize::MAX, bytes: usize::from(*size) };
    let form = match encoding {
        Encoding::Protobuf => BodyFormat::OtlpProtobuf,
        Encoding::Json => BodyFormat::OtlpJson(Signal::Traces),
    };
    let Some(mut rest) = ItemRange::of(form, body) else {
        assert!(encoding == Encoding::Protobuf || !is_a_list_in_json(body));
        // As the first field of a message, any bytes are an item.
        let Ok(length @ 1..=0x7f) = u8::try_from(body.len()) else { return };
        let whole = [&[0x0a, length], body].concat();
        assert_eq!(ItemRange::of(BodyFormat::OtlpProtobuf, &whole).map(|run| run.items), Some(1));
        return;
    };
    assert!(encoding == Encoding::Json || is_message(body));
    let (items, mut sent) = (rest.items, Vec::new());
    while rest.items > 0 {
        let head = rest.split_to(form, body, most);
        let length = form.length(head.range.len());
        assert!(head.items == 1 || most.allow(head.items, length));
        let whole = [form.opening(), &body[head.range.clone()], form.closing()].concat();
        assert_eq!(ItemRange::of(form, &whole).map(|run| run.items), Some(head.items));
        sent.push(head);
    }
    assert_eq!(sent.iter().map(|head| head.items).sum::<usize>(), items);
    assert!(sent.windows(2).all(|two| two[0].range.end <= two[1].range.start));
}

/// Whether the body is a request that contains only traces.
fn is_a_list_in_json(body: &[u8]) -> bool {
    let Ok(members) = serde_json::from_slice::<HashMap<String, Vec<&RawValue>>>(body) else {
        return false;
    };
    let is_once = occurrences(body, b"resourceSpans") == 1 && members.len() == 1;
    is_once && members.get("resourceSpans").is_some_and(|it| !it.is_empty())
}

/// Input: bytes with the fate of each request, and then reports, each with a first byte for its key, route and
/// encoding. Each part ends with 0xff, which JSON never contains, and Protobuf rarely.
pub fn backlog(bytes: &[u8]) {
    const MOST: RequestLimits = RequestLimits { reports: 5, items: 7, bytes: 200 };
    let mut parts = bytes.split(|&it| it == 0xff);
    let fates = parts.next().unwrap_or_default();
    let (account, quota) = (Account::default(), Quota::of(bytes.len()));
    let mut backlog = Backlog::default();
    let mut items: HashMap<String, isize> = HashMap::new();
    for part in parts {
        let Some((kind, body)) = part.split_first() else { continue };
        let payload = report(*kind, body, &account, &quota);
        count(&mut items, payload.format(), body, 1);
        backlog.push(payload);
    }
    let mut were_evicted = false;
    for fate in fates {
        let taken = if fate & 8 == 0 { backlog.take(MOST) } else { backlog.take_quarantined(MOST) };
        let Some(mut batch) = taken else { continue };
        match fate & 7 {
            0 => backlog.put_back(batch),
            1 if !batch.is_divisible() => backlog.quarantine(batch),
            2 => {
                backlog.put_back(batch);
                backlog.release_quarantined();
            }
            3 => settle(&mut backlog, batch, Some(Loss::Rejected), &mut items),
            4 => {
                backlog.put_back(batch);
                let pending = account.balance().pending();
                backlog.evict_down_to(bytes.len() / 2, false);
                were_evicted |= account.balance().pending() < pending;
            }
            _ => settle(&mut backlog, batch, None, &mut items),
        }
    }
    backlog.release_quarantined();
    while let Some(batch) = backlog.take(MOST) {
        settle(&mut backlog, batch, None, &mut items);
    }
    assert!(backlog.is_empty());
    assert_eq!((quota.held(), backlog.held(), account.balance().pending()), (0, 0, 0));
    assert!(items.values().all(|&left| left == 0 || were_evicted && left > 0), "{items:?}");
}

fn report(kind: u8, body: &[u8], account: &Account, quota: &Quota) -> Payload {
    let (route, content_type) = match (kind & 8 == 0, kind & 1 == 0) {
        (true, true) => (Route::MonitoringData, None),
        (true, false) => (Route::CompositeMonitoringData, None),
        (false, true) => (Route::Otlp(Signal::Traces), Some(Encoding::Protobuf)),
        (false, false) => (Route::Otlp(Signal::Traces), Some(Encoding::Json)),
    };
    let key = HeaderValue::from_static(if kind & 2 == 0 { "one" } else { "other" });
    let headers = Headers {
        authorization: Some(key),
        content_type: content_type.map(|it| HeaderValue::from_static(it.media_type())),
        content_encoding: (kind & 4 != 0).then(|| HeaderValue::from_static("gzip")),
    };
    let permit = quota.take(body.len()).expect("the quota is as large as all of them");
    Payload::accept((route, headers), Arc::new(body.to_vec()), permit, account, Instant::now())
}

/// Settles the batch as accepted or refused by the remote.
fn settle(
    backlog: &mut Backlog,
    batch: Batch,
    loss: Option<Loss>,
    items: &mut HashMap<String, isize>,
) {
    let mut sent = Vec::new();
    let mut body = batch.body();
    body.read_to_end(&mut sent).expect("memory can be read");
    assert_eq!(body.length(), sent.len());
    count(items, BodyFormat::of(batch.route(), batch.headers()), &sent, -1);
    backlog.settle(batch, loss);
}

/// Counts each item of a body with this format. A body without one counts as a single item.
fn count(items: &mut HashMap<String, isize>, form: Option<BodyFormat>, body: &[u8], by: isize) {
    const EACH: RequestLimits = RequestLimits { reports: 1, items: 1, bytes: usize::MAX };
    let run = form.and_then(|form| ItemRange::of(form, body).map(|run| (form, run)));
    let Some((form, mut rest)) = run else {
        *items.entry(format!("{body:?}")).or_default() += by;
        return;
    };
    while rest.items > 0 {
        let item = &body[rest.split_to(form, body, EACH).range];
        *items.entry(format!("an item: {item:?}")).or_default() += by;
    }
}

/// Input: a value of Retry-After.
pub fn retry_after(bytes: &[u8]) {
    const LONGEST: Duration = Duration::from_secs(30);
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let headers: HeaderMap = [(header::RETRY_AFTER, value)].into_iter().collect();
    let asked = backoff::retry_after(&headers, SystemTime::UNIX_EPOCH);
    let (mut backoff, now) = (Backoff::default(), Instant::now());
    backoff.failed(now, asked, Jitter(1.0));
    assert!(backoff.until().is_some_and(|it| it >= now && it <= now + LONGEST));
}

/// Input: a request's method and target in the first line, and a header in each other line.
pub fn request(bytes: &[u8]) {
    request_in(Protocol::Thundra, "/v1/monitoring-data", r#"[{"a":1}]"#, bytes);
    request_in(Protocol::Otlp, "/v1/traces", r#"{"resourceSpans":[{}]}"#, bytes);
}

fn request_in(protocol: Protocol, report_path: &str, report: &'static str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let (method, path) = lines.next().and_then(|it| it.split_once(' ')).unwrap_or_default();
    let Ok(method) = method.parse::<Method>() else { return };
    let headers: Vec<Header> = lines.filter_map(|it| it.parse().ok()).collect();
    // tiny_http refuses these headers before a request exists. Its test request would panic.
    let is_refused = |it: &Header| it.field.equiv("Expect") || it.field.equiv("Content-Length");
    if headers.iter().any(is_refused) {
        return;
    }
    let is_plain = |it: &Header| {
        HeaderValue::from_str(it.value.as_str()).is_ok()
            && !it.field.equiv("Transfer-Encoding")
            && !it.field.equiv("Connection")
    };
    let first = |name: &'static str| {
        let first = headers.iter().find(|it| it.field.equiv(name));
        first.map(|it| it.value.as_str().as_bytes()).filter(|it| !it.is_empty())
    };
    let is_json = first("Content-Type") == Some(b"application/json")
        && headers.iter().all(|it| !it.field.equiv("Content-Encoding"));
    let is_report = method == Method::Post && path == report_path;
    let is_report = is_report && (protocol == Protocol::Thundra || is_json);
    let is_due = is_report && headers.iter().all(is_plain);
    let request = TestRequest::new().with_method(method).with_path(path).with_body(report);
    let request = headers.iter().cloned().fold(request, TestRequest::with_header);
    let desk = Desk::shared(protocol);
    exchange::serve(desk.collector, request.into(), protocol);
    let mut taken = 0;
    for payload in desk.payloads() {
        let headers = payload.headers();
        taken += 1;
        let sent = |value: &Option<HeaderValue>| value.clone().filter(|it| !it.is_empty());
        for (value, name) in
            [(&headers.authorization, "Authorization"), (&headers.content_type, "Content-Type")]
        {
            assert_eq!(sent(value).as_ref().map(HeaderValue::as_bytes), first(name), "{name}");
        }
        if protocol == Protocol::Thundra {
            let coding = sent(&headers.content_encoding);
            assert_eq!(coding.as_ref().map(HeaderValue::as_bytes), first("Content-Encoding"));
        }
        assert!(report.as_bytes().starts_with(payload.body()));
    }
    assert!(taken == 1 || !is_due);
    assert!(desk.is_idle());
}

/// Input: the bytes that a client sends to the local ports before it stops sending.
pub fn socket(bytes: &[u8]) {
    static PORTS: LazyLock<[(Desk, SocketAddr); 2]> =
        LazyLock::new(|| [Protocol::Thundra, Protocol::Otlp].map(serve));
    let [thundras, otlps] = &*PORTS;
    if !is_known(bytes) {
        leaves_nothing(&thundras.0, thundras.1, bytes);
    }
    leaves_nothing(&otlps.0, otlps.1, bytes);
}

fn serve(protocol: Protocol) -> (Desk, SocketAddr) {
    let desk = Desk::of(protocol);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = listener.local_addr().expect("a listener has an address");
    let collector = desk.collector;
    match protocol {
        Protocol::Thundra => {
            let take = Box::new(move |request| exchange::serve(collector, request, protocol));
            let handle = ServerHandle::new(|error| panic!("the port closed: {error}"));
            workers::serve(listener, take, handle).expect("there are threads");
        }
        Protocol::Otlp => {
            let order = Order::Listen(listener, Port::Reports(collector, protocol));
            EventLoop::default().order(order).expect("there are threads");
        }
    }
    (desk, address)
}

/// Input: the size of pieces, and the bytes that a client sends in such pieces before it stops sending.
pub fn connection(bytes: &[u8]) {
    let Some((size, sent)) = bytes.split_first() else { return };
    let pieces = sent.chunks(usize::from(*size).max(1));
    let (whole, cut) = (Exchanged::with([sent]), Exchanged::with(pieces));
    // Only a client whose body has not come along gets an interim response, or loses its connection.
    if occurrences(&sent.to_ascii_lowercase(), b"expect") == 0 {
        assert_eq!(whole, cut);
    }
}

/// The result of a connection to the port for OTLP.
#[derive(Debug, PartialEq, Eq)]
struct Exchanged {
    statuses: Vec<Vec<u8>>,
    bodies: Vec<Vec<u8>>,
}

impl Exchanged {
    fn with<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let desk = Desk::shared(Protocol::Otlp);
        let (now, mut sent) = (RunningTime::default(), Vec::new());
        let mut connection = Connection::new(Port::Reports(desk.collector, Protocol::Otlp));
        let mut take = |output: &[u8]| {
            sent.extend_from_slice(output);
            Ok::<_, ()>(Some(output.len()))
        };
        for mut piece in pieces {
            let step = connection.step(&mut piece, now);
            connection.go_on(step, &mut piece, now, &mut take).expect("it takes all output");
        }
        let step = connection.end(now);
        connection.go_on(step, &mut &[][..], now, &mut take).expect("it takes all output");
        assert_eq!(connection.need(), Need::Close);
        let bodies = desk.payloads().map(|it| it.body().to_vec()).collect();
        assert!(desk.is_idle());
        Self { statuses: statuses_in(&sent), bodies }
    }
}

/// The status codes of a client's responses.
fn statuses_in(sent: &[u8]) -> Vec<Vec<u8>> {
    const VERSION: &[u8] = b"HTTP/1.1 ";
    let lines = sent.windows(VERSION.len() + 3).filter(|it| it.starts_with(VERSION));
    lines.map(|it| it[VERSION.len()..].to_vec()).collect()
}

fn leaves_nothing(desk: &Desk, address: SocketAddr, bytes: &[u8]) {
    drop(exchange(address, bytes));
    let healthy = exchange(address, b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(healthy.starts_with(b"HTTP/1.1 200 OK\r\n"));
    // A connection may end before the last of its requests is handled.
    let began = Instant::now();
    while !desk.is_idle() {
        desk.payloads().for_each(drop);
        assert!(began.elapsed() < PATIENCE, "something of it stays");
        thread::yield_now();
    }
}

/// Longer than any step here takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends these bytes, closes the sending side, and reads to the end.
fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out may be set");
    let mut answer = Vec::new();
    // A connection that closes meanwhile may give no response. One that hangs is a finding.
    let sent = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    match sent.and_then(|()| stream.read_to_end(&mut answer)) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no end came"),
        _ => answer,
    }
}

/// Whether tiny_http is known to be harmed by these bytes: see `SECURITY.md`.
fn is_known(bytes: &[u8]) -> bool {
    let is_long = |digits: &[u8]| digits.len() > "128000000".len();
    bytes.split(|&it| it == b'\n').any(|line| {
        let tells_length = occurrences(&line.to_ascii_lowercase(), b"content-length") > 0;
        let is_huge = tells_length && line.split(|it| !it.is_ascii_digit()).any(is_long);
        is_huge || occurrences(line, b"HTTP/2.0") + occurrences(line, b"HTTP/3.0") > 0
    })
}

/// A collector, and the inboxes with its reports.
struct Desk {
    collector: &'static Collector,
    inbox: Inbox,
}

impl Desk {
    fn of(protocol: Protocol) -> Self {
        let remotes = ["THUNDRA_EXTENSION_OTLP_ENDPOINT", "THUNDRA_EXTENSION_COLLECTOR_URL"]
            .map(|name| (name, "http://remote.example"));
        let (mut config, _) = Config::from(&Environment::of(&remotes));
        let is_its = |it: &Destination| it.protocol == protocol;
        let place = config.destinations.iter().position(is_its).expect("both are configured");
        let destination = config.destinations.remove(place);
        let policy = Policy { strategy: config.flush, traffic: Traffic::Sparse };
        let (mut intake, _) = Intake::to(vec![destination], policy, 64 << 10);
        let inbox = intake.listen().pop().expect("the remote has a pipeline");
        let collector = Box::leak(Box::new(Collector::new(intake, Vec::new())));
        Self { collector, inbox }
    }

    /// The same for all inputs of a target, because its collector is never freed.
    fn shared(protocol: Protocol) -> &'static Self {
        static ALL: LazyLock<[Desk; 2]> =
            LazyLock::new(|| [Protocol::Thundra, Protocol::Otlp].map(Desk::of));
        &ALL[protocol as usize]
    }

    fn payloads(&self) -> impl Iterator<Item = Payload> {
        iter::from_fn(|| self.inbox.try_recv()).filter_map(|message| match message {
            Message::Payload(payload) => Some(payload),
            _ => None,
        })
    }

    /// Whether no bytes are held, and no accepted report is pending.
    fn is_idle(&self) -> bool {
        self.collector.intake().held() == 0
            && [Protocol::Thundra, Protocol::Otlp]
                .iter()
                .all(|it| self.collector.intake().ledger().total(*it).pending() == 0)
    }
}

fn occurrences(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|it| *it == part).count()
}

fn items_of(array: &[u8]) -> Vec<String> {
    let items: Vec<&RawValue> = serde_json::from_slice(array).expect("it is an array");
    items.into_iter().map(|it| it.get().to_owned()).collect()
}
