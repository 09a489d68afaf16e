"""The functions under test: each has a handler, a runtime client that calls it, and an agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import pins
from node_client import ManagedNodeClient, NodeClient
from python_client import LayeredPythonClient, PythonClient
from script_client import ScriptClient
from setup_cache import SetupCache

# Each signal of OpenTelemetry has its own path.
SIGNALS = ("/v1/traces", "/v1/metrics", "/v1/logs")

KEY = "k3y-0f-the-real-agents-test"


class Client(Protocol):
    """The runtime client, which calls a handler."""

    def install(self, setup: SetupCache) -> None: ...


@dataclass(frozen=True)
class Function:
    client: Client
    handler: str
    environment: Mapping[str, str]
    agent: str = "no agent"
    # The path to which this agent posts its reports.
    path: str = ""
    # For OpenTelemetry: the content type and the encoding of its posts.
    otlp: tuple[str, str | None] | None = None


THUNDRA = {"THUNDRA_APIKEY": KEY, "THUNDRA_AGENT_REPORT_REST_LOCAL": "true"}
CATCHPOINT = {"CATCHPOINT_APIKEY": KEY, "CATCHPOINT_REPORT_REST_LOCAL": "true"}


def _thundra(version: str, is_managed: bool = False) -> PythonClient:
    return PythonClient(f"thundra-{version}", [f"thundra=={version}"], is_managed=is_managed)


PYTHON_COMPOSITE = Function(
    _thundra(pins.THUNDRA_COMPOSITE),
    "composite.handler",
    THUNDRA,
    f"thundra {pins.THUNDRA_COMPOSITE} (Python)",
    "/v1/composite-monitoring-data",
)
PYTHON_ARRAYS = Function(
    _thundra(pins.THUNDRA_ARRAYS),
    "arrays.handler",
    CATCHPOINT,
    f"thundra {pins.THUNDRA_ARRAYS} (Python, package catchpoint)",
    "/v1/monitoring-data",
)
NODE_CLIENT = NodeClient("node", {"@thundra/core": pins.THUNDRA_CORE})
NODE = Function(
    NODE_CLIENT,
    "traced.handler",
    THUNDRA,
    f"@thundra/core {pins.THUNDRA_CORE} (Node.js)",
    "/v1/monitoring-data",
)
# This function shares the composite function's environment. The handler decides whether it loads the agent.
WITHOUT_AGENT = Function(_thundra(pins.THUNDRA_COMPOSITE), "plain.handler", THUNDRA)
NODE_WITHOUT_AGENT = Function(NODE_CLIENT, "untraced.handler", {})
# Handlers that do not load the agent in their package. The wrapper switches it on. Only the key is set.
WRAPPED_PYTHON = [
    Function(_thundra(version, is_managed=True), "plain.handler", {key: KEY}, f"thundra {version} (Python)", path)
    for version, key, path in (
        (pins.THUNDRA_COMPOSITE, "THUNDRA_APIKEY", "/v1/composite-monitoring-data"),
        (pins.THUNDRA_LAST, "THUNDRA_APIKEY", "/v1/monitoring-data"),
        (pins.THUNDRA_ARRAYS, "CATCHPOINT_APIKEY", "/v1/monitoring-data"),
    )
]
WRAPPED_NODE = [
    Function(ManagedNodeClient(version), handler, {"THUNDRA_APIKEY": KEY}, f"@thundra/core {version} (Node.js)", path)
    for version, path in (
        (pins.THUNDRA_CORE, "/v1/monitoring-data"),
        (pins.THUNDRA_CORE_OLD, "/v1/composite-monitoring-data"),
    )
    for handler in ("untraced.handler", "untraced_es.handler", "nested/events.handler")
]
# The agent is in a layer, and the handler in a package of the function.
LAYERED_PYTHON = Function(
    LayeredPythonClient(pins.THUNDRA_COMPOSITE),
    "nested/plain.handler",
    {"THUNDRA_APIKEY": KEY},
    f"thundra {pins.THUNDRA_COMPOSITE} in a layer (Python)",
    "/v1/composite-monitoring-data",
)
LAYERED_NODE = Function(
    ManagedNodeClient(pins.THUNDRA_CORE, is_layer=True),
    "untraced.handler",
    {"THUNDRA_APIKEY": KEY, "NODE_PATH": "/opt/nodejs/node_modules"},
    f"@thundra/core {pins.THUNDRA_CORE} in a layer (Node.js)",
    "/v1/monitoring-data",
)
# OpenTelemetry's SDKs, by their exporters for OTLP over HTTP.
PROTOBUF, JSON = "http/protobuf", "http/json"
CONTENT_TYPES = {PROTOBUF: "application/x-protobuf", JSON: "application/json"}
# The header that the extension must send.
API_KEY = "api-key"
EXPORTERS = {f"OTEL_{signal}_EXPORTER": "otlp" for signal in ("TRACES", "METRICS", "LOGS")}
OTEL_PYTHON_CLIENT = PythonClient(
    f"opentelemetry-{pins.OPENTELEMETRY_PYTHON}",
    [
        f"{package}=={pins.OPENTELEMETRY_PYTHON}"
        for package in ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "opentelemetry-exporter-otlp-proto-grpc")
    ],
    pins.OPENTELEMETRY_PYTHON_CONSTRAINTS,
)
OTEL_NODE_CLIENT = NodeClient(
    "node-opentelemetry",
    {"@opentelemetry/api": pins.OPENTELEMETRY_NODE_API, "@opentelemetry/sdk-node": pins.OPENTELEMETRY_NODE},
)


def _opentelemetry(
    client: Client, agent: str, protocol: str, compression: str | None, handler: str = "instrumented.handler"
) -> Function:
    variables = {
        **EXPORTERS,
        "OTEL_SERVICE_NAME": "orders",
        "THUNDRA_EXTENSION_OTLP_HEADERS": f"{API_KEY}={KEY}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_COMPRESSION": compression or "none",
    }
    posted_as = (CONTENT_TYPES[protocol], compression)
    agent = f"{agent}, {protocol}" + (f", {compression}" if compression else "")
    return Function(client, handler, variables, agent, otlp=posted_as)


_PYTHON = (OTEL_PYTHON_CLIENT, f"opentelemetry-sdk {pins.OPENTELEMETRY_PYTHON} (Python)")
_NODE = (OTEL_NODE_CLIENT, f"@opentelemetry/sdk-node {pins.OPENTELEMETRY_NODE} (Node.js)")
# All combinations that exist: Python's exporter has no JSON.
OTEL = {
    "python": _opentelemetry(*_PYTHON, PROTOBUF, None),
    "python-gzip": _opentelemetry(*_PYTHON, PROTOBUF, "gzip"),
    "node": _opentelemetry(*_NODE, PROTOBUF, None),
    "node-gzip": _opentelemetry(*_NODE, PROTOBUF, "gzip"),
    "node-json": _opentelemetry(*_NODE, JSON, None),
    "node-json-gzip": _opentelemetry(*_NODE, JSON, "gzip"),
}
# The exporters' variables of each SDK. The environment must name the processor too.
COSTS = {
    name: {
        protocol + (f", {compression}" if compression else ""): _opentelemetry(
            *sdk, protocol, compression, "spans.handler"
        )
        for protocol, compression in forms
    }
    for name, sdk, forms in (
        ("Python", _PYTHON, [(PROTOBUF, None), (PROTOBUF, "gzip")]),
        ("Node.js", _NODE, [(PROTOBUF, None), (PROTOBUF, "gzip"), (JSON, None), (JSON, "gzip")]),
    )
}
# Not a function, but a runtime that makes mistakes.
RULE_BREAKER = Function(ScriptClient("rule_breaker.py"), "app.handler", {}, "a runtime that breaks the rules")
