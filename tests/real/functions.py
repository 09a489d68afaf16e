"""The functions under test: a handler, the runtime client that calls it, and the agent inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import pins
from node_client import ManagedNodeClient, NodeClient
from python_client import LayeredPythonClient, PythonClient
from script_client import ScriptClient
from workshop import Workshop

KEY = "k3y-0f-the-real-agents-test"


class Client(Protocol):
    """What runs a handler."""

    def install(self, workshop: Workshop) -> None: ...


@dataclass(frozen=True)
class Function:
    client: Client
    handler: str
    environment: Mapping[str, str]
    agent: str = "no agent"
    # Where this agent posts its reports.
    path: str = ""


THUNDRA = {"THUNDRA_APIKEY": KEY, "THUNDRA_AGENT_REPORT_REST_LOCAL": "true"}
CATCHPOINT = {"CATCHPOINT_APIKEY": KEY, "CATCHPOINT_REPORT_REST_LOCAL": "true"}

PYTHON_COMPOSITE = Function(
    PythonClient(pins.THUNDRA_COMPOSITE),
    "composite.handler",
    THUNDRA,
    f"thundra {pins.THUNDRA_COMPOSITE} (Python)",
    "/v1/composite-monitoring-data",
)
PYTHON_ARRAYS = Function(
    PythonClient(pins.THUNDRA_ARRAYS),
    "arrays.handler",
    CATCHPOINT,
    f"thundra {pins.THUNDRA_ARRAYS} (Python, package catchpoint)",
    "/v1/monitoring-data",
)
NODE = Function(
    NodeClient(),
    "traced.handler",
    THUNDRA,
    f"@thundra/core {pins.THUNDRA_CORE} (Node.js)",
    "/v1/monitoring-data",
)
# Shares the composite function's environment: the handler decides whether the agent is loaded.
WITHOUT_AGENT = Function(PythonClient(pins.THUNDRA_COMPOSITE), "plain.handler", THUNDRA)
NODE_WITHOUT_AGENT = Function(NodeClient(), "untraced.handler", {})
# Handlers that know of no agent, which is beside them: what the wrapper is for. It has the key alone.
WRAPPED_PYTHON = [
    Function(PythonClient(version, is_managed=True), "plain.handler", {key: KEY}, f"thundra {version} (Python)", path)
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
    for handler in ("untraced.handler", "untraced_es.handler", "deeper/events.handler")
]
# The agent in a layer, and a handler in a package of the function's.
LAYERED_PYTHON = Function(
    LayeredPythonClient(pins.THUNDRA_COMPOSITE),
    "deeper/plain.handler",
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
# Not a function at all, but a runtime that makes mistakes.
CONTRARY = Function(ScriptClient("contrary.py"), "app.handler", {}, "a contrary runtime")
