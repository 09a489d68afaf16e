"""Measures the cost of a newcomer's mistakes with OpenTelemetry's SDK, and checks that the log names their cause."""

from __future__ import annotations

import os
import re
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runner import Runner
from checks import Findings, ended_well, unless
from functions import COSTS, Function
from mistakes import GOOD, KEY, MISTAKES, Mistake
from terminal import Terminal
from test_run import Broken, Record, TestRun

EVENTS = ({"spans": 3},) * 6
WITHOUT_TELEMETRY = {"SPAN_PROCESSOR": "none"}
# Limits of the additional time of an invocation, compared with no telemetry: the usual one, and the one of a single
# invocation on a busy machine. No SDK tries again sooner than that.
LONGER_MILLISECONDS = 100
ONCE_LONGER_MILLISECONDS = 700
# For OTEL_EXPORTER_OTLP_TIMEOUT, by SDK. It is too short for a second attempt, which SDKs make after 800 ms or later.
HALF_A_SECOND = {"Python": "0.5", "Node.js": "500"}


class MistakeChecks:
    def __init__(self, runner: Runner, terminal: Terminal) -> None:
        self._runner = runner
        self._terminal = terminal

    def run(self) -> bool:
        with self._runner.folder("mistakes") as folder:
            good = [self._with_sdk(sdk, folder.path) for sdk in COSTS]
            if not all(good):
                self._terminal.row(f"logs: {folder.keep()}")
        return all(good)

    def _with_sdk(self, sdk: str, logs: Path) -> bool:
        self._terminal.title(f"{sdk}: {len(MISTAKES)} mistakes, and what an invocation usually takes")
        function = next(iter(COSTS[sdk].values()))
        usual = self._runner.execute(TestRun(function, EVENTS, None, environment=WITHOUT_TELEMETRY, on_local_lambda=True), logs / sdk)
        self._terminal.row(f"  {'without telemetry':54} {_median(usual):7.1f} ms")

        def attempt(number: int) -> tuple[Findings, Record | None]:
            run = self._test_run(function, sdk, MISTAKES[number])
            for once_more in (True, False):
                try:
                    record = self._runner.execute(run, logs / f"{sdk}-{number}{'' if once_more else '-again'}")
                except Broken as broken:
                    return [str(broken)], None
                findings = _findings(MISTAKES[number], usual, record)
                # A busy machine may be the reason.
                if not (once_more and _takes_longer(usual, record)):
                    break
            return findings, record

        # Several run at a time, because each mostly starts or waits.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(attempt, range(len(MISTAKES)))
            return all([self._show(mistake, *it) for mistake, it in zip(MISTAKES, found)])

    def _test_run(self, function: Function, sdk: str, mistake: Mistake) -> TestRun:
        variables = {"SPAN_PROCESSOR": "batch", **GOOD, **mistake.environment}
        variables = {name: value and value.replace("{half_second}", HALF_A_SECOND[sdk]) for name, value in variables.items()}
        extension = self._runner.extension if mistake.has_extension else None
        # Some mistakes make an SDK speak gRPC or TLS to the local port.
        return TestRun(
            function,
            EVENTS,
            extension,
            environment=variables,
            on_local_lambda=True,
            script=mistake.script,
            records_posts=False,
        )

    def _show(self, mistake: Mistake, findings: Findings, record: Record | None) -> bool:
        took = f"{_median(record):7.1f} ms" if record else ""
        self._terminal.row(f"{self._terminal.mark(not findings)} {mistake.name:54} {took}")
        for finding in findings:
            self._terminal.row(f"      {finding}")
        return not findings


def _findings(mistake: Mistake, usual: Record, record: Record) -> Findings:
    log = record.log("extension.log").splitlines()
    return [
        *unless(len(_milliseconds(record)) == len(EVENTS), "not each invocation had a result"),
        *_takes_longer(usual, record),
        *(f"no line says `{line}`: {log}" for line in mistake.lines if not any(re.search(line, it) for it in log)),
        *unless(mistake.lines or not log, f"the extension logged {log}"),
        *unless(not any(KEY in it for it in log), "the key is in the log"),
        *unless(record.arrived or not mistake.arrives, "nothing arrived"),
        *(ended_well(record) if mistake.has_extension else []),
    ]


def _takes_longer(usual: Record, record: Record) -> Findings:
    waits = max(_milliseconds(record)) - max(_milliseconds(usual))
    return [
        *unless(_median(record) <= _median(usual) + LONGER_MILLISECONDS, "invocations take longer"),
        *unless(waits <= ONCE_LONGER_MILLISECONDS, f"an invocation took {waits:.0f} ms longer"),
    ]


def _median(record: Record) -> float:
    return statistics.median(_milliseconds(record))


def _milliseconds(record: Record) -> list[float]:
    return [it["milliseconds"] for it in record.invocations]
