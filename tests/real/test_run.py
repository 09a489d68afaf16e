"""One run of a function and an extension, under the emulator or on the local Lambda: its settings, and its record."""

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
    """The run itself failed, so it has no result about the extension."""


@dataclass(frozen=True)
class Context:
    """Data that a caller can send to the function in addition to the event."""

    trace_id: str
    client_context: str


@dataclass(frozen=True)
class TestRun:
    function: Function
    events: Sequence[dict]
    extension: Path | None
    managed_instances: bool = False
    # Whether local-lambda runs the function, instead of AWS's emulator.
    on_local_lambda: bool = False
    # The function's timeout. The default is the emulator's, which is long.
    timeout_seconds: int | None = None
    # Data that the caller sends in addition to the event.
    context: Context | None = None
    # Variables that are added or replaced. None removes a variable.
    environment: Mapping[str, str | None] = field(default_factory=dict)
    # The remote's answers, if it does not accept all requests: options of `local-lambda remote`.
    script: Sequence[str] = ()
    # Whether local-lambda serves the Telemetry API, which the emulator does not.
    telemetry: bool = False
    # The time for which local-lambda freezes all processes after each invocation. It always freezes them.
    freeze: str = "0s"
    # The program of a real receiver. It gets the OTLP of the extension, and passes it on to the remote.
    rotel: Path | None = None
    # A text that the extension's log must contain before that receiver starts, if any. Only under the emulator.
    rotel_after: str = ""
    # Whether a foreign server listens on the collector's port.
    port_taken: bool = False
    # The name in /opt/extensions, if it is not the file's own.
    installed_as: str = ""
    # Whether posts to the local ports are recorded. They must be HTTP/1.1 without interim answers.
    records_posts: bool = True
    # More files of the function, and their contents.
    files: Mapping[str, str] = field(default_factory=dict)
    # The wrapper in the layer. Its presence alone changes nothing.
    wrapper: Path | None = None

    def execute(self, rie: Path, local_lambda: Path, directory: Path, watch: Callable[[str, object], None]) -> Record:
        """Runs it, writes the logs to `directory`, and calls `watch` with each event."""
        plan = directory / "plan.json"
        plan.write_text(json.dumps(self._plan(rie, local_lambda, directory)))
        with (directory / "isolated-run.log").open("w") as log:
            process = subprocess.Popen(
                namespaces.command([sys.executable, str(HERE / "isolated_run.py"), str(plan)]),
                env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
            )
        return Record(self.events, directory, _listen(process, directory, watch))

    def _plan(self, rie: Path, local_lambda: Path, directory: Path) -> dict:
        client = self.function.client
        modules = client.modules()
        keep = [HERE, directory, rie.parent, local_lambda.parent, Path(sys.base_prefix), *client.reads()]
        if self.rotel:
            keep.append(self.rotel.parent)
        return {
            "rie": str(rie),
            "local_lambda": str(local_lambda),
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
            "records_posts": self.records_posts,
            "code": str(HERE / "handlers"),
            "files": dict(self.files),
            "modules": str(modules) if modules else None,
            "layers": {name: str(path) for name, path in client.layers().items()},
            "handler": self.function.handler,
            "command": client.command(self.function.handler),
            "environment": {**self.function.environment, **self.environment},
            "events": list(self.events),
            "managed_instances": self.managed_instances,
            "on_local_lambda": self.on_local_lambda,
            "timeout_seconds": self.timeout_seconds,
            "context": asdict(self.context) if self.context else None,
            "lanes": 2 if self.managed_instances else 1,
            "keep": [str(path) for path in keep],
        }


class Record:
    """The record of a run."""

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
        """The callers' results, without the ids that differ in each run."""
        return [(result["status"], UUID.sub("<id>", result["body"])) for result in self.invocations]

    def request_ids(self) -> list[str]:
        return [found.group() for result in self.invocations if (found := UUID.search(result["body"]))]

    def extension_exits(self) -> list[int]:
        return [int(line) for line in self.log("extension.status").split()]

    def log(self, name: str) -> str:
        path = self.directory / name
        return path.read_text(errors="replace") if path.exists() else ""


def _listen(process: subprocess.Popen, directory: Path, watch: Callable[[str, object], None]) -> Mapping[str, list]:
    happened: dict = {}
    timer = _ends_at_deadline(process)
    try:
        for line in process.stdout:
            kind, value = json.loads(line)
            happened.setdefault(kind, []).append(value)
            watch(kind, value)
        if process.wait() != 0:
            raise Broken(f"the run `{directory.name}` broke off, see its isolated-run.log")
        return happened
    finally:
        timer.cancel()
        # The process ends when its input ends, even after an error here.
        process.stdin.close()
        process.wait()


def _ends_at_deadline(process: subprocess.Popen) -> threading.Timer:
    timer = threading.Timer(DEADLINE_SECONDS, process.kill)
    timer.daemon = True
    timer.start()
    return timer
