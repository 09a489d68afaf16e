"""Starts this project's local Lambda by its command, instead of AWS's emulator."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

TIMEOUT_SECONDS = 60


class LocalLambda:
    def __init__(
        self, program: str, options: Sequence[str], runtime: Sequence[str], events: Sequence[dict], log: Path
    ) -> None:
        """Starts it with all events, because it invokes the function as soon as it can."""
        each = [word for event in events for word in ("--event", json.dumps(event))]
        command = [program, "run", "--json", *options, "--invocations", str(len(events)), *each, "--", *runtime]
        self._log = log.open("w")
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log, encoding="utf-8"
        )

    def invoke_all(self, events: Sequence[dict], _lanes: int) -> Iterator[dict]:
        """The results, in order, with the emulator's statuses: 502 if all processes were reset."""
        for _ in events:
            invocation = self._next("invocation")
            reply = invocation["reply"]
            status = 502 if invocation["status"].startswith("failure") else 200
            yield {"status": status, "body": reply["payload"], "milliseconds": reply["latency_ms"]}

    def terminate(self) -> dict:
        """Waits for SHUTDOWN. local-lambda sends it by itself after the last event."""
        began = time.perf_counter()
        report = self._next("shutdown")
        problems = [it["problem"] for it in self._lines() if "problem" in it]
        status = self._process.wait(TIMEOUT_SECONDS)
        # It fails after a function error, but the scenarios want these errors.
        unwanted = [problem for problem in problems if not problem.startswith("invocation ")]
        as_wanted = status == (1 if problems else 0) and not unwanted
        seconds = time.perf_counter() - began
        return {"emulator": 0 if as_wanted else unwanted or status, "seconds": seconds, "processes": report["processes"]}

    def _next(self, kind: str) -> dict:
        for line in self._lines():
            if kind in line:
                return line[kind]
        raise RuntimeError(f"local-lambda ended without `{kind}`, see {self._log.name}")

    def _lines(self) -> Iterator[dict]:
        for line in self._process.stdout:
            self._log.write(line)
            self._log.flush()
            yield json.loads(line)
