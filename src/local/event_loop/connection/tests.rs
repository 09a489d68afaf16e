use proptest::prelude::*;

use super::*;
use crate::local::body;
use crate::local::head::Head;
use crate::payload::quota::Quota;

/// The quota of the recording endpoint. One body takes at most three quarters of it.
const QUOTA: usize = 400_000;

/// Records each request. The path decides what becomes of it.
#[derive(Debug)]
struct Recorder {
    quota: Quota,
    seen: std::cell::RefCell<Vec<Seen>>,
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

    fn room<'a>(&self, _: &'a Recorded) -> (&'a Quota, usize) {
        (Box::leak(Box::new(self.quota.clone())), 10)
    }

    fn finish(
        &self,
        request: Recorded,
        body: Result<body::Body, ReadError>,
    ) -> (Response, Option<usize>) {
        let mut seen = self.seen.borrow_mut();
        match body {
            Ok(body) => {
                assert_eq!(body.permit.bytes(), body.bytes.len() + 10);
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
}

fn response_to(rejection: &Rejection) -> Response {
    Response::refused(rejection, crate::local::response::ResponseFormat::Thundra)
}

/// A connection, and everything that it sent.
struct Exchange {
    connection: Connection<Recorder>,
    sent: Vec<u8>,
    now: Running,
}

impl Exchange {
    fn new() -> Self {
        let endpoint = Recorder { quota: Quota::of(QUOTA), seen: std::cell::RefCell::default() };
        let connection = Connection::new(endpoint);
        Self { connection, sent: Vec::new(), now: Running::default() }
    }

    /// An exchange in which the client has sent these pieces.
    fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut exchange = Self::new();
        pieces.into_iter().for_each(|it| exchange.receive(it));
        exchange
    }

    fn receive(&mut self, mut bytes: &[u8]) {
        let step = self.connection.step(&mut bytes, self.now);
        self.go_on(step, bytes);
    }

    fn go_on(&mut self, mut step: Step<usize>, mut rest: &[u8]) {
        loop {
            self.send();
            match step {
                Step::Waits => break,
                Step::Responded(_) => step = self.connection.step(&mut rest, self.now),
            }
        }
        assert!(rest.is_empty());
    }

    fn send(&mut self) {
        self.sent.extend_from_slice(self.connection.output());
        self.connection.sent(self.connection.output().len(), self.now);
    }

    fn end(mut self) -> Self {
        let step = self.connection.end(self.now);
        self.go_on(step, &[]);
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
        let exchange = check(sent, &[200], &[body]);
        assert_eq!(exchange.connection.need(), Need::Read, "{name}");
        assert!(exchange.connection.is_idle(), "{name}");
    }
    let exchange = Exchange::of([&b"GET / HTTP/1.1\r\nx-team: Z\xfcrich\r\n\r\n"[..]]);
    let Seen::Whole(request, _) = &exchange.seen()[0] else { panic!("{:?}", exchange.seen()) };
    assert_eq!(request.headers, [("x-team".to_owned(), b"Z\xfcrich".to_vec())]);
}

#[test]
fn bytes_that_are_no_request_are_refused_and_the_connection_ends() {
    let line = "X: y\r\n";
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(message::HEAD_BYTES_MAX));
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(message::HEAD_BYTES_MAX));
    let lines = format!("GET / HTTP/1.1\r\n{}\r\n", line.repeat(message::HEAD_LINES_MAX + 1));
    for (sent, status) in [
        ("hello\r\n\r\n", 400),
        ("\0\0\0\0", 400),
        ("GET / HTTP/3.0\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: \r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: \r\n\r\n", 501),
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
    let most = format!("GET / HTTP/1.1\r\n{}\r\n", line.repeat(message::HEAD_LINES_MAX));
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
    let sent = String::from_utf8_lossy(&exchange.sent);
    assert!(sent.contains("grpc-status\u{2}12"), "{sent:?}");
    assert_eq!(exchange.connection.need(), Need::ReadWithoutWriting);
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
    assert_eq!((exchange.statuses(), exchange.seen().len()), (vec![408], 1));
    let exchange = Exchange::new().end();
    assert_eq!((exchange.seen().len(), exchange.connection.need()), (0, Need::Close));
}

#[test]
fn a_client_that_expects_an_interim_response_gets_it_only_for_a_body_that_is_read() {
    const HEAD: &str = "HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut exchange = check(&format!("POST / {HEAD}"), &[100], &[]);
    exchange.receive(b"hi");
    assert_eq!((exchange.statuses(), exchange.bodies()), (vec![100, 200], vec![b"hi".to_vec()]));
    check(&format!("POST / {HEAD}hi"), &[200], &["hi"]);
    let exchange = check(&format!("POST /refused {HEAD}"), &[404], &[]);
    assert_eq!(exchange.connection.need(), Need::ReadWithoutWriting);
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
    let mut exchange = Exchange::new();
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
        [("POST / HTTP", 408), ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na", 400)]
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
    let mut exchange = Exchange::new();
    let mut input = &REQUEST.repeat(3)[..];
    let now = exchange.now;
    assert!(matches!(exchange.connection.step(&mut input, now), Step::Responded(_)));
    let one = exchange.connection.output().len();
    assert!(matches!(exchange.connection.step(&mut input, now), Step::Waits));
    assert_eq!(exchange.connection.need(), Need::Write);
    assert_eq!((exchange.connection.output().len(), exchange.seen().len()), (one, 1));
    exchange.connection.sent(1, now + seconds(3));
    assert_eq!(exchange.connection.deadline(), Some(now + seconds(3) + PATIENCE));

    exchange.now = now + seconds(4);
    exchange.go_on(Step::Responded(None), &[]);
    assert_eq!(exchange.seen().len(), 3, "once it reads, the rest is served");

    exchange.connection.step(&mut &REQUEST[..], now);
    exchange.connection.expire(now + PATIENCE);
    assert_eq!(exchange.connection.need(), Need::Close);
}

/// A request of any form that the next request can follow.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let target = prop_oneof![Just("/"), Just("/refused"), Just("http://a/b?c")];
    let extra = prop_oneof![
        Just(String::new()),
        Just("Expect: 100-continue\r\n".to_owned()),
        "[A-Za-z-]{1,8}: [ -~]{0,20}\r\n".prop_filter("no header with a meaning", |it| {
            let name = it.split(':').next().unwrap_or_default().to_ascii_lowercase();
            !["expect", "upgrade"].contains(&&*name)
        }),
    ];
    let body = prop::collection::vec(any::<u8>(), 0..60);
    let chunk_size = prop::option::of(1_usize..20);
    (target, extra, body, chunk_size).prop_map(|(target, extra, body, chunk_size)| {
        let mut bytes = format!("POST {target} HTTP/1.1\r\n{extra}").into_bytes();
        match chunk_size {
            None => {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                bytes.extend(body);
            }
            Some(size) => {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in body.chunks(size) {
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

proptest! {
    #[test]
    fn any_cut_of_the_bytes_gives_the_same_requests(
        requests in prop::collection::vec(requests(), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        // A refused request with an expectation ends the connection, unless its body comes along.
        let bytes = requests.concat();
        let is_refused_early = |it: &Vec<u8>| {
            let text = String::from_utf8_lossy(it);
            text.starts_with("POST /refused") && text.contains("Expect")
        };
        prop_assume!(!requests.iter().any(is_refused_early));
        let mut cuts: Vec<usize> = cuts.iter().map(|it| it.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let whole = Exchange::of([&bytes[..]]);
        let cut = Exchange::of(cuts.windows(2).map(|it| &bytes[it[0]..it[1]]));
        prop_assert_eq!(whole.seen().len(), requests.len());
        prop_assert_eq!(whole.seen(), cut.seen());
        let finals = |it: &Exchange| -> Vec<u16> {
            it.statuses().into_iter().filter(|it| *it != 100).collect()
        };
        prop_assert_eq!(finals(&whole), finals(&cut));
        prop_assert!(cut.connection.is_idle());
        prop_assert_eq!(cut.connection.endpoint.quota.held(), 0);
    }

    #[test]
    fn no_bytes_make_it_panic_and_each_answers_at_most_once(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let exchange = Exchange::of(bytes.chunks(7)).end();
        prop_assert_eq!(exchange.connection.need(), Need::Close);
        prop_assert_eq!(exchange.statuses().len(), exchange.seen().len());
    }
}
