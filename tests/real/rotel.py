"""Runs a collector of another project. It decodes the reports that it gets, and sends them on.

Its source: https://github.com/streamfold/rotel
"""

from __future__ import annotations

import platform
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path

import pins
import python_client
from waiting import TIMEOUT_SECONDS, wait_until_it_listens
from setup_cache import Missing, SetupCache

ARCHITECTURES = ("x86_64", "aarch64")
HTTP, GRPC = ("127.0.0.1", 14318), ("127.0.0.1", 14317)
PROGRAM = "rotel-agent"


def install(setup: SetupCache) -> Path:
    """The path of its program from its wheel."""
    architecture = platform.machine()
    if architecture not in ARCHITECTURES:
        raise Missing(f"there is no rotel for {architecture}")

    def make(directory: Path) -> None:
        _download(setup, directory, architecture)
        (wheel,) = directory.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (directory / PROGRAM).write_bytes(archive.read(f"rotel/{PROGRAM}"))
        (directory / PROGRAM).chmod(0o755)
        wheel.unlink()
        # This fails if the machine's C library is too old for the program.
        setup.run([directory / PROGRAM, "--version"])

    recipe = {"rotel": pins.ROTEL, "architecture": architecture}
    return setup.part("rotel", recipe, f"rotel {pins.ROTEL}", make) / PROGRAM


def _download(setup: SetupCache, directory: Path, architecture: str) -> None:
    # All wheels contain the same file, so the wheel for one version of Python is enough.
    python = ["--python-version", "3.11", "--platform", f"manylinux_2_34_{architecture}"]
    environment = directory / "venv"
    python_client.create(setup, environment)
    pip = [environment / "bin" / "python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    setup.run([*pip, *python, "--dest", directory, f"rotel=={pins.ROTEL}"])
    shutil.rmtree(environment)


class Rotel:
    """Runs between the extension and the double of a remote, which records its requests."""

    base = f"http://{HTTP[0]}:{HTTP[1]}"

    def __init__(self, program: str, remote: str, directory: Path) -> None:
        self._program, self._remote, self._directory = program, remote, directory

    def start(self) -> None:
        listen = ["--otlp-http-endpoint", _written(HTTP), "--otlp-grpc-endpoint", _written(GRPC)]
        send = ["--exporter", "otlp", "--otlp-exporter-protocol", "http", "--otlp-exporter-endpoint", self._remote]
        with (self._directory / "rotel.log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, "start", "--pid-file", self._directory / "rotel.pid", *listen, *send],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until_it_listens(self._process, HTTP)

    def finish(self) -> None:
        """Makes it send its remaining reports and end."""
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(TIMEOUT_SECONDS)
        if status != 0:
            raise RuntimeError(f"rotel ended with {status}, see rotel.log")


def _written(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"
