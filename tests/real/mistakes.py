"""Mistakes of newcomers in the configuration, and the line of the extension's log that names the cause of each.

`{remote}` is the base URL of a remote that works, `{ca}` the authority of its certificate, `{plain}` the host and
port of a server without TLS, and `{half_second}` that time in the SDK's unit. If a mistake has no line, the log must
be empty: nothing is wrong, or the user wants it so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

KEY = "k3y-0f-a-n3wc0mer"
ENDPOINT = "THUNDRA_EXTENSION_OTLP_ENDPOINT"
TRACES_ENDPOINT = "THUNDRA_EXTENSION_OTLP_TRACES_ENDPOINT"
LOGS_ENDPOINT = "THUNDRA_EXTENSION_OTLP_LOGS_ENDPOINT"
HEADERS = "THUNDRA_EXTENSION_OTLP_HEADERS"

# The example of the README.
GOOD: Mapping[str, str | None] = {ENDPOINT: "{remote}", HEADERS: f"x-api-key={KEY}", "THUNDRA_EXTENSION_COLLECTOR_URL": None}
INFO = {"THUNDRA_EXTENSION_LOG_LEVEL": "info"}
LIMIT = {"OTEL_EXPORTER_OTLP_TIMEOUT": "{half_second}"}
# Python's exporter for gRPC does not take the word none for no compression.
GRPC = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_COMPRESSION": None}
GRPC_LINES = [
    "OTEL_EXPORTER_OTLP_PROTOCOL holds grpc",
    "an SDK exports over gRPC; set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
]
NOTHING = {ENDPOINT: None, HEADERS: None}


@dataclass(frozen=True)
class Mistake:
    name: str
    # The differences from `GOOD`. None removes a variable.
    environment: Mapping[str, str | None] = field(default_factory=dict)
    # A line of the log contains each of these.
    lines: Sequence[str] = ()
    # The remote's answer, if it does not accept requests.
    answer: str = ""
    # Whether exports arrive in spite of the mistake, because the extension corrects it.
    arrives: bool = False
    has_extension: bool = True

    @property
    def script(self) -> tuple[str, ...]:
        return ("--answer", self.answer) if self.answer else ()


def _refused(status: int, line: str) -> Mistake:
    return Mistake(f"the vendor answers {status}", lines=[line], answer=str(status))


MISTAKES = (
    Mistake("none", arrives=True),
    Mistake(
        "none, at level info",
        INFO,
        [r"INFO .*https://localhost:\d+", r"INFO .*first deliver", r"INFO .*\d+ accepted, \d+ delivered"],
        arrives=True,
    ),
    Mistake("a wrong key", lines=[rf"https://localhost:\d+/v1/traces.* 401.*key in {HEADERS}"], answer="401"),
    Mistake("no key at all", {HEADERS: None}, [rf" 401.*no header was sent: set or correct {HEADERS}"], answer="401"),
    Mistake(
        "the key in the SDK's own variable",
        {HEADERS: None, "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={KEY}"},
        [rf" 401.*set or correct {HEADERS}.*x-api-key is not forwarded"],
        answer="401",
    ),
    Mistake(
        "a host that is misspelt",
        {ENDPOINT: "https://otlp.exmaple.invalid"},
        [r"cannot deliver to https://otlp\.exmaple\.invalid(:443)?/v1/traces: .*(look|name|resol)"],
    ),
    Mistake(
        "a port that is closed",
        {ENDPOINT: "http://localhost:1"},
        [r"cannot deliver to http://localhost:1/v1/traces: .*refused"],
    ),
    Mistake(
        "a variable that is misspelt",
        {ENDPOINT: None, "THUNDRA_EXTENSION_OTLP_ENDPONT": "{remote}"},
        [rf"THUNDRA_EXTENSION_OTLP_ENDPONT .*{ENDPOINT}"],
    ),
    Mistake(
        "a variable that is misspelt, and nothing else",
        {**NOTHING, "THUNDRA_EXTENSION_OTLP_ENDPONT": "{remote}"},
        [rf"THUNDRA_EXTENSION_OTLP_ENDPONT .*{ENDPOINT}"],
    ),
    Mistake(
        "the headers' variable without OTLP in its name",
        {HEADERS: None, "THUNDRA_EXTENSION_HEADERS": f"x-api-key={KEY}"},
        [rf"THUNDRA_EXTENSION_HEADERS .*did you mean {HEADERS}"],
        arrives=True,
    ),
    Mistake(
        "the region's name in capitals",
        {ENDPOINT: "https://{REGION}.otlp.invalid"},
        [rf"{ENDPOINT}: .*\{{region\}}"],
    ),
    Mistake("nothing is set", NOTHING, [f"{ENDPOINT} is not set"]),
    Mistake("a base URL ends in /v1/traces", {ENDPOINT: "{remote}/v1/traces"}, [f"{ENDPOINT} .*/v1/traces"]),
    Mistake("a base URL ends in /v1", {ENDPOINT: "{remote}/v1"}, [f"{ENDPOINT} .*/v1"]),
    Mistake("no scheme", {ENDPOINT: "localhost:4000"}, [f"{ENDPOINT}.*http://"]),
    Mistake("quotes round the endpoint", {ENDPOINT: '"{remote}"'}, [f"{ENDPOINT} .*quot"]),
    Mistake("quotes round the headers", {HEADERS: f'"x-api-key={KEY}"'}, [f"{HEADERS} .*quot"]),
    Mistake("quotes round a header's value", {HEADERS: f'x-api-key="{KEY}"'}, [f"{HEADERS} .*quot"]),
    Mistake("a colon in place of =", {HEADERS: f"x-api-key: {KEY}"}, [f"{HEADERS} .*(colon|:)"]),
    Mistake("a semicolon between headers", {HEADERS: f"x-api-key={KEY};x-team=a"}, [f"{HEADERS} .*(semicolon|;)"]),
    Mistake("the key alone", {HEADERS: KEY}, [f"{HEADERS} .*="]),
    Mistake(
        "blanks, and values that are encoded",
        {ENDPOINT: " {remote} ", HEADERS: f" x-api-key = {KEY} , authorization = Bearer%20{KEY} "},
        arrives=True,
    ),
    Mistake(
        # In this test the remote is on this machine.
        "the SDK exports to the vendor",
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "{remote}", "OTEL_EXPORTER_OTLP_CERTIFICATE": "{ca}"},
        [r"OTEL_EXPORTER_OTLP_ENDPOINT holds port \d+, where this extension takes no OTLP"],
    ),
    Mistake("the endpoint is this very port", {ENDPOINT: "http://localhost:4318"}, [f"{ENDPOINT}.*this extension"]),
    Mistake("the endpoint is gRPC's port", {ENDPOINT: "http://localhost:4317"}, [f"{ENDPOINT} .*4317.*gRPC"]),
    Mistake("https to a port that speaks http", {ENDPOINT: "https://{plain}"}, [r"https://.*speak TLS\? http instead"]),
    Mistake(
        "a signal's URL without a path",
        {ENDPOINT: None, TRACES_ENDPOINT: "{remote}"},
        [f"{TRACES_ENDPOINT} .*path"],
        answer="404",
    ),
    Mistake(
        "Thundra's URL for OTLP",
        {ENDPOINT: None, "THUNDRA_EXTENSION_COLLECTOR_URL": "{remote}/v1"},
        [f"{ENDPOINT} is not set"],
    ),
    Mistake(
        "Thundra's URL for OTLP, and no header",
        {**NOTHING, "THUNDRA_EXTENSION_COLLECTOR_URL": "{remote}/v1"},
        [f"{ENDPOINT} is not set"],
    ),
    Mistake(
        "a proxy that is not there",
        {"THUNDRA_EXTENSION_PROXY": "http://proxy.invalid:8080"},
        [r"cannot deliver to https://localhost:\d+/v1/traces through the proxy http://proxy\.invalid:8080: cannot look up the address of the proxy"],
    ),
    Mistake(
        "a proxy's password that is not encoded",
        {"THUNDRA_EXTENSION_PROXY": f"http://user:8899#{KEY}@localhost:1"},
        ["THUNDRA_EXTENSION_PROXY .*percent-encoded"],
        arrives=True,
    ),
    Mistake(
        "a word in place of each value",
        {
            "THUNDRA_EXTENSION_FLUSH": "always",
            "THUNDRA_EXTENSION_BUFFER": "4MB",
            "THUNDRA_EXTENSION_LOG_LEVEL": "verbose",
            "THUNDRA_EXTENSION_OTLP_PORT": "3333",
            "THUNDRA_EXTENSION_ENABLED": "nope",
        },
        [
            "THUNDRA_EXTENSION_FLUSH .*used",
            "THUNDRA_EXTENSION_BUFFER .*used",
            "THUNDRA_EXTENSION_LOG_LEVEL .*used",
            "THUNDRA_EXTENSION_OTLP_PORT .*used",
            "THUNDRA_EXTENSION_ENABLED .*used",
        ],
        arrives=True,
    ),
    Mistake("a certificate that is not there", {"SSL_CERT_FILE": "/no/such/file"}, ["SSL_CERT_FILE .*/no/such/file"]),
    *(_refused(status, rf"https://localhost:\d+/v1/traces.* {status} ") for status in (400, 404, 415, 429, 500, 503)),
    Mistake(
        "a key that is meant for one host only",
        {LOGS_ENDPOINT: "https://logs.invalid/v1/logs"},
        [r"https://logs\.invalid.*THUNDRA_EXTENSION_OTLP_LOGS_HEADERS"],
        arrives=True,
    ),
    Mistake(
        "the extension is switched off",
        {"THUNDRA_EXTENSION_ENABLED": "false"},
        ["THUNDRA_EXTENSION_ENABLED is false"],
    ),
    Mistake("a header with a letter beyond ASCII", {"OTEL_EXPORTER_OTLP_HEADERS": "x-team=Z%C3%BCrich"}, arrives=True),
    Mistake("the SDK exports over gRPC", GRPC, GRPC_LINES),
    Mistake(
        "the SDK exports over gRPC to the port for HTTP",
        {**GRPC, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"},
        GRPC_LINES,
    ),
    # From here on with the time limit that the README recommends, in the unit of each SDK.
    Mistake(
        "the SDK exports to another port of this machine",
        {**LIMIT, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:3333"},
        ["OTEL_EXPORTER_OTLP_ENDPOINT holds port 3333, .*port 4318.* 10 s"],
    ),
    Mistake(
        "the SDK's endpoint is https",
        {**LIMIT, "OTEL_EXPORTER_OTLP_ENDPOINT": "https://localhost:4318"},
        ["OTEL_EXPORTER_OTLP_ENDPOINT holds https", "an SDK's endpoint begins with https://"],
    ),
    Mistake(
        "a proxy without an exception for this machine",
        {**LIMIT, "HTTP_PROXY": "http://localhost:1"},
        ["HTTP_PROXY is set.* 10 s.*NO_PROXY holds localhost"],
    ),
    Mistake(
        "the layer is removed first",
        {**LIMIT, "OTEL_EXPORTER_OTLP_ENDPOINT": None},
        has_extension=False,
    ),
)
