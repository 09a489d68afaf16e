"""The set-up in target/real of the checkout. Each part is made once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from terminal import Terminal


class Missing(Exception):
    """The machine lacks a tool that this test cannot fetch."""


class SetupCache:
    def __init__(self, checkout: Path, terminal: Terminal) -> None:
        self.checkout = checkout
        self.terminal = terminal
        self.root = checkout / "target" / "real"
        self.root.mkdir(parents=True, exist_ok=True)
        self._log = self.root / "setup.log"

    def part(self, name: str, recipe: dict, title: str, make: Callable[[Path], None]) -> Path:
        """The directory `name`. `make` fills it, unless the same `recipe` has made it before."""
        directory, written = self.root / name, json.dumps(recipe, sort_keys=True)
        stamp = directory / "made-of.json"
        with self._alone():
            if not (stamp.exists() and stamp.read_text() == written):
                shutil.rmtree(directory, ignore_errors=True)
                directory.mkdir()
                with self.terminal.step(title):
                    make(directory)
                # This is written last, so that an interrupted set-up starts again.
                stamp.write_text(written)
        return directory

    def run(
        self, command: Sequence[object], cwd: Path | None = None, environment: Mapping[str, str] = os.environ
    ) -> None:
        """Runs a command of the set-up. Shows its output only if it fails."""
        words = [str(word) for word in command]
        done = subprocess.run(
            words,
            cwd=cwd or self.checkout,
            env=environment,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        with self._log.open("a") as log:
            log.write(f"$ {' '.join(words)}\n{done.stdout}\n")
        if done.returncode != 0:
            tail = "\n".join(done.stdout.splitlines()[-30:])
            raise Missing(f"`{' '.join(words)}` failed; its last lines:\n{tail}")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Prevents two runs from building the same directory at once."""
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def need(*programs: str) -> None:
    absent = [program for program in programs if shutil.which(program) is None]
    if absent:
        raise Missing("not found on PATH: " + ", ".join(absent))
