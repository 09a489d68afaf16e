//! Where reports go, and with which headers, is not for those to say who send them.

use sandbox::agent;

use crate::trial::{Trial, report_of, text};

#[test]
fn a_client_can_name_no_other_destination() {
    let trial = Trial::start();
    let report = |target: &str, headers: &str| {
        format!(
            "POST {target} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: 3\r\n\r\n[1]"
        )
    };
    let elsewhere = [
        report("http://elsewhere.example/v1/monitoring-data", "Host: a\r\n"),
        report("/v1/monitoring-data?u=http://elsewhere.example", "Host: elsewhere.example\r\n"),
        report(
            "/v1/monitoring-data",
            "Host: a\r\nX-Forwarded-Host: elsewhere.example\r\nForwarded: host=elsewhere.example\r\n",
        ),
        report("//elsewhere.example/v1/monitoring-data", "Host: a\r\n"),
        report("/v1/../monitoring-data", "Host: a\r\n"),
        report("/v1/monitoring-data/../../elsewhere", "Host: a\r\n"),
    ];
    let statuses = elsewhere.map(|it| agent::request(trial.port, it.as_bytes()).status);
    assert_eq!(statuses, [200, 200, 200, 404, 404, 404]);
    trial.items_received(3);
    let own_host = trial.remote.origin().replace("http://", "");
    for request in trial.remote.received() {
        assert_eq!(request.path, "/v1/monitoring-data");
        assert_eq!(request.header("Host"), Some(&*own_host));
        let values = request.headers.iter().map(|(_, value)| value);
        assert!(!values.into_iter().any(|it| it.contains("elsewhere")), "{request:?}");
    }
    trial.shut_down();
}

#[test]
fn a_client_can_add_no_header_to_what_goes_out() {
    let trial = Trial::start();
    let hidden = [
        "Authorization: ApiKey k\nX-Hidden: 1\r\n",
        "Authorization: ApiKey k\rX-Hidden: 1\r\n",
        "Content-Type: a\nX-Hidden: 1\r\n",
        "Content-Encoding: gzip\n\nX-Hidden: 1\r\n",
        "Authorization: ApiKey \0\r\n",
    ];
    for header in hidden {
        let request = report_of(3, header, "[1]");
        let status = agent::request(trial.port, request.as_bytes()).status;
        assert_eq!(status, 400, "{header:?}");
    }
    trial.report("/v1/monitoring-data", "[2]");
    trial.items_received(1);
    let received = trial.remote.received();
    assert!(received.iter().all(|it| it.header("X-Hidden").is_none()));
    assert_eq!(received.iter().map(|it| text(&it.body)).collect::<Vec<_>>(), ["[2]"]);
    trial.shut_down();
}
