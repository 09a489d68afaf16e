//! Scenarios with reports at all times of an environment's life, such as in its init and after its reset, and
//! in all kinds of environments.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::time::Duration;

use super::aftermath::counts;
use super::fixture::{play_from_register, play_in, stubborn};
use crate::configuration::Initialization;
use crate::conformance::{Kind, Scenario, Subject, Verdict};
use crate::setup::Setup;

/// Time limit of a delivery after the report, without an event that could trigger it. Nothing is frozen.
const DELIVERS_WITHIN: Duration = Duration::from_secs(15);
/// Time limit of a phase that follows at once.
const SOON: Duration = Duration::from_secs(20);

pub const ALL: &[Scenario] = &[
    Scenario {
        kind: Kind::Relay,
        name: "local-open-at-register",
        proves: "Its port is open once it has registered. The runtime starts then, and an agent \
                 may report during the function's init.",
        source: "hashicorp/vault-lambda-extension#31",
        play: open_at_register,
    },
    Scenario {
        kind: Kind::Relay,
        name: "local-port-after-reset",
        proves: "After a reset its new process accepts reports at the same port, even if an agent \
                 had a connection to the old one.",
        source: "aws-observability/aws-otel-lambda#1011",
        play: port_after_reset,
    },
    Scenario {
        kind: Kind::Relay,
        name: "relay-managed-instances",
        proves: "On Lambda Managed Instances, which send no INVOKE, a report arrives within 15 s.",
        source: "honeycombio/honeycomb-lambda-extension#170",
        play: managed_instances,
    },
];

fn open_at_register(subject: &Subject) -> Verdict {
    let is_open = Cell::new(false);
    let connect = |port| is_open.set(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    play_from_register(
        subject,
        |setup, _| setup,
        connect,
        |mut fixture| {
            if !is_open.get() {
                return Verdict::broke("it has registered, and its port is not open");
            }
            fixture.invoke(|fixture| drop(fixture.report(1)));
            fixture.shut_down().each_once()
        },
    )
}

fn port_after_reset(subject: &Subject) -> Verdict {
    let in_a_process = |setup: Setup, _| setup.runtime(stubborn());
    play_in(subject, in_a_process, |mut fixture| {
        let localhost: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        // If the extension listens at one of the addresses, the other does not matter.
        let kept = localhost.map(|it| TcpStream::connect((it, fixture.port)).ok());
        fixture.invoke(|fixture| drop(fixture.report(1)));
        let in_flight = fixture.begin();
        fixture.kill_runtime();
        drop(in_flight.end(SOON));
        fixture.connect_runtime();
        fixture.invoke(|fixture| drop(fixture.report(1)));
        drop(kept);
        fixture.shut_down().each_once()
    })
}

fn managed_instances(subject: &Subject) -> Verdict {
    let managed = Initialization::ManagedInstances { max_concurrency: 1 };
    play_in(
        subject,
        |setup, _| setup.initialization(managed),
        |mut fixture| {
            fixture.invoke(|fixture| drop(fixture.report(2)));
            let delivery = fixture.await_delivery(DELIVERS_WITHIN);
            drop(fixture.shut_down());
            Verdict::of(delivery.is_exact(), counts(&delivery))
        },
    )
}
