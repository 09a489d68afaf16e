"""Runs AWS's Runtime Interface Emulator with a function and an extension.

Its source: https://github.com/aws/aws-lambda-runtime-interface-emulator
"""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from waiting import TIMEOUT_SECONDS, pause, wait_until_it_listens

ADDRESS = ("127.0.0.1", 8080)
RUNTIME_API = ("127.0.0.1", 9001)
INVOCATIONS = "/2015-03-31/functions/function/invocations"
TASK = Path("/var/task")
# The emulator looks here in Managed-Instances mode. Otherwise an argument names the directory.
BOOTSTRAP = Path("/opt/bootstrap")


class Rie:
    def __init__(self, program: str, environment: Mapping[str, str], caller: Mapping[str, str], log: Path) -> None:
        """`caller` has the headers of each invocation's request."""
        self._caller = caller
        command = [program, "--log-level", "info", "--runtime-interface-emulator-address", f"{ADDRESS[0]}:{ADDRESS[1]}"]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, str(BOOTSTRAP)],
                cwd=TASK,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until_it_listens(self._process, ADDRESS)
        # The emulator does not wait for its own server. On a busy machine it would refuse an extension that comes too early.
        wait_until_it_listens(self._process, RUNTIME_API)

    def invoke_all(self, events: Sequence[dict], lanes: int) -> Iterator[dict]:
        """The results, in order. Use more than one lane only in Managed-Instances mode: otherwise two requests
        at once end the emulator with a nil pointer."""
        with ThreadPoolExecutor(lanes) as pool:
            yield from pool.map(self._invoke, events)

    def terminate(self) -> dict:
        """Sends SHUTDOWN, as AWS does at the end of the execution environment."""
        began = time.perf_counter()
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(TIMEOUT_SECONDS)
        return {"emulator": status, "seconds": time.perf_counter() - began}

    def _invoke(self, event: dict) -> dict:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            result = self._post(event)
            # Only in Managed-Instances mode: all workers are busy or not ready, so nothing was invoked.
            if "Runtime.Unavailable" not in result["body"] or time.monotonic() > deadline:
                return result
            pause()

    def _post(self, event: dict) -> dict:
        connection = http.client.HTTPConnection(*ADDRESS, timeout=TIMEOUT_SECONDS)
        began = time.perf_counter()
        connection.request("POST", INVOCATIONS, json.dumps(event), self._caller)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return {"status": answer.status, "body": body, "milliseconds": (time.perf_counter() - began) * 1000}
