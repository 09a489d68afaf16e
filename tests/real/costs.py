"""Measures the cost of spans for a function with OpenTelemetry, with and without the extension."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

from runner import Runner
from functions import COSTS, Function
from terminal import Terminal
from test_run import Record, TestRun

SPANS = 5
# The round trip to the remote. Requests of an invocation that wait for the remote take at least this time.
FAR = ("--latency", "50ms")
# The first invocations are slower, and do not count.
WARM_UP = 5


class Costs:
    def __init__(self, runner: Runner, terminal: Terminal, counted: int) -> None:
        self._runner = runner
        self._terminal = terminal
        self._counted = counted

    def run(self) -> bool:
        """A table in Markdown."""
        self._terminal.title(f"Milliseconds of an invocation with {SPANS} spans, of {self._counted}: median (quartiles)")
        print("| SDK | processor | protocol | to the extension | CPU | to a remote 50 ms away | CPU |")
        print("| --- | --- | --- | ---: | ---: | ---: | ---: |", flush=True)
        with self._runner.folder("costs") as folder:
            for number, (title, function) in enumerate(_ways()):
                cells = [cell for record in self._both(function, folder.path / str(number)) for cell in _cells(record)]
                print(f"| {' | '.join([*title, *cells])} |", flush=True)
        return True

    def _both(self, function: Function, logs: Path) -> Iterator[Record]:
        logs.mkdir()
        for name, extension in (("extension", self._runner.extension), ("remote", None)):
            events = ({"spans": SPANS},) * (WARM_UP + self._counted)
            run = TestRun(function, events, extension, on_local_lambda=True, script=FAR)
            yield self._runner.execute(run, logs / name)


def _ways() -> Iterator[tuple[tuple[str, str, str], Function]]:
    for (sdk, protocols), processor in product(COSTS.items(), ("none", "batch", "simple")):
        for protocol, function in protocols.items() if processor != "none" else [("", next(iter(protocols.values())))]:
            variables = {**function.environment, "SPAN_PROCESSOR": processor}
            yield (sdk, processor, protocol), replace(function, environment=variables)


def _cells(record: Record) -> tuple[str, str]:
    counted = record.invocations[WARM_UP:]
    cpu = [json.loads(result["body"])["cpu_milliseconds"] for result in counted]
    return _quartiles([result["milliseconds"] for result in counted]), _quartiles(cpu)


def _quartiles(samples: list[float]) -> str:
    lower, median, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return f"{median:.1f} ({lower:.1f}–{upper:.1f})"
