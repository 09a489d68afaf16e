"""A runtime in one file of Python, in addition to the real ones."""

from __future__ import annotations

import sys
from pathlib import Path

from setup_cache import SetupCache

RUNTIMES = Path(__file__).resolve().parent / "runtimes"


class ScriptClient:
    def __init__(self, name: str) -> None:
        self._script = RUNTIMES / name

    def install(self, setup: SetupCache) -> None:
        """Does nothing: nothing must be fetched."""

    def command(self, handler: str) -> list[str]:
        return [sys.executable, str(self._script), handler]

    def reads(self) -> list[Path]:
        """Directories that the function must be able to read."""
        return []

    def modules(self) -> Path | None:
        return None

    def layers(self) -> dict[str, Path]:
        return {}
