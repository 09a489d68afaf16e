"""Shows a real agent's reports on their way to the remote."""

from __future__ import annotations

import json

from runner import Runner
from checks import all_delivered, all_reported, ended_well, results_good
from functions import KEY, PYTHON_COMPOSITE
from report import Report
from terminal import Terminal
from test_run import Record, TestRun

EVENTS = (
    {"order": 1, "note": "two espressos"},
    {"order": 2, "note": "one of everything"},
    {"order": 3, "note": "a table for two hundred", "refuse": True},
    {"order": 4, "note": "the bill, please"},
)


class Demo:
    def __init__(self, runner: Runner, terminal: Terminal) -> None:
        self._runner = runner
        self._terminal = terminal
        self._invocations = 0

    def run(self) -> bool:
        with self._runner.folder("demo") as folder:
            self._terminal.title(f"Invocations, under AWS's emulator, with the agent {PYTHON_COMPOSITE.agent}")
            run = TestRun(PYTHON_COMPOSITE, EVENTS, self._runner.extension)
            good = self._show(self._runner.execute(run, folder.path / "extended", self._watch))
            if not good:
                self._terminal.row(f"logs: {folder.keep()}")
            return good

    def _watch(self, kind: str, value: object) -> None:
        if kind == "invocation":
            self._invocations += 1
            self._terminal.row(f"{self._invocations}  {value['milliseconds']:8.1f} ms  {_result(value)}")

    def _show(self, record: Record) -> bool:
        self._terminal.title(f"Reports at the remote collector, {record.remote}")
        for number, report in enumerate(record.arrived, 1):
            self._report(number, report, record)
        wrong = [*results_good(record), *all_reported(record, PYTHON_COMPOSITE), *all_delivered(record)]
        self._terminal.title("SHUTDOWN")
        ended = not ended_well(record)
        exits = ", ".join(map(str, record.extension_exits())) or "none, it was killed"
        took = record.shutdown["seconds"] * 1000
        self._terminal.row(f"{self._terminal.mark(ended)} extension's exit status {exits}, after {took:.0f} ms")
        for finding in wrong:
            self._terminal.row(f"{self._terminal.mark(False)} {finding}")
        return self._verdict(record, ended and not wrong)

    def _verdict(self, record: Record, good: bool) -> bool:
        counts = [f"{len(record.invocations)} invocations", f"{len(record.posted)} reports posted"]
        ending = f"{len(record.arrived)} arrived, " + ("each once and unchanged" if good else "not all is well")
        self._terminal.verdict(good, ", ".join([*counts, ending]))
        return good

    def _report(self, number: int, report: Report, record: Record) -> None:
        intact = report in record.posted
        as_posted = "byte for byte what the agent posted" if intact else "not what the agent posted"
        key = (report.authorization or "no key").replace(KEY, KEY[:3] + "…")
        mark = self._terminal.mark(intact)
        self._terminal.row(f"{number}  POST {report.path}  {len(report.body):6,} bytes  {key}  {mark} {as_posted}")


def _result(invocation: dict) -> str:
    if invocation["status"] != 200:
        return f"HTTP {invocation['status']} {invocation['body']}"
    result = json.loads(invocation["body"])
    if "errorType" in result:
        return f"{result['errorType']}: {result['errorMessage'].split(', request')[0]}"
    return f"order {result['order']}: {result['note']}"
