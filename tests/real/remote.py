"""The test double of the remote collector: the command `local-lambda remote`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Remote:
    def __init__(self, local_lambda: Path, directory: Path, script: Sequence[str], is_tls: bool = True) -> None:
        """`script` has options of that command, which set the answers to requests."""
        directory.mkdir()
        self._requests = directory / "requests.jsonl"
        with (directory / "remote.log").open("wb") as log:
            self._process = subprocess.Popen(
                [local_lambda, "remote", *(["--tls"] if is_tls else []), "--dir", directory, *script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the remote collector did not start, see {log.name}")
        listening = json.loads(line)
        self.url: str = listening["url"]
        # The paths of OTLP are below this one.
        self.base = self.url.removesuffix("/v1")
        self.ca: str | None = listening.get("ca")

    def finish(self) -> list[dict]:
        """All requests that arrived, in order."""
        self._process.stdin.close()
        self._process.wait(timeout=10)
        if not self._requests.exists():
            return []
        return [json.loads(line) for line in self._requests.read_text().splitlines()]
