//! Scenarios about the path of a report, and about its headers for the key and the format.

use super::fixture::{ARRAYS, COMPOSITES, RelayFixture, play};
use crate::agent::{Agent, Family, request};
use crate::conformance::{Kind, Scenario, Subject, Verdict};
use crate::remote::Received;

pub const ALL: &[Scenario] = &[
    Scenario {
        kind: Kind::Relay,
        name: "relay-authorization",
        proves: "Each report goes to the path that its agent used, with its Authorization and \
                 Content-Type, even if other agents report at the same time.",
        source: "DataDog/datadog-lambda-extension#834",
        play: authorization,
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-compressed",
        proves: "Compressed reports arrive byte for byte, each with its Content-Encoding.",
        source: "elastic/apm-aws-lambda#257",
        play: compressed,
    },
];

/// `[{"a":1}]` as gzip(1) makes it.
const COMPRESSED: &[u8] =
    b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\x8b\xaeVJT\xb22\xac\x8d\x05\0}s\xcb\xf2\t\0\0\0";

/// Each key with each path. Neither determines the other.
const REPORTS: [(Family, &str, &str); 4] = [
    (Family::CatchpointPython, "k-1-2-3", ARRAYS),
    (Family::NodeComposite, "k-4-5-6", COMPOSITES),
    (Family::CatchpointPython, "k-4-5-6", ARRAYS),
    (Family::NodeComposite, "k-1-2-3", COMPOSITES),
];

/// An item that was reported, and the path and headers that it must arrive with.
struct Due {
    item: String,
    authorization: String,
    path: &'static str,
}

fn authorization(subject: &Subject) -> Verdict {
    play(subject, |mut fixture| {
        let mut due = Vec::new();
        for _ in 0..2 {
            due.extend(fixture.invoke(report_in_turn).0);
        }
        let end = fixture.shut_down();
        let received = end.remote.received();
        match due.iter().find_map(|due| due.gone_wrong(&received)) {
            Some(seen) => Verdict::broke(seen),
            None => end.each_once(),
        }
    })
}

fn report_in_turn(fixture: &RelayFixture) -> Vec<Due> {
    let mut due = Vec::new();
    for (family, key, path) in REPORTS {
        let agent = Agent::local(family, fixture.port).key(key);
        let reported = fixture.report_as(&agent, 1, 2);
        due.extend(reported.items.into_iter().map(|item| Due {
            item,
            authorization: format!("ApiKey {key}"),
            path,
        }));
    }
    due
}

impl Due {
    /// The path and headers that came instead, in words.
    fn gone_wrong(&self, received: &[Received]) -> Option<String> {
        let item = self.item.as_bytes();
        let due = (self.authorization.as_str(), "application/json", self.path);
        let with_it = |it: &&Received| it.body.windows(item.len()).any(|part| part == item);
        received.iter().filter(with_it).find_map(|request| {
            let header = |name| request.header(name).unwrap_or_default();
            let seen = (header("Authorization"), header("Content-Type"), request.path.as_str());
            (seen != due).then(|| format!("a report came with {seen:?}, not with {due:?}"))
        })
    }
}

fn compressed(subject: &Subject) -> Verdict {
    const REPORTS: usize = 3;
    play(subject, |mut fixture| {
        let head = format!(
            "POST {ARRAYS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Encoding: gzip\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            COMPRESSED.len()
        );
        let bytes = [head.as_bytes(), COMPRESSED].concat();
        let (answers, _) =
            fixture.invoke(|fixture| [(); REPORTS].map(|()| request(fixture.port, &bytes).status));
        let end = fixture.shut_down();
        let received = end.remote.received();
        let is_whole =
            |it: &&Received| it.body == COMPRESSED && it.header("Content-Encoding") == Some("gzip");
        let (all, whole) = (received.len(), received.iter().filter(is_whole).count());
        let seen = format!("answered {answers:?}; {all} requests, {whole} of them as reported");
        Verdict::of((all, whole) == (REPORTS, REPORTS), seen)
    })
}
