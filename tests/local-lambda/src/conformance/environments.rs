//! Variables that are missing, empty or odd. An extension that ends because of one also ends the function.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::{Kind, Scenario, Subject, Verdict};
use crate::port::free_port;
use crate::setup::Setup;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        kind: Kind::Lifecycle,
        name: "bare-environment",
        proves: "It needs no variable but AWS_LAMBDA_RUNTIME_API and its own: no HOME, PATH, LANG, \
                 TZ, region, memory size or keys.",
        source: "DataDog/datadog-lambda-extension#791",
        play: |subject| changed(subject, bare()),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "empty-variables",
        proves: "An empty variable counts as unset.",
        source: "DataDog/datadog-lambda-extension#331",
        play: |subject| changed(subject, all_set_to("")),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "absurd-variables",
        proves: "Values that make no sense, such as a memory size of \"many\", do not end it.",
        source: "DataDog/datadog-lambda-extension#331, DataDog/datadog-lambda-python#230",
        play: |subject| changed(subject, all_set_to("many/of:them")),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "absurd-numbers",
        proves: "Numbers beyond any type do not end it.",
        source: "DataDog/datadog-lambda-extension#331",
        play: |subject| changed(subject, all_set_to("-99999999999999999999999")),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "variables-that-are-not-utf-8",
        proves: "Bytes that are not UTF-8 do not end it, neither in a variable of Lambda's nor in \
                 one of the function's.",
        source: "newrelic/newrelic-lambda-extension-rust#36",
        play: |subject| changed(subject, not_utf_8()),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "proxy-variables",
        proves: "It connects to the Runtime API directly, even if the function uses a proxy.",
        source: "DataDog/datadog-lambda-extension#514, #378",
        play: |subject| changed(subject, proxies()),
    },
    Scenario {
        kind: Kind::Lifecycle,
        name: "runtime-api-by-name",
        proves: "The host in AWS_LAMBDA_RUNTIME_API may be a name instead of an address.",
        source: "AWS docs \"Using Lambda environment variables\"",
        play: runtime_api_by_name,
    },
];

/// The variables that Lambda gives an extension, except the address of its API.
const GIVEN: [&str; 12] = [
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_FORMAT",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "TZ",
    "LANG",
];

/// Variables for finding programs and libraries. They are removed, but never set to nonsense.
const PATHS: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];

/// Variables that Lambda does not set, but that programs look for.
const NOT_GIVEN: [&str; 4] = ["HOME", "USER", "TMPDIR", "XDG_CONFIG_HOME"];

type Change = (&'static str, Option<OsString>);

fn bare() -> Vec<Change> {
    GIVEN.iter().chain(&PATHS).chain(&NOT_GIVEN).map(|name| (*name, None)).collect()
}

fn all_set_to(value: &str) -> Vec<Change> {
    GIVEN.iter().chain(&NOT_GIVEN).map(|name| (*name, Some(value.into()))).collect()
}

fn not_utf_8() -> Vec<Change> {
    let bytes = || Some(OsString::from_vec(b"caf\xe9\xff".to_vec()));
    let own = ["MINE", "HOME", "TZ", "AWS_REGION", "AWS_LAMBDA_FUNCTION_NAME"];
    own.map(|name| (name, bytes())).into()
}

/// Proxies at which nothing listens. A real proxy cannot reach the API inside an execution environment either.
fn proxies() -> Vec<Change> {
    let proxy = format!("http://127.0.0.1:{}", free_port());
    let names =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    names.map(|name| (name, Some(proxy.clone().into()))).into()
}

/// Runs the subject with these changes. Its own variables stay.
fn changed(subject: &Subject, changes: Vec<Change>) -> Verdict {
    let is_own = |name: &str| subject.variables.iter().any(|(own, _)| own == name);
    let count = changes.len();
    let fixture = subject.ready(|setup, _| {
        let changes = changes.into_iter().filter(|(name, _)| !is_own(name));
        changes.fold(setup, |setup, (name, value)| setup.extension_env(name, value))
    });
    Verdict::judged(fixture.live().map(|seen| format!("{count} variables changed; {seen}")))
}

fn runtime_api_by_name(subject: &Subject) -> Verdict {
    let port = free_port();
    let api = format!("localhost:{port}");
    let fixture = subject.ready(|setup: Setup, _| {
        setup
            .address(([127, 0, 0, 1], port).into())
            .extension_env("AWS_LAMBDA_RUNTIME_API", Some(api.clone().into()))
    });
    Verdict::judged(fixture.live().map(|seen| format!("AWS_LAMBDA_RUNTIME_API={api}; {seen}")))
}
