//! Resolvers that fail for one family, are slow, or stop. If a name has an address, its reports are delivered,
//! also with the C library of a layer's binary.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use local_lambda::{Answer, Platform, Remote};

use crate::support::fixture::{
    ARRAY, Fixture, PATIENCE, SHUTDOWN, each_at_once, pass, retry_after_standstill, spawn,
};
use crate::support::name_server::Question::{A, Aaaa};
use crate::support::name_server::Reply::{Addresses, Failure, Nothing};
use crate::support::name_server::{NOTIMP, NXDOMAIN, REFUSED, Reply, SERVFAIL, serve};
use crate::support::namespaces::in_namespaces;
use crate::support::protocol::Protocol::Otlp;

const V4: &str = "127.0.0.1";
const V6: &str = "::1";

/// An address of this machine that the C library sorts after lower ones: RFC 6724, rule 9.
const LAST_V4: &str = "127.0.0.128";

/// How many extensions run at a time.
const ROWS_AT_A_TIME: usize = 10;

fn port_of(remote: &Remote) -> u16 {
    remote.origin().rsplit(':').next().unwrap().parse().unwrap()
}

/// A remote that can also be reached at this address.
fn start_remote_at(address: &str) -> Remote {
    let remote = Remote::start();
    let port = port_of(&remote);
    forward(TcpListener::bind((address, port)).unwrap(), port);
    remote
}

/// Forwards connections to this port.
fn forward(listener: TcpListener, port: u16) {
    spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect((V4, port)).unwrap();
            copy(client.try_clone().unwrap(), server.try_clone().unwrap());
            copy(server, client);
        }
    });
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
}

fn start(host: &str, remote: Remote, more: &[(&str, &str)]) -> Fixture {
    let url = format!("http://{host}:{}", port_of(&remote));
    let environment: Vec<_> =
        [(Otlp.url_variable(), &*url)].into_iter().chain(more.iter().copied()).collect();
    Otlp.start_on(Platform::start(), remote, &environment)
}

fn check_delivers(host: &str) {
    let fixture = start(host, start_remote_at(V6), &[]);
    fixture.report(ARRAY, "[1]");
    fixture.received(1);
    fixture.shut_down();
}

/// Checks that an extension delivers to each host. Several run at a time.
fn check_delivers_to_each(hosts: &[String]) {
    let mut failed = Vec::new();
    for rows in hosts.chunks(ROWS_AT_A_TIME) {
        thread::scope(|scope| {
            let rows: Vec<_> =
                rows.iter().map(|host| (host, scope.spawn(|| check_delivers(host)))).collect();
            let ended = rows.into_iter().map(|(host, row)| (host, row.join()));
            failed.extend(ended.filter(|(_, ended)| ended.is_err()).map(|(host, _)| host));
        });
    }
    assert!(failed.is_empty(), "nothing was delivered to {failed:?}");
}

/// Names, and the replies to the two questions about each.
type Table = Vec<(String, Reply, Reply)>;

fn table() -> Table {
    let seconds = Duration::from_secs_f64;
    let bad = |address| {
        [
            ("nxdomain", Failure(NXDOMAIN)),
            ("servfail", Failure(SERVFAIL)),
            ("refused", Failure(REFUSED)),
            ("notimp", Failure(NOTIMP)),
            ("nodata", Addresses(Vec::new())),
            ("dropped", Nothing),
            ("slow", Reply::address(address).after(seconds(1.2))),
            ("slower", Reply::address(address).after(seconds(5.0))),
        ]
    };
    let good = Reply::address;
    let mut table = Table::new();
    for (name, reply) in bad(V6) {
        table.push((format!("{name}.aaaa.test"), good(V4), reply));
    }
    for (name, reply) in bad(V4) {
        table.push((format!("{name}.a.test"), reply, good(V6)));
    }
    for time in [1.2, 2.4, 4.5] {
        let (v4, v6) = (good(V4).after(seconds(time)), good(V6).after(seconds(time)));
        table.push((format!("{time}-with-nxdomain.test"), v4.clone(), Failure(NXDOMAIN)));
        table.push((format!("nxdomain-with-{time}.test"), Failure(NXDOMAIN), v6.clone()));
        table.push((format!("{time}-both.test"), v4, v6));
    }
    // Nothing listens at the IPv6 addresses, and the second has no route.
    table.push(("unreachable-aaaa.test".to_owned(), good(V4), good("2001:db8::1")));
    table.push(("unreachable-a.test".to_owned(), good("192.0.2.1"), good(V6)));
    table.push(("short.corp.test".to_owned(), good(V4), Failure(SERVFAIL)));
    table
}

#[test]
fn an_address_of_one_family_is_used_whatever_the_other_question_gets() {
    let test = "resolver::an_address_of_one_family_is_used_whatever_the_other_question_gets";
    in_namespaces(test, || {
        let answers = table();
        let mut hosts: Vec<String> = answers.iter().map(|(name, ..)| name.clone()).collect();
        serve(move |name, question| {
            let row = answers.iter().find(|(it, ..)| it == name);
            row.map_or(
                Failure(NXDOMAIN),
                |(_, a, aaaa)| {
                    if question == A { a.clone() } else { aaaa.clone() }
                },
            )
        });
        // These are found by a search domain, in /etc/hosts alone, and as numbers in a form that the system
        // accepts.
        hosts.extend(["short", "only-in-hosts.test", "localhost", "0x7f000001"].map(str::to_owned));
        hosts.extend(["LOCALHOST", "Only-In-Hosts.Test"].map(str::to_owned));
        check_delivers_to_each(&hosts);
    });
}

#[test]
fn a_name_is_looked_up_as_it_is_if_its_search_domain_fails() {
    let test = "resolver::a_name_is_looked_up_as_it_is_if_its_search_domain_fails";
    in_namespaces(test, || {
        const OPTION: &str = "search corp.test\noptions ndots:5\nnameserver 127.0.0.1\n";
        fs::write("/etc/resolv.conf", OPTION).unwrap();
        let searched = [
            ("servfail", Failure(SERVFAIL)),
            ("refused", Failure(REFUSED)),
            ("nxdomain", Failure(NXDOMAIN)),
            ("nodata", Addresses(Vec::new())),
            ("dropped", Nothing),
        ];
        let mut hosts = searched.clone().map(|(kind, _)| format!("{kind}.remote.test")).to_vec();
        hosts.extend(["found.here", "only-in-hosts.test"].map(str::to_owned));
        serve(move |name, question| match name.strip_suffix(".corp.test") {
            Some("found.here") if question == A => Reply::address(V4),
            Some(name) => {
                let row = searched.iter().find(|(kind, _)| name.starts_with(kind));
                row.map_or(Failure(NXDOMAIN), |(_, reply)| reply.clone())
            }
            None if question == A && name.ends_with(".remote.test") => Reply::address(V4),
            None => Failure(NXDOMAIN),
        });
        check_delivers_to_each(&hosts);
    });
}

#[test]
fn an_unanswered_question_is_logged_whatever_the_other_one_got() {
    let test = "resolver::an_unanswered_question_is_logged_whatever_the_other_one_got";
    in_namespaces(test, || {
        let a = Arc::new(Mutex::new(Nothing));
        let script = Arc::clone(&a);
        serve(move |name, question| match question {
            A => script.lock().unwrap().clone(),
            Aaaa if name == "no-route.test" => Reply::address("2001:db8::1"),
            Aaaa => Addresses(Vec::new()),
        });
        for host in ["no-address.test", "no-route.test"] {
            *a.lock().unwrap() = Nothing;
            let fixture = start(host, start_remote_at(V6), &[]);
            fixture.report(ARRAY, "[1]");
            let line = fixture.wait_for_log("cannot deliver");
            let why = format!("cannot look up the address of {host}: no answer in time");
            assert!(line.contains(&why), "{line}");
            *a.lock().unwrap() = Reply::address(V4);
            fixture.received(1);
            fixture.shut_down();
        }
    });
}

#[test]
fn a_name_server_that_never_answers_is_named_in_the_log() {
    let test = "resolver::a_name_server_that_never_answers_is_named_in_the_log";
    in_namespaces(test, || {
        let (asked, is_asked) = mpsc::channel();
        serve(move |_, _| {
            let _ = asked.send(());
            Nothing
        });
        let fixture = start("silent.test", Remote::start(), &[]);
        fixture.report(ARRAY, "[1]");
        is_asked.recv_timeout(PATIENCE).unwrap();
        fixture.platform.shutdown("spindown", SHUTDOWN);
        assert!(fixture.process.exit(PATIENCE).success());
        let log = fixture.process.log();
        assert!(log.contains("cannot look up the address of silent.test: no answer yet"), "{log}");
    });
}

#[test]
fn the_last_good_address_is_used_while_the_resolver_fails() {
    let test = "resolver::the_last_good_address_is_used_while_the_resolver_fails";
    in_namespaces(test, || {
        let replies = Arc::new(Mutex::new(Reply::address(V4)));
        let script = Arc::clone(&replies);
        serve(move |_, question| match question {
            A => script.lock().unwrap().clone(),
            Aaaa => Failure(SERVFAIL),
        });
        for trouble in [Nothing, Failure(SERVFAIL), Failure(REFUSED)] {
            *replies.lock().unwrap() = Reply::address(V4);
            let debug = ("THUNDRA_EXTENSION_LOG_LEVEL", "debug");
            let fixture = start("remote.test", start_remote_at(V6), &[debug]);
            fixture.remote.answer_with(|_| Answer::ok().header("Connection", "close"));
            fixture.report(ARRAY, "[1]");
            fixture.received(1);
            fixture.wait_for_an_empty_buffer();
            *replies.lock().unwrap() = trouble;
            fixture.report(ARRAY, "[2]");
            fixture.received(2);
            let log = fixture.shut_down();
            let line = "cannot look remote.test up: the resolver fails; its addresses of";
            assert!(log.contains(line) && !log.contains("cannot deliver"), "{log}");
        }
    });
}

/// The C library measures its wait from its question. A freeze between the question and the wait does not
/// shorten the wait.
fn wait_until_the_answer_is_waited_for(pid: u32) {
    let tasks = || fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let read = |task: &fs::DirEntry| fs::read_to_string(task.path().join("stat"));
    let is_busy = |stat: String| stat.contains("(look-up IPv4)") && !stat.contains(") S ");
    let waited = Instant::now();
    while tasks().filter_map(|it| read(&it).ok()).any(is_busy) {
        assert!(waited.elapsed() < PATIENCE, "a look-up does not wait");
    }
}

#[test]
fn a_freeze_within_a_look_up_is_no_outage() {
    let test = "resolver::a_freeze_within_a_look_up_is_no_outage";
    in_namespaces(test, || {
        let ms = Duration::from_millis;
        let address = |after| Reply::address(V4).after(ms(after));
        // The answer comes before the freeze ends, after it, or never, or the resolver fails meanwhile. The
        // last freezes are longer than the C library waits.
        let freezes = [
            (ms(100), address(50)),
            (ms(800), address(400)),
            (ms(2_400), address(400)),
            (ms(800), address(1_200)),
            (ms(2_400), address(2_800)),
            (ms(6_000), address(400)),
            (ms(6_000), Nothing),
            (ms(6_000), Failure(SERVFAIL)),
        ];
        // Each has a name of its own, in the search domain too, with a script and a bell for its questions.
        let script = Arc::new(Mutex::new(HashMap::<String, (Reply, mpsc::Sender<()>)>::new()));
        let replies = Arc::clone(&script);
        serve(move |name, question| {
            let host = name.trim_end_matches(".corp.test");
            match (question, replies.lock().unwrap().get(host)) {
                (A, Some((reply, asked))) => {
                    let _ = asked.send(());
                    reply.clone()
                }
                _ => Nothing,
            }
        });
        each_at_once(freezes.into_iter().enumerate(), |(nth, (freeze, answer))| {
            let host = format!("remote{nth}.test");
            retry_after_standstill(|| {
                let (asked, is_asked) = mpsc::channel();
                let set =
                    |reply| script.lock().unwrap().insert(host.clone(), (reply, asked.clone()));
                set(answer.clone());
                let fixture = start(&host, start_remote_at(V6), &[]);
                fixture.report(ARRAY, "[1]");
                is_asked.recv_timeout(PATIENCE).unwrap();
                wait_until_the_answer_is_waited_for(fixture.process.pid());
                fixture.process.stop();
                pass(freeze);
                set(Reply::address(V4));
                fixture.process.resume();
                fixture.received(1);
                fixture.wait_for_an_empty_buffer();
                assert_eq!(fixture.shut_down(), "", "{freeze:?}, {answer:?}");
            });
        });
    });
}

#[test]
fn an_address_that_accepts_connections_and_never_answers_is_tried_last() {
    let test = "resolver::an_address_that_accepts_connections_and_never_answers_is_tried_last";
    in_namespaces(test, || {
        // The C library sorts the address first from which this machine would send.
        let (first, second) = (V4, "127.0.0.2");
        let addresses: Vec<_> = [first, second].map(|it| it.parse().unwrap()).into();
        serve(move |_, question| match question {
            A => Addresses(addresses.clone()),
            Aaaa => Failure(NXDOMAIN),
        });
        let (dead, remote) = (TcpListener::bind((first, 0)).unwrap(), Remote::start());
        let port = dead.local_addr().unwrap().port();
        forward(TcpListener::bind((second, port)).unwrap(), port_of(&remote));
        let (connected, connections) = mpsc::channel();
        spawn(move || {
            for _ in dead.incoming() {
                let _ = connected.send(());
            }
        });
        let url = format!("http://remote.test:{port}");
        let environment = [(Otlp.url_variable(), &*url)];
        let fixture = Otlp.start_on(Platform::start(), remote, &environment);
        fixture.report(ARRAY, "[1]");
        fixture.received(1);
        fixture.shut_down();
        assert_eq!(connections.try_iter().count(), 1);
    });
}

/// Drops connection attempts to this address, as a firewall does, by a full queue.
fn drop_connections_to(address: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
    let (family, flags) = (AddressFamily::INET, SocketFlags::CLOEXEC);
    let socket = socket_with(family, SocketType::STREAM, flags, None).unwrap();
    bind(&socket, &address).unwrap();
    listen(&socket, 0).unwrap();
    let moment = Duration::from_millis(50);
    let fill = |_| TcpStream::connect_timeout(&address, moment).ok();
    (socket.into(), (0..4).map_while(fill).collect())
}

/// This many silent addresses, and a last one that works.
fn addresses_of(silent: u8) -> Vec<IpAddr> {
    let silent = (2..2 + silent).map(|n| IpAddr::from([127, 0, 0, n]));
    silent.chain([LAST_V4.parse().unwrap()]).collect()
}

#[test]
fn an_address_that_accepts_no_connection_leaves_time_for_the_others() {
    let test = "resolver::an_address_that_accepts_no_connection_leaves_time_for_the_others";
    in_namespaces(test, || {
        // One attempt reaches six addresses, and not twenty.
        serve(|name, question| match (name, question) {
            ("six.test", A) => Addresses(addresses_of(6)),
            ("twenty.test", A) => Addresses(addresses_of(20)),
            _ => Failure(NXDOMAIN),
        });
        each_at_once(["six.test", "twenty.test"], |host| {
            let remote = start_remote_at(LAST_V4);
            let port = port_of(&remote);
            let silent = addresses_of(20).into_iter().take(20);
            let _silent: Vec<_> = silent.map(|it| drop_connections_to((it, port).into())).collect();
            let fixture = start(host, remote, &[]);
            fixture.report(ARRAY, "[1]");
            fixture.received(1);
            fixture.shut_down();
        });
    });
}

#[test]
fn any_number_of_addresses_that_refuse_connections_is_skipped() {
    let test = "resolver::any_number_of_addresses_that_refuse_connections_is_skipped";
    in_namespaces(test, || {
        serve(|_, question| match question {
            A => Addresses(addresses_of(25)),
            Aaaa => Failure(NXDOMAIN),
        });
        let fixture = start("remote.test", start_remote_at(LAST_V4), &[]);
        fixture.report(ARRAY, "[1]");
        fixture.received(1);
        assert_eq!(fixture.shut_down(), "");
    });
}
