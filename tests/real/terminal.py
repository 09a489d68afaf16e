"""Output for the user: headings, set-up steps with their time, rows with a mark."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator


class Terminal:
    def __init__(self) -> None:
        sys.stdout.reconfigure(errors="replace")
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def title(self, text: str) -> None:
        print("\n" + self._paint("1", text), flush=True)

    def row(self, text: str) -> None:
        print("  " + text, flush=True)

    def verdict(self, good: bool, text: str) -> None:
        print(f"\n{self.mark(good)} {self._paint('1', text)}\n", flush=True)

    def mark(self, good: bool) -> str:
        return self._paint("32", "✓") if good else self._paint("31", "✗")

    def dim(self, text: str) -> str:
        return self._paint("2", text)

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Prints the title before the step, because a step may take a minute."""
        began = time.monotonic()
        print(f"  {title:58}", end="", flush=True)
        try:
            yield
        except BaseException:
            print(self.mark(False), flush=True)
            raise
        print(f"{self.mark(True)} {time.monotonic() - began:6.1f} s", flush=True)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text
