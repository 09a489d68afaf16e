//! Scenarios about a remote with TLS: which certificates the extension accepts and which it refuses.

use super::fixture::play_over_tls;
use crate::conformance::subject::Certificate;
use crate::conformance::{Kind, Scenario, Subject, Verdict};

pub const ALL: &[Scenario] = &[
    Scenario {
        kind: Kind::Relay,
        name: "tls-right-certificate",
        proves: "Reports arrive once over TLS, at a remote whose certificate comes from the \
                 configured authority.",
        source: "DataDog/datadog-lambda-extension#860",
        play: arrives,
    },
    Scenario {
        kind: Kind::Relay,
        name: "tls-unknown-authority",
        proves: "A remote whose certificate comes from another authority gets no byte of a report, \
                 and the function is not affected.",
        source: "RFC 5280, 6.1",
        play: |subject| gets_nothing(subject, Certificate::OfAnotherAuthority),
    },
    Scenario {
        kind: Kind::Relay,
        name: "tls-other-name",
        proves: "A remote whose certificate is for another name gets no byte of a report, and the \
                 function is not affected.",
        source: "RFC 9525, 6",
        play: |subject| gets_nothing(subject, Certificate::ForAnotherName),
    },
    Scenario {
        kind: Kind::Relay,
        name: "tls-expired",
        proves: "A remote whose certificate has expired gets no byte of a report, and the function \
                 is not affected.",
        source: "RFC 5280, 6.1.3",
        play: |subject| gets_nothing(subject, Certificate::Expired),
    },
    Scenario {
        kind: Kind::Relay,
        name: "tls-self-signed",
        proves: "A remote with a self-signed certificate gets no byte of a report, and the \
                 function is not affected.",
        source: "RFC 5280, 6.1",
        play: |subject| gets_nothing(subject, Certificate::SelfSigned),
    },
];

fn arrives(subject: &Subject) -> Verdict {
    play_over_tls(subject, Certificate::Right, |mut fixture| {
        for _ in 0..2 {
            fixture.invoke(|fixture| drop(fixture.report(2)));
        }
        fixture.shut_down().each_once()
    })
}

fn gets_nothing(subject: &Subject, certificate: Certificate) -> Verdict {
    play_over_tls(subject, certificate, |mut fixture| {
        for _ in 0..2 {
            fixture.invoke(|fixture| drop(fixture.report(2)));
        }
        let end = fixture.shut_down();
        let (connections, cut_short) = (end.remote.connections(), end.remote.cut_short());
        let begun = cut_short.iter().filter(|it| it.request.is_some()).count();
        let requests = end.remote.received().len() + begun;
        let (well, seen) = end.ended_well();
        let seen = format!("{requests} requests on {connections} connections; {seen}");
        // An extension that never connects has refused nothing.
        Verdict::of(requests == 0 && connections > 0 && well, seen)
    })
}
