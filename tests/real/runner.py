"""The programs that all runs need, and the folders of their logs."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import binaries
import emulator
import namespaces
import rotel
from functions import Function
from otlp_library import OtlpLibrary
from test_run import Broken, Record, TestRun
from setup_cache import SetupCache


class Runner:
    def __init__(self, setup: SetupCache, extension: Path | None, local_lambda: Path | None) -> None:
        """Builds and fetches everything but the runtime clients."""
        namespaces.check()
        self.setup = setup
        self.extension = binaries.extension(setup, extension)
        self.wrapper = binaries.wrapper(self.extension)
        self._local_lambda = binaries.local_lambda(setup, local_lambda)
        self._rie = emulator.install(setup)

    def install(self, function: Function, with_rotel: bool = False) -> None:
        function.client.install(self.setup)
        if function.otlp:
            self.otlp_library = OtlpLibrary(self.setup)
        if with_rotel:
            self.rotel = rotel.install(self.setup)

    @contextlib.contextmanager
    def folder(self, name: str) -> Iterator[Folder]:
        folder = Folder(self.setup.root, name)
        try:
            yield folder
        except Broken as broken:
            raise Broken(f"{broken}\nlogs: {folder.keep()}") from broken
        finally:
            folder.discard()

    def execute(self, run: TestRun, directory: Path, watch: Callable[[str, object], None] = lambda *_: None) -> Record:
        directory.mkdir()
        return run.execute(self._rie, self._local_lambda, directory, watch)


class Folder:
    """The folder of one scenario's logs. Each run has its own, and keeps it only if the user wants it."""

    def __init__(self, root: Path, name: str) -> None:
        (root / "runs").mkdir(exist_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix=name + "-", dir=root / "runs"))
        # The emulator's unprivileged user needs access to the folder.
        self.path.chmod(0o755)
        self._kept = root / "logs" / name
        self._is_kept = False

    def keep(self) -> Path:
        self._kept.parent.mkdir(exist_ok=True)
        shutil.rmtree(self._kept, ignore_errors=True)
        self.path = self.path.rename(self._kept)
        self._is_kept = True
        return self.path

    def discard(self) -> None:
        if not self._is_kept:
            shutil.rmtree(self.path)


def tails(directory: Path) -> Iterable[str]:
    """The last lines of each log, for a reader without access to the files."""
    for log in sorted(directory.rglob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-8:]
        if lines:
            yield str(log)
            yield from ("    " + line[:300] for line in lines)
