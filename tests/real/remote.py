"""The double of the remote collector: the sandbox's `remote` command, over TLS."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path


class Remote:
    def __init__(self, sandbox: Path, directory: Path, answer: str) -> None:
        """`answer` is what each request gets: a status, or `hang`."""
        directory.mkdir()
        self._requests = directory / "requests.jsonl"
        with (directory / "remote.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sandbox, "remote", "--tls", "--dir", directory, "--answer", answer],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the remote collector did not start, see {log.name}")
        listening = json.loads(line)
        self.url: str = listening["url"]
        self.ca: str = listening["ca"]

    def finish(self) -> list[dict]:
        """All requests that arrived, in order."""
        self._process.stdin.close()
        self._process.wait(timeout=10)
        if not self._requests.exists():
            return []
        return [json.loads(line) for line in self._requests.read_text().splitlines()]
