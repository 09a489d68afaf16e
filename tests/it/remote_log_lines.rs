//! The lines about a remote that cannot be reached or that refuses: its address, the mistake, and the variable
//! to set. The mistakes are those of beginners.

use std::io::{Read, Write};
use std::net::TcpListener;

use local_lambda::{Answer, Authority, Platform, Proxy, Remote, free_port};

use crate::support::fixture::{ARRAY, Fixture, PATIENCE, each_at_once, nowhere, spawn};
use crate::support::protocol::Protocol::{self, Otlp, Thundra};

const HEADERS: &str = "THUNDRA_EXTENSION_OTLP_HEADERS";
const TRACES: &str = "THUNDRA_EXTENSION_OTLP_TRACES_ENDPOINT";
const PROXY: &str = "THUNDRA_EXTENSION_PROXY";
const QUERY: &str = "?key=s3cret-query";

/// An extension with a key in each place that may have one, at the level with the most lines.
fn start(protocol: Protocol, remote: Remote, variables: &[(&str, &str)]) -> Fixture {
    let level = [("THUNDRA_EXTENSION_LOG_LEVEL", "trace")];
    protocol.start_on(Platform::start(), remote, &[&level, variables].concat())
}

/// Posts one report, and waits for a line in the log with all these parts.
#[track_caller]
fn check(fixture: Fixture, headers: &str, begins: &str, parts: &[&str]) {
    assert_eq!(fixture.post_with(headers, ARRAY, "[1]").status, 200);
    let line = fixture.wait_for_log(begins);
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
    let log = fixture.shut_down();
    assert!(!log.contains("s3cret"), "{log}");
}

/// The URL of a server that sends these bytes on each connection, whatever the request is.
fn answering(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(bytes);
        }
    });
    url
}

#[test]
fn a_remote_that_cannot_be_reached_is_named_with_the_cause() {
    let plain = Remote::start();
    let at_plain = format!("{}/v1/traces", plain.origin().replace("http:", "https:"));
    let secure = Remote::start_tls(&Authority::new());
    let at_secure = format!("{}/v1/traces", secure.origin());
    let without_tls = at_secure.replace("https:", "http:");
    let closed = nowhere();
    let grpc = answering(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00");
    let alert = answering(b"\x15\x03\x03\x00\x02\x02\x46");
    let end = answering(b"");
    let cases: [(&str, &str); 8] = [
        ("http://no-such-host.invalid:4318/in", "cannot look up the address of no-such-host.inv"),
        (&closed, "Connection refused"),
        (&at_plain, "does it speak TLS? http instead of https"),
        (&at_secure, "UnknownIssuer (if its authority is your own, set SSL_CERT_FILE"),
        (&grpc, "is not HTTP/1.1"),
        (&alert, "is not HTTP/1.1"),
        (&without_tls, "http"),
        (&end, "does it speak TLS? https instead of http"),
    ];
    each_at_once(cases, |(url, why)| {
        let whole = format!("{url}{QUERY}");
        let headers = [(TRACES, whole.as_str()), (HEADERS, "x-key=s3cret-key")];
        let fixture = start(Otlp, Remote::start(), &headers);
        let begins = format!("WARN cannot deliver to {url}: ");
        check(fixture, "", &begins, &[why, "; reports are kept and tried again"]);
    });
}

#[test]
fn behind_a_proxy_the_line_names_the_owner_of_the_address_or_response() {
    let remote = "https://remote.invalid:443/v1/traces";
    let refused = format!("http://user:s3cret@127.0.0.1:{}", free_port());
    let refusing = Proxy::start().requiring("user", "another");
    let with_password = refusing.url().replace("http://", "http://user:s3cret@");
    let proxies = [
        (
            "http://user:s3cret@no-such-proxy.invalid:8080",
            "http://no-such-proxy.invalid:8080: cannot look up the address of the proxy: "
                .to_owned(),
        ),
        (&refused, format!("{}: the proxy: ", refused.replace("user:s3cret@", ""))),
        (&with_password, format!("{}: the proxy: ", refusing.url())),
    ];
    let parts: [&[&str]; 3] = [&[], &[], &["407", "a user and a password"]];
    each_at_once(proxies.into_iter().zip(parts), |((proxy, why), parts)| {
        let variables =
            [(Otlp.url_variable(), "https://remote.invalid"), (PROXY, proxy), (TRACES, "")];
        let fixture = start(Otlp, Remote::start(), &variables);
        check(
            fixture,
            "",
            &format!("WARN cannot deliver to {remote} through the proxy {why}"),
            parts,
        );
    });
}

/// Some vendors require their key in the path.
#[test]
fn a_key_in_the_path_is_not_shown() {
    let key = "s3cret-0123456789abcdef0123456789abcdef";
    let remote = Remote::start();
    let url = format!("{}/receiver/{key}/v1/traces", remote.origin());
    let shown = url.replace(key, "***");
    let fixture = start(Otlp, remote, &[(TRACES, &url)]);
    let body = format!("no receiver {key}");
    fixture.remote.answer_with(move |_| Answer::status(404).body(body.clone()));
    check(fixture, "", "WARN cannot deliver a report", &[&format!("to {shown}: it answered 404")]);
}

#[test]
fn a_proxy_that_wants_a_password_is_distinguished_from_the_remote() {
    for protocol in [Thundra, Otlp] {
        let fixture = start(protocol, Remote::start(), &[]);
        fixture.remote.answer_with(|_| Answer::status(407));
        let begins = format!("WARN cannot deliver to {}: it answered 407 ", fixture.place());
        check(
            fixture,
            "",
            &begins,
            &["a proxy wants a user and a password: THUNDRA_EXTENSION_PROXY"],
        );
    }
}

#[test]
fn a_refused_key_is_logged_with_the_variable_to_set() {
    let none = "no header was sent: set or correct THUNDRA_EXTENSION_OTLP_HEADERS";
    let withheld = " (the SDK's own header x-api-key is not forwarded: set it there)";
    let configured = "check the key in THUNDRA_EXTENSION_OTLP_HEADERS";
    let sdks = "check the key that the SDK sends in Authorization";
    let own = "X-Api-Key: s3cret-own\r\n";
    let bearer = "Authorization: Bearer s3cret-own\r\n";
    let agents = "check the key of the agent: set THUNDRA_APIKEY";
    let [unset, set] = [(HEADERS, ""), (HEADERS, "x-key=s3cret")];
    let [thundras, catchpoints] = ["THUNDRA_APIKEY", "CATCHPOINT_APIKEY"];
    let cases = [
        (Otlp, "", unset, format!("{none};")),
        (Otlp, own, unset, format!("{none}{withheld};")),
        (Otlp, "", set, format!("{configured};")),
        (Otlp, own, set, format!("{configured}{withheld};")),
        (Otlp, bearer, set, format!("{sdks};")),
        (Thundra, "", unset, "no key was sent: set THUNDRA_APIKEY;".to_owned()),
        (Thundra, bearer, unset, format!("{agents};")),
        (Thundra, bearer, (thundras, "s3cret"), format!("{agents};")),
        (Thundra, "", (thundras, "s3cret"), format!("check the key in {thundras};")),
        (Thundra, "", (catchpoints, "s3cret"), format!("check the key in {catchpoints};")),
    ];
    for (protocol, sent, variable, hint) in cases {
        // A firewall may answer 403 because of one report, so the key counts as refused only after a second
        // 403.
        for (status, what_follows) in [
            ("401 Unauthorized", "reports with this key are dropped for 5 minutes"),
            ("403 Forbidden", "the next report goes alone, to find out whether the key is refused"),
        ] {
            let fixture = start(protocol, Remote::start(), &[variable]);
            let code = status[..3].parse().unwrap();
            fixture.remote.answer_with(move |_| Answer::status(code));
            let place = fixture.place();
            let begins = format!("WARN cannot deliver 1 report to {place}: it answered {status}: ");
            check(fixture, sent, &begins, &[&hint, what_follows]);
        }
    }
}

#[test]
fn the_line_of_a_dropped_report_names_its_destination_and_the_reason() {
    let demand = "; it is dropped, not tried again, as OTLP demands";
    let redirect = " (redirects are not followed: set the URL that it redirects to); it is dropped";
    let cases = [
        (
            Otlp,
            400,
            "400 Bad Request (if this port speaks TLS, the URL has to begin with https); it is dropped",
        ),
        (Otlp, 404, "404 Not Found (is this path right?); it is dropped"),
        (Thundra, 404, "404 Not Found (is this path right?); it is dropped"),
        (Otlp, 415, "415 Unsupported Media Type; it is dropped"),
        (Otlp, 408, &format!("408 Request Timeout{demand}")),
        (Otlp, 500, &format!("500 Internal Server Error{demand}")),
        (Otlp, 501, &format!("501 Not Implemented{demand}")),
        (Otlp, 301, &format!("301 Moved Permanently{redirect}")),
        (Thundra, 308, &format!("308 Permanent Redirect{redirect}")),
    ];
    each_at_once(cases, |(protocol, status, words)| {
        let fixture = start(protocol, Remote::start(), &[]);
        fixture.remote.answer_with(move |_| Answer::status(status));
        let (place, bytes) = (fixture.place(), protocol.report(ARRAY, "[1]").body.len());
        let begins =
            format!("WARN cannot deliver a report, {bytes} bytes, to {place}: it answered ");
        check(fixture, "", &begins, &[words]);
    });
}

#[test]
fn a_remote_that_accepted_a_report_gets_no_hint_about_https() {
    let fixture = start(Otlp, Remote::start(), &[]);
    fixture.remote.answer_with(|it| Answer::status(if it.number == 0 { 200 } else { 400 }));
    fixture.report(ARRAY, "[1]");
    fixture.wait_for_account(|it| it["delivered"] == 1);
    fixture.report(ARRAY, "[2]");
    let line = fixture.process.wait_for_log("WARN cannot deliver a report", PATIENCE);
    assert!(line.contains("it answered 400 Bad Request; it is dropped"), "{line}");
    fixture.shut_down();
}

/// The proxy sees requests that are not encrypted, and may refuse them instead of the remote.
#[test]
fn the_line_of_a_refusal_that_may_come_from_a_proxy_names_the_proxy() {
    for (status, words) in [
        (400, "400 Bad Request (or the proxy did); it is dropped"),
        (
            403,
            "set or correct THUNDRA_EXTENSION_OTLP_TRACES_HEADERS, unless the proxy refused it; ",
        ),
    ] {
        let remote = Remote::start();
        let proxy = remote.origin().clone();
        let variables =
            [(TRACES, "http://backend.test:80/v1/traces"), ("THUNDRA_EXTENSION_PROXY", &*proxy)];
        let fixture = start(Otlp, remote, &variables);
        fixture.remote.answer_with(move |_| Answer::status(status));
        assert_eq!(fixture.post_with("", ARRAY, "[1]").status, 200);
        let line = fixture.process.wait_for_log("WARN cannot deliver", PATIENCE);
        let to = format!(" to http://backend.test:80/v1/traces through the proxy {proxy}: ");
        assert!(line.contains(&to) && line.contains(words), "{line}");
        fixture.shut_down();
    }
}

#[test]
fn the_beginning_of_a_refusal_is_shown_at_debug_without_the_key() {
    let said = "no such key: s3cret-key\n(Bearer s3cret-own)\u{1b} ";
    each_at_once([("debug", true), ("info", false)], |(level, is_shown)| {
        for status in [400, 401, 404, 500, 503] {
            let fixture = Otlp.start_with(&[
                (HEADERS, "x-key=s3cret-key"),
                ("THUNDRA_EXTENSION_LOG_LEVEL", level),
            ]);
            let body = format!("{said}{}", "x".repeat(300));
            fixture.remote.answer_with(move |_| Answer::status(status).body(body.clone()));
            let place = fixture.place();
            let bearer = "Authorization: Bearer s3cret-own\r\n";
            assert_eq!(fixture.post_with(bearer, ARRAY, "[1]").status, 200);
            fixture.process.wait_for_log("cannot deliver", PATIENCE);
            let log = fixture.shut_down();
            let shown = format!("\"no such key: *** (***)  {}\"\n", "x".repeat(200 - 24));
            let line = format!("DEBUG {place} answered {status}");
            let lines: Vec<&str> = log.lines().filter(|it| it.contains(&line)).collect();
            assert_eq!(!lines.is_empty(), is_shown, "{log}");
            assert!(lines.iter().all(|it| it.ends_with(shown.trim_end())), "{log}");
            assert!(!log.contains("s3cret") && (is_shown || !log.contains("xxxx")), "{log}");
        }
    });
}
