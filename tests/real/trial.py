"""One run of a function and an extension, under the emulator or on the sandbox: what is tried, and the record of what happened."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import namespaces
from functions import Function
from report import Report

HERE = Path(__file__).resolve().parent
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DEADLINE_SECONDS = 120


class Broken(Exception):
    """The run itself did not come to its end: nothing can be said about the extension."""


@dataclass(frozen=True)
class Context:
    """What a caller can tell the function beside the event."""

    trace_id: str
    client_context: str


@dataclass(frozen=True)
class Trial:
    function: Function
    events: Sequence[dict]
    extension: Path | None
    managed_instances: bool = False
    # Whether the sandbox plays Lambda, instead of AWS's emulator.
    on_sandbox: bool = False
    # The function's timeout; without one, the emulator's own, which is long.
    timeout_seconds: int | None = None
    # What the caller tells beside the event.
    context: Context | None = None
    # Beside what function and extension are told anyway, or instead; None leaves a variable out.
    environment: Mapping[str, str | None] = field(default_factory=dict)
    # What the remote does with requests, unless it takes them: options of the sandbox's `remote` command.
    script: Sequence[str] = ()
    # Whether the sandbox serves the Telemetry API, which the emulator does not.
    telemetry: bool = False
    # How long the sandbox freezes all processes after each invocation; it does so in any case.
    freeze: str = "0s"
    # The program of a real receiver, which gets what the extension sends as OTLP and passes it on to the remote.
    rotel: Path | None = None
    # What the extension's log has to hold before that receiver is there at all, if anything; under the emulator only.
    rotel_after: str = ""
    # Whether a foreign server has the collector's port.
    port_taken: bool = False
    # The base name in /opt/extensions, unless it is the file's own.
    installed_as: str = ""
    # What the layer has beside the extension; that it is there changes nothing by itself.
    wrapper: Path | None = None

    def conduct(self, rie: Path, sandbox: Path, directory: Path, watch: Callable[[str, object], None]) -> Record:
        """Runs it; logs go to `directory`, `watch` is told of each thing as it happens."""
        plan = directory / "plan.json"
        plan.write_text(json.dumps(self._plan(rie, sandbox, directory)))
        with (directory / "stage.log").open("w") as log:
            stage = subprocess.Popen(
                namespaces.command([sys.executable, str(HERE / "stage.py"), str(plan)]),
                env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
            )
        return Record(self.events, directory, _listen(stage, directory, watch))

    def _plan(self, rie: Path, sandbox: Path, directory: Path) -> dict:
        client = self.function.client
        modules = client.modules()
        keep = [HERE, directory, rie.parent, sandbox.parent, Path(sys.base_prefix), *client.reads()]
        if self.rotel:
            keep.append(self.rotel.parent)
        return {
            "rie": str(rie),
            "sandbox": str(sandbox),
            "directory": str(directory),
            "extension": str(self.extension) if self.extension else None,
            "installed_as": self.installed_as or (self.extension.name if self.extension else None),
            "wrapper": str(self.wrapper) if self.wrapper else None,
            "script": list(self.script),
            "telemetry": self.telemetry,
            "freeze": self.freeze,
            "rotel": str(self.rotel) if self.rotel else None,
            "rotel_after": self.rotel_after,
            "otlp": self.function.otlp is not None,
            "port_taken": self.port_taken,
            "code": str(HERE / "handlers"),
            "modules": str(modules) if modules else None,
            "layers": {name: str(path) for name, path in client.layers().items()},
            "handler": self.function.handler,
            "command": client.command(self.function.handler),
            "environment": {**self.function.environment, **self.environment},
            "events": list(self.events),
            "managed_instances": self.managed_instances,
            "on_sandbox": self.on_sandbox,
            "timeout_seconds": self.timeout_seconds,
            "context": asdict(self.context) if self.context else None,
            "lanes": 2 if self.managed_instances else 1,
            "keep": [str(path) for path in keep],
        }


class Record:
    """What happened in a run."""

    def __init__(self, events: Sequence[dict], directory: Path, happened: Mapping[str, list]) -> None:
        self.events = events
        self.directory = directory
        self.remote: str = happened["listening"][0]
        self.invocations: list[dict] = happened["invocation"]
        self.shutdown: dict = happened["shutdown"][0]
        self.registrations: list[list[str]] = happened["registered"][0]
        self.calls: dict[str, list[list[str]]] = happened["called"][0]
        self.posts: list[dict] = happened["posted"][0]
        self.requests: list[dict] = happened["arrived"][0]
        self.posted = [Report.of(post) for post in self.posts]
        self.arrived = [Report.of(request) for request in self.requests]

    def results(self) -> list[tuple[int, str]]:
        """What the callers got, without the ids that differ from run to run."""
        return [(result["status"], UUID.sub("<id>", result["body"])) for result in self.invocations]

    def request_ids(self) -> list[str]:
        return [found.group() for result in self.invocations if (found := UUID.search(result["body"]))]

    def extension_exits(self) -> list[int]:
        return [int(line) for line in self.log("extension.status").split()]

    def log(self, name: str) -> str:
        path = self.directory / name
        return path.read_text(errors="replace") if path.exists() else ""


def _listen(stage: subprocess.Popen, directory: Path, watch: Callable[[str, object], None]) -> Mapping[str, list]:
    happened: dict = {}
    timer = _ends_at_deadline(stage)
    try:
        for line in stage.stdout:
            kind, value = json.loads(line)
            happened.setdefault(kind, []).append(value)
            watch(kind, value)
        if stage.wait() != 0:
            raise Broken(f"the run `{directory.name}` broke off, see its stage.log")
        return happened
    finally:
        timer.cancel()
        # The stage ends when its input does, whatever went wrong here.
        stage.stdin.close()
        stage.wait()


def _ends_at_deadline(stage: subprocess.Popen) -> threading.Timer:
    timer = threading.Timer(DEADLINE_SECONDS, stage.kill)
    timer.daemon = True
    timer.start()
    return timer
