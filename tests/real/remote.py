"""The double of the remote collector: the sandbox's `remote` command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Remote:
    def __init__(self, sandbox: Path, directory: Path, script: Sequence[str], is_tls: bool = True) -> None:
        """`script` is options of that command: what requests get."""
        directory.mkdir()
        self._requests = directory / "requests.jsonl"
        with (directory / "remote.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sandbox, "remote", *(["--tls"] if is_tls else []), "--dir", directory, *script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the remote collector did not start, see {log.name}")
        listening = json.loads(line)
        self.url: str = listening["url"]
        # Below it OTLP has the paths of its own.
        self.base = self.url.removesuffix("/v1")
        self.ca: str | None = listening.get("ca")

    def finish(self) -> list[dict]:
        """All requests that arrived, in order."""
        self._process.stdin.close()
        self._process.wait(timeout=10)
        if not self._requests.exists():
            return []
        return [json.loads(line) for line in self._requests.read_text().splitlines()]
