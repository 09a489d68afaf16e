//! The sender of a report cannot choose its remote, nor any headers except the key's and the format's.

use local_lambda::agent;
use rstest::rstest;

use crate::support::fixture::ARRAY;
use crate::support::protocol::Protocol::{self, Otlp, Thundra};

#[rstest]
fn a_client_can_name_no_other_destination(#[values(Thundra, Otlp)] protocol: Protocol) {
    let fixture = protocol.start();
    let (path, report) = (protocol.path(ARRAY), protocol.report(ARRAY, "[1]"));
    let post = |target: &str, headers: &str| {
        let head = report.head("Connection: close\r\n");
        let head = head.replace(&format!("POST {path} "), &format!("POST {target} "));
        let head = head.replace("Host: a\r\n", headers);
        agent::request(fixture.port, &[head.as_bytes(), &report.body].concat()).status
    };
    let forwarded = "X-Forwarded-Host: elsewhere.example\r\nForwarded: host=elsewhere.example\r\n";
    let statuses = [
        post(&format!("http://elsewhere.example{path}"), "Host: a\r\n"),
        post(&format!("{path}?u=http://elsewhere.example"), "Host: elsewhere.example\r\n"),
        post(path, &format!("Host: a\r\n{forwarded}")),
        post(&format!("//elsewhere.example{path}"), "Host: a\r\n"),
        post(&path.replace("/v1/", "/v1/../"), "Host: a\r\n"),
        post(&format!("{path}/../../elsewhere"), "Host: a\r\n"),
    ];
    assert_eq!(statuses, [200, 200, 200, 404, 404, 404]);
    fixture.items_received(3);
    let own_host = fixture.remote.origin().replace("http://", "");
    for request in fixture.remote.received() {
        assert_eq!(request.path, path);
        assert_eq!(request.header("Host"), Some(&*own_host));
        let values = request.headers.iter().map(|(_, value)| value);
        assert!(!values.into_iter().any(|it| it.contains("elsewhere")), "{request:?}");
    }
    fixture.shut_down();
}

#[rstest]
fn a_client_can_add_no_header_to_forwarded_requests(#[values(Thundra, Otlp)] protocol: Protocol) {
    let fixture = protocol.start();
    let mut accepted = 0;
    let hidden = [
        "Authorization: ApiKey k\nX-Hidden: 1\r\n",
        "Authorization: ApiKey k\rX-Hidden: 1\r\n",
        "Content-Type: a\nX-Hidden: 1\r\n",
        "Content-Encoding: gzip\n\nX-Hidden: 1\r\n",
        "Authorization: ApiKey \0\r\n",
    ];
    for header in hidden {
        let report = protocol.report(ARRAY, "[1]");
        // In front, because the first of several headers with one name counts.
        let head = report.head("").replace("Host: a\r\n", &format!("{header}Host: a\r\n"));
        let request = [head.as_bytes(), &report.body].concat();
        let status = agent::request(fixture.port, &request).status;
        // OTLP's port takes a line feed alone as the end of a line, which HTTP allows (RFC 9112, 2.2).
        let is_line = protocol == Otlp && header.trim_end().contains('\n');
        assert_eq!(status == 400, !is_line, "{header:?}: {status}");
        accepted += usize::from(status == 200);
    }
    fixture.report(ARRAY, "[2]");
    let items = fixture.items_received(accepted + 1);
    assert_eq!(items.iter().filter(|it| it.contains('2')).count(), 1, "{items:?}");
    if protocol == Thundra {
        assert_eq!(fixture.bodies_received(1), ["[2]"]);
    }
    assert!(fixture.remote.received().iter().all(|it| it.header("X-Hidden").is_none()));
    fixture.shut_down();
}
