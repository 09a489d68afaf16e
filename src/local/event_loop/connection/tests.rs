use std::cell::{Cell, RefCell};

use proptest::prelude::*;

use super::*;
use crate::local::body::{self, PaidBody, UNKEPT_MAX};
use crate::local::endpoint::Admission;
use crate::local::event_loop::request_head;
use crate::local::head::Head;
use crate::payload::quota::Quota;

/// The quota of the recording endpoint. One body takes at most three quarters of it.
const QUOTA: usize = 400_000;

/// The bytes that a request needs in addition to its body.
const OVERHEAD: usize = 10;

/// Records each request. The path decides what becomes of it.
#[derive(Debug)]
struct Recorder {
    quota: Quota,
    seen: RefCell<Vec<Seen>>,
    /// The size of all bodies that were deferred.
    deferred: Cell<usize>,
}

/// What an endpoint has got.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// A request with its body.
    Whole(Recorded, Vec<u8>),
    /// A request without its body.
    Without(Recorded, ReadError),
    /// A request that was answered by its head.
    Answered(Recorded),
    Refused(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Recorded {
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
}

impl Endpoint for Recorder {
    type Request = Recorded;
    /// The size of the body.
    type Deferred = usize;

    fn admit(&self, head: &Head) -> Admission<Recorded> {
        let headers = head.headers.iter().map(|it| (it.name.to_owned(), it.value.to_vec()));
        let (method, target) = (head.method.to_owned(), head.target.to_owned());
        let request = Recorded { method, target, headers: headers.collect() };
        if head.target == "/refused" {
            self.seen.borrow_mut().push(Seen::Answered(request));
            let rejection = Rejection::new(Refusal::UnknownPath, "no");
            return Admission::Answered(response_to(&rejection));
        }
        Admission::Awaited(request)
    }

    fn begin(&self, _: &Recorded, length: Option<u64>) -> Result<PaidBody, ReadError> {
        PaidBody::begin(&self.quota, OVERHEAD, length)
    }

    fn finish(
        &self,
        request: Recorded,
        body: Result<body::Body, ReadError>,
    ) -> (Response, Option<usize>) {
        let mut seen = self.seen.borrow_mut();
        match body {
            Ok(body) => {
                assert_eq!(body.permit.bytes(), body.bytes.len() + OVERHEAD);
                let size = body.bytes.len();
                seen.push(Seen::Whole(request, body.bytes));
                (Response::ACCEPTED, Some(size))
            }
            Err(error) => {
                seen.push(Seen::Without(request, error));
                (response_to(&error.into()), None)
            }
        }
    }

    fn refuse(&self, rejection: &Rejection) -> Response {
        self.seen.borrow_mut().push(Seen::Refused(rejection.refusal));
        response_to(rejection)
    }

    fn go_on(&self, size: usize) {
        self.deferred.set(self.deferred.get() + size);
    }
}

fn response_to(rejection: &Rejection) -> Response {
    Response::refused(rejection, crate::local::response::ResponseFormat::Thundra)
}

/// A connection, and everything that it sent.
struct Exchange {
    connection: Connection<Recorder>,
    sent: Vec<u8>,
    /// How many bytes the client's system takes at once, in turns. 0 means that it takes none now.
    takes: Vec<usize>,
    turn: usize,
    now: RunningTime,
}

impl Exchange {
    fn new(takes: &[usize]) -> Self {
        let (quota, seen, deferred) = (Quota::of(QUOTA), RefCell::default(), Cell::default());
        let connection = Connection::new(Recorder { quota, seen, deferred });
        let now = RunningTime::default();
        Self { connection, sent: Vec::new(), takes: takes.to_vec(), turn: 0, now }
    }

    /// An exchange in which the client has sent these pieces, and takes each response at once.
    fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self::with(&[usize::MAX], pieces)
    }

    fn with<'a>(takes: &[usize], pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut exchange = Self::new(takes);
        for piece in pieces {
            exchange.receive(piece);
            exchange.take_all();
        }
        exchange
    }

    fn receive(&mut self, mut bytes: &[u8]) {
        let step = self.connection.step(&mut bytes, self.now);
        self.go_on(step, bytes);
    }

    /// Takes output as long as there is any, as when the client's socket is ready again and again.
    fn take_all(&mut self) {
        while self.connection.need() == Need::Write {
            self.go_on(Step::Responded(None), &[]);
        }
    }

    fn go_on(&mut self, step: Step<usize>, mut rest: &[u8]) {
        let Self { connection, sent, takes, turn, now } = self;
        let done = connection.go_on(step, &mut rest, *now, |output| {
            let most = takes[*turn % takes.len()].min(output.len());
            *turn += 1;
            sent.extend_from_slice(&output[..most]);
            Ok::<_, ()>((most > 0).then_some(most))
        });
        assert_eq!((done, rest.len()), (Ok(()), 0));
    }

    fn end(mut self) -> Self {
        let step = self.connection.end(self.now);
        self.go_on(step, &[]);
        self.take_all();
        self
    }

    fn seen(&self) -> Vec<Seen> {
        self.connection.endpoint.seen.borrow().clone()
    }

    /// The bodies of whole requests.
    fn bodies(&self) -> Vec<Vec<u8>> {
        let body = |it| if let Seen::Whole(_, body) = it { Some(body) } else { None };
        self.seen().into_iter().filter_map(body).collect()
    }

    /// The status codes of all responses, interim ones included.
    fn statuses(&self) -> Vec<u16> {
        let sent = String::from_utf8_lossy(&self.sent);
        let codes = sent.split("HTTP/1.1 ").skip(1).map(|it| it[..3].parse().unwrap());
        codes.collect()
    }
}

fn is_idle(exchange: &Exchange) -> bool {
    exchange.connection.cost() == Cost::Nothing && exchange.connection.deadline().is_none()
}

#[track_caller]
fn check(sent: &str, statuses: &[u16], bodies: &[&str]) -> Exchange {
    let exchange = Exchange::of([sent.as_bytes()]);
    assert_eq!(exchange.statuses(), statuses, "{sent:?}: {:?}", exchange.seen());
    let expected: Vec<&[u8]> = bodies.iter().map(|it| it.as_bytes()).collect();
    assert_eq!(exchange.bodies(), expected, "{sent:?}");
    exchange
}

/// What a client may send (RFC 9112, 2 to 9), and what it gets.
#[test]
fn each_legal_request_is_answered() {
    for (name, sent, body) in [
        ("with a length", "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", "hi"),
        ("without a body", "GET / HTTP/1.1\r\n\r\n", ""),
        ("with line ends of one byte", "POST / HTTP/1.1\nContent-Length: 2\n\nhi", "hi"),
        ("after empty lines", "\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", "hi"),
        (
            "in chunks, with an extension and a trailer",
            "POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n1;a=\"b\"\r\nh\r\n01\r\ni\r\n0\r\nX: y\r\n\r\n",
            "hi",
        ),
        (
            "with an upgrade and chunks",
            "POST / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAEAAEAAAAIAAAAB\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "hi",
        ),
        ("with a whole URL", "POST http://a/b HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", "hi"),
        (
            "with equal lengths",
            "POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 02, 2\r\n\r\nhi",
            "hi",
        ),
        ("with an unknown expectation", "GET / HTTP/1.1\r\nExpect: more\r\n\r\n", ""),
        ("of another method", "M-SEARCH * HTTP/1.1\r\n\r\n", ""),
    ] {
        // A server should refuse a request without Host. This one has a single host, so it needs none.
        let with_host = sent.replacen("HTTP/1.1\r\n", "HTTP/1.1\r\nHost: a\r\n", 1);
        for sent in [sent, &with_host] {
            let exchange = check(sent, &[200], &[body]);
            assert_eq!(exchange.connection.need(), Need::Read, "{name}");
            assert!(is_idle(&exchange), "{name}");
            assert_eq!(exchange.connection.endpoint.deferred.get(), body.len(), "{name}");
        }
    }
    let after = check("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi\r\n", &[200], &["hi"]);
    assert!(is_idle(&after), "an empty line after the body");
    assert_eq!(after.end().seen().len(), 1);
    let exchange = Exchange::of([&b"GET / HTTP/1.1\r\nx-team: Z\xfcrich\r\n\r\n"[..]]);
    let Seen::Whole(request, _) = &exchange.seen()[0] else { panic!("{:?}", exchange.seen()) };
    assert_eq!(request.headers, [("x-team".to_owned(), b"Z\xfcrich".to_vec())]);
}

#[test]
fn bytes_that_are_no_request_are_refused_and_the_connection_ends() {
    let line = "X: y\r\n";
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(request_head::HEAD_BYTES_MAX));
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(request_head::HEAD_BYTES_MAX));
    let lines = format!("GET / HTTP/1.1\r\n{}\r\n", line.repeat(request_head::HEAD_LINES_MAX + 1));
    for (sent, status) in [
        ("hello\r\n\r\n", 400),
        ("\0\0\0\0", 400),
        ("GET / HTTP/3.0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: \r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: \r\n\r\n", 400),
        (&long, 431),
        (&endless, 431),
        (&lines, 431),
    ] {
        let mut exchange = check(sent, &[status], &[]);
        assert_eq!(exchange.seen(), [Seen::Refused(Refusal::Malformed)], "{sent:?}");
        assert!(String::from_utf8_lossy(&exchange.sent).contains("Connection: close\r\n"));
        assert_eq!(exchange.connection.need(), Need::ReadWithoutWriting);
        exchange.receive(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(exchange.seen().len(), 1, "nothing more is read of it");
        assert_eq!(exchange.end().connection.need(), Need::Close);
    }
    let most = format!("GET / HTTP/1.1\r\n{}\r\n", line.repeat(request_head::HEAD_LINES_MAX));
    check(&most, &[200], &[""]);
    let chunks = |size_line: usize, trailers: usize| {
        let extension = "x".repeat(size_line - "1;\r\n".len());
        let trailer = "y".repeat(trailers - "\r\n\r\n".len());
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}1;{extension}\r\na\r\n0\r\n{trailer}\r\n\r\n")
    };
    for (sent, status) in [
        (chunks(4 * 1024, 32 * 1024), 200),
        (chunks(4 * 1024 + 1, 32 * 1024), 400),
        (chunks(4 * 1024, 32 * 1024 + 1), 400),
    ] {
        let whole = Exchange::of([sent.as_bytes()]);
        let cut = Exchange::of(sent.as_bytes().chunks(1));
        assert_eq!((whole.statuses(), cut.statuses()), (vec![status], vec![status]));
    }
}

#[test]
fn tls_is_refused_by_its_first_byte_and_http2_in_frames() {
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    let exchange = Exchange::of([&b"\x16"[..], b"\x03\x01\x02\0\x01"]);
    assert_eq!(exchange.seen(), [Seen::Refused(Refusal::Tls)]);
    assert_eq!(
        (exchange.statuses(), exchange.connection.need()),
        (vec![400], Need::ReadWithoutWriting)
    );

    let mut exchange = Exchange::of([&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"[..], b"\n", SETTINGS]);
    assert_eq!(exchange.sent, b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0");
    assert_eq!(exchange.seen(), []);
    exchange.receive(b"\0\0\x03\x01\x04\0\0\0\x07abc");
    assert_eq!(exchange.seen(), [Seen::Refused(Refusal::Http2)]);
    exchange.receive(b"\0\0\x03\x01\x04\0\0\0\x09abc");
    assert_eq!(exchange.seen(), [Seen::Refused(Refusal::Http2), Seen::Refused(Refusal::Http2)]);
    let text = String::from_utf8_lossy(&exchange.sent);
    assert_eq!(text.matches("grpc-status\u{2}12").count(), 2, "{text:?}");
    assert_eq!(exchange.connection.need(), Need::Read, "more calls may be on their way");

    exchange.now = exchange.connection.deadline().unwrap();
    let step = exchange.connection.expire(exchange.now);
    exchange.go_on(step, &[]);
    let goaway = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x09\0\0\0\0";
    assert_eq!(exchange.sent[exchange.sent.len() - goaway.len()..], *goaway);
    assert_eq!(exchange.connection.need(), Need::Close);
}

#[test]
fn a_body_that_is_not_kept_is_read_to_its_end_and_the_connection_goes_on() {
    let large = "x".repeat(QUOTA);
    let next = "GET / HTTP/1.1\r\n\r\n";
    for body in [
        format!("Content-Length: {QUOTA}\r\n\r\n{large}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{QUOTA:x}\r\n{large}\r\n0\r\n\r\n"),
    ] {
        check(&format!("POST / HTTP/1.1\r\n{body}{next}"), &[413, 200], &[""]);
        check(&format!("POST /refused HTTP/1.1\r\n{body}{next}"), &[404, 200], &[""]);
    }
}

#[test]
fn a_body_beyond_any_limit_is_answered_at_once_and_its_rest_is_read() {
    let declared = UNKEPT_MAX + 1;
    for target in ["/", "/refused"] {
        let head = format!("POST {target} HTTP/1.1\r\nContent-Length: {declared}\r\n\r\n");
        let exchange = check(&head, &[if target == "/" { 413 } else { 404 }], &[]);
        assert_eq!(exchange.connection.need(), Need::ReadWithoutWriting);
    }
    let mut exchange =
        Exchange::of([&b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"[..]]);
    let chunk = [&b"100000\r\n"[..], &vec![0; 1 << 20], b"\r\n"].concat();
    for _ in 0..UNKEPT_MAX >> 20 {
        exchange.receive(&chunk);
        assert_eq!(exchange.statuses(), [0_u16; 0]);
    }
    exchange.receive(&chunk);
    assert_eq!(
        (exchange.statuses(), exchange.connection.need()),
        (vec![413], Need::ReadWithoutWriting)
    );
    for _ in 0..=UNKEPT_MAX >> 20 {
        exchange.receive(&chunk);
    }
    assert_eq!(exchange.connection.need(), Need::Close);
}

#[test]
fn broken_chunks_and_bodies_that_end_early_are_malformed() {
    for (chunks, ends) in [
        ("x\r\n", false),
        ("\r\n", false),
        ("-1\r\n", false),
        ("1ffffffffffffffff\r\n", false),
        ("1\r\nab\r\n", false),
        ("1\nab", false),
        ("2\r\na", true),
        ("2\r\nab\r\n", true),
        ("2\r\nab\r\n0\r\n", true),
    ] {
        let sent = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let mut exchange = Exchange::of([sent.as_bytes()]);
        assert_eq!(exchange.statuses().is_empty(), ends, "{chunks:?}");
        if ends {
            exchange = exchange.end();
        }
        assert_eq!(exchange.statuses(), [400], "{chunks:?}");
        assert!(matches!(exchange.seen()[..], [Seen::Without(_, ReadError::Malformed(_))]));
    }
    let exchange = Exchange::of([&b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"[..]]).end();
    assert_eq!((exchange.statuses(), exchange.connection.need()), (vec![400], Need::Close));
    let exchange = Exchange::of([&b"POST / HT"[..]]).end();
    assert_eq!((exchange.statuses(), exchange.seen().len()), (vec![400], 1));
    let exchange = Exchange::of([]).end();
    assert_eq!((exchange.seen().len(), exchange.connection.need()), (0, Need::Close));
}

#[test]
fn a_client_that_expects_an_interim_response_gets_it_only_for_a_body_that_is_read() {
    const HEAD: &str = "HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut exchange = check(&format!("POST / {HEAD}"), &[100], &[]);
    exchange.receive(b"hi");
    assert_eq!((exchange.statuses(), exchange.bodies()), (vec![100, 200], vec![b"hi".to_vec()]));
    check(&format!("POST / {HEAD}hi"), &[200], &["hi"]);
    let too_large = HEAD.replace("Length: 2", &format!("Length: {QUOTA}"));
    for (request, status) in
        [(format!("POST /refused {HEAD}"), 404), (format!("POST / {too_large}"), 413)]
    {
        let exchange = check(&request, &[status], &[]);
        assert_eq!(exchange.connection.need(), Need::ReadWithoutWriting, "{request}");
    }
    let old = HEAD.replace("1.1", "1.0");
    check(&format!("POST / {old}"), &[], &[]);
}

#[test]
fn the_connection_stays_or_ends_as_the_client_asks() {
    for (version, header, ends, header_back) in [
        ("1.1", "X: y", false, None),
        ("1.1", "Connection: Close", true, Some("close")),
        ("1.1", "Connection: x, close", true, Some("close")),
        ("1.0", "X: y", true, Some("close")),
        ("1.0", "Connection: Keep-Alive", false, Some("keep-alive")),
        ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 5", true, Some("close")),
    ] {
        let body = if header.starts_with("Transfer") { "0\r\n\r\n" } else { "" };
        let sent = format!("GET / HTTP/{version}\r\n{header}\r\n\r\n{body}");
        let exchange = check(&sent, &[200], &[""]);
        let is_closed = exchange.connection.need() == Need::Close;
        assert_eq!(is_closed, ends, "{header}");
        let sent = String::from_utf8(exchange.sent).unwrap();
        let value = sent.split("Connection: ").nth(1).map(|it| it.split("\r\n").next().unwrap());
        assert_eq!(value, header_back, "{header}");
    }
    let exchange = check("HEAD / HTTP/1.1\r\n\r\n", &[200], &[""]);
    assert!(exchange.sent.ends_with(b"Content-Length: 2\r\n\r\n"));
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn only_a_request_in_hand_has_a_deadline() {
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n";
    let mut exchange = Exchange::of([]);
    let start = exchange.now;
    assert_eq!(exchange.connection.deadline(), None);
    exchange.receive(&HEAD[..5]);
    exchange.now = start + seconds(5);
    exchange.receive(&HEAD[5..9]);
    assert_eq!(
        exchange.connection.deadline(),
        Some(start + PATIENCE),
        "bytes do not extend a head's"
    );
    exchange.receive(&HEAD[9..]);
    exchange.now = start + seconds(8);
    exchange.receive(b"a");
    assert_eq!(exchange.connection.deadline(), Some(exchange.now + PATIENCE), "but a body's");
    exchange.receive(b"bc");
    assert_eq!((exchange.connection.deadline(), exchange.statuses()), (None, vec![200]));
}

#[test]
fn a_client_that_stops_is_answered_and_closed() {
    for (sent, status) in
        [("POST / HTTP", 400), ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na", 400)]
    {
        let mut exchange = Exchange::of([sent.as_bytes()]);
        exchange.now = exchange.connection.deadline().unwrap();
        let step = exchange.connection.expire(exchange.now);
        exchange.go_on(step, &[]);
        assert_eq!(exchange.statuses(), [status], "{sent}");
        assert_eq!(exchange.connection.need(), Need::Close, "{sent}");
    }
}

#[test]
fn a_client_that_reads_no_response_is_read_no_further_and_then_closed() {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
    let mut exchange = Exchange::new(&[0, 1, 0, usize::MAX]);
    let now = exchange.now;
    exchange.receive(&REQUEST.repeat(3));
    assert_eq!((exchange.connection.need(), exchange.seen().len()), (Need::Write, 1));
    exchange.now = now + seconds(3);
    exchange.go_on(Step::Responded(None), &[]);
    assert_eq!((exchange.sent.len(), exchange.seen().len()), (1, 1));
    assert_eq!(exchange.connection.deadline(), Some(exchange.now + PATIENCE), "it took a byte");
    exchange.take_all();
    assert_eq!(exchange.seen().len(), 3, "once it reads, the rest is served");
    assert!(is_idle(&exchange));

    let mut exchange = Exchange::new(&[0]);
    exchange.receive(REQUEST);
    assert_eq!(exchange.connection.cost(), Cost::Request);
    let step = exchange.connection.expire(now + PATIENCE);
    exchange.go_on(step, &[]);
    assert_eq!(exchange.connection.need(), Need::Close);
}

#[test]
fn only_a_request_extends_the_deadline_of_a_client_of_http2() {
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    let mut exchange = Exchange::of([&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]]);
    let deadline = exchange.connection.deadline();
    assert_eq!(deadline, Some(exchange.now + PATIENCE));
    for _ in 0..9 {
        exchange.now = exchange.now + seconds(1);
        exchange.receive(SETTINGS);
        assert_eq!(exchange.connection.deadline(), deadline);
        assert_eq!(exchange.connection.cost(), Cost::Bytes);
    }
    exchange.receive(b"\0\0\x01\x01\x04\0\0\0\x01a");
    assert_eq!(exchange.connection.deadline(), Some(exchange.now + PATIENCE));
}

#[test]
fn the_close_of_a_connection_costs_a_request_only_if_one_may_be_accepted() {
    for (sent, cost) in [
        ("", Cost::Nothing),
        ("\r\n", Cost::Nothing),
        ("GET / HTTP/1.1\r\n\r\n", Cost::Nothing),
        ("GET", Cost::Bytes),
        ("no http\r\n\r\n", Cost::Bytes),
        ("POST /refused HTTP/1.1\r\nContent-Length: 1\r\n\r\n", Cost::Bytes),
        ("POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n", Cost::Bytes),
        ("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", Cost::Request),
    ] {
        assert_eq!(Exchange::of([sent.as_bytes()]).connection.cost(), cost, "{sent:?}");
    }
}

#[test]
fn after_a_panic_only_a_request_without_a_response_gets_one() {
    for (is_in_step, status) in [(true, Some(500)), (false, None)] {
        let mut exchange = Exchange::of([]);
        exchange.connection.is_in_step = is_in_step;
        exchange.connection.fail(exchange.now);
        exchange.go_on(Step::Waits, &[]);
        assert_eq!(exchange.statuses().first().copied(), status);
        assert_eq!(exchange.connection.need(), Need::Close);
    }
}

/// A request of any form that the next request can follow.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        Just("POST / HTTP/1.1\r\n"),
        Just("POST /refused HTTP/1.1\r\n"),
        Just("\r\nPOST http://a/b?c HTTP/1.1\n"),
        Just("HEAD / HTTP/1.1\r\n"),
        Just("POST / HTTP/1.0\r\nConnection: keep-alive\r\n"),
    ];
    let extra = prop_oneof![
        Just(String::new()),
        Just("Expect: 100-continue\r\n".to_owned()),
        Just("Upgrade: h2c\r\nConnection: Upgrade\r\n".to_owned()),
        "x-[A-Za-z-]{1,8}: [ -~]{0,20}\r?\n",
    ];
    // Some bodies are larger than one read, and some than one report may be.
    let body = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..60),
        1 => (0..QUOTA + 10).prop_map(|size| vec![b'x'; size]),
    ];
    let chunk_size = prop::option::of(1_usize..200_000);
    (start, extra, body, chunk_size).prop_map(|(start, extra, body, chunk_size)| {
        let mut bytes = format!("{start}{extra}").into_bytes();
        match chunk_size.filter(|_| !start.contains("1.0")) {
            None => {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                bytes.extend(body);
            }
            Some(size) => {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in body.chunks(size.max(body.len() / 50)) {
                    bytes.extend(format!("{:x};a=b\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\nTrailer: x\r\n\r\n");
            }
        }
        bytes
    })
}

/// Whether this request is refused before its body, if the body does not come along.
fn may_end_early(request: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&request[..request.len().min(200)]);
    let is_refused = head.contains("/refused") || request.len() > QUOTA / 2;
    is_refused && head.contains("Expect")
}

/// The places at which the bytes are cut.
fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|it| it.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|it| &bytes[it[0]..it[1]]).collect()
}

proptest! {
    #[test]
    fn any_cut_of_the_bytes_and_of_the_responses_gives_the_same_requests(
        requests in prop::collection::vec(requests(), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        takes in prop::collection::vec(0_usize..200, 1..5),
    ) {
        prop_assume!(!requests.iter().any(|it| may_end_early(it)) && takes.iter().any(|it| *it > 0));
        let bytes = requests.concat();
        let whole = Exchange::of([&bytes[..]]);
        let cut = Exchange::with(&takes, pieces(&bytes, &cuts));
        prop_assert_eq!(whole.seen().len(), requests.len());
        prop_assert_eq!(whole.seen(), cut.seen());
        let finals = |it: &Exchange| -> Vec<u16> {
            it.statuses().into_iter().filter(|it| *it != 100).collect()
        };
        prop_assert_eq!(finals(&whole), finals(&cut));
        prop_assert!(is_idle(&cut));
        prop_assert_eq!(cut.connection.endpoint.quota.held(), 0);
    }

    /// Each byte of a request is replaced, removed or doubled.
    #[test]
    fn no_bytes_make_it_panic_and_each_request_gets_at_most_one_response(
        request in requests(),
        place in any::<prop::sample::Index>(),
        by in prop::collection::vec(any::<u8>(), 0..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut bytes = request;
        let place = place.index(bytes.len().min(300));
        bytes.splice(place..=place, by);
        let exchange = Exchange::with(&[7], pieces(&bytes, &cuts)).end();
        prop_assert_eq!(exchange.connection.need(), Need::Close);
        let finals = exchange.statuses().into_iter().filter(|it| *it != 100).count();
        prop_assert_eq!(finals, exchange.seen().len());
        prop_assert_eq!(exchange.connection.endpoint.quota.held(), 0);
    }
}
