"""Makes a virtual environment with Lambda's Python runtime client and an agent."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import pins
from script_client import RUNTIMES
from setup_cache import Missing, SetupCache


class PythonClient:
    def __init__(
        self,
        name: str,
        agent: Sequence[str],
        constraints: Sequence[str] = pins.PYTHON_CONSTRAINTS,
        is_managed: bool = False,
    ) -> None:
        """`agent` lists the agent's packages. With `is_managed` the environment names the handler, as on
        Lambda."""
        self.name = f"python{sys.version_info[0]}.{sys.version_info[1]}-{name}"
        self._constraints = constraints
        self._is_managed = is_managed
        self._packages = [f"awslambdaric=={pins.AWSLAMBDARIC}", *agent]

    def install(self, setup: SetupCache) -> None:
        recipe = {
            "python": sys.version,
            "prefix": sys.base_prefix,
            "packages": self._packages,
            "constraints": self._constraints,
        }
        title = f"Python {sys.version_info[0]}.{sys.version_info[1]}: " + ", ".join(self._packages)
        self._directory = setup.part(self.name, recipe, title, lambda made: self._make(setup, made))

    def command(self, handler: str) -> list[str]:
        python = str(self._directory / "bin" / "python3")
        return [python, str(RUNTIMES / "managed.py")] if self._is_managed else [python, "-m", "awslambdaric", handler]

    def reads(self) -> list[Path]:
        """Directories that the function must be able to read."""
        return [self._directory, Path(sys.base_prefix)]

    def modules(self) -> Path | None:
        return None

    def layers(self) -> dict[str, Path]:
        return {}

    def _make(self, setup: SetupCache, directory: Path) -> None:
        create(setup, directory)
        install(setup, directory, self._packages, self._constraints)


class LayeredPythonClient:
    """Started as by Lambda's managed runtimes, with the agent in a layer."""

    def __init__(self, agent: str) -> None:
        self._agent = f"thundra=={agent}"
        self._packages = [f"awslambdaric=={pins.AWSLAMBDARIC}"]
        self.name = f"python{sys.version_info[0]}.{sys.version_info[1]}-layer-{agent}"

    def install(self, setup: SetupCache) -> None:
        recipe = {"python": sys.version, "packages": [*self._packages, self._agent], "constraints": pins.PYTHON_CONSTRAINTS}

        def make(directory: Path) -> None:
            create(setup, directory)
            install(setup, directory, self._packages)
            install(setup, directory, ["--target", str(directory / "layer"), self._agent])

        self._directory = setup.part(self.name, recipe, f"Python, with {self._agent} in a layer", make)

    def command(self, _handler: str) -> list[str]:
        return [str(self._directory / "bin" / "python3"), str(RUNTIMES / "managed.py")]

    def reads(self) -> list[Path]:
        """Directories that the function must be able to read."""
        return [self._directory, Path(sys.base_prefix)]

    def modules(self) -> Path | None:
        return None

    def layers(self) -> dict[str, Path]:
        """The layer's directory below /opt."""
        return {"python": self._directory / "layer"}


def install(
    setup: SetupCache, directory: Path, packages: Sequence[str], constraints: Sequence[str] = pins.PYTHON_CONSTRAINTS
) -> None:
    """Installs packages into the virtual environment in this directory."""
    file = directory / "constraints.txt"
    file.write_text("\n".join(constraints) + "\n")
    pip = [directory / "bin" / "python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    setup.run([*pip, "--constraint", file, *packages])


def create(setup: SetupCache, directory: Path) -> None:
    if importlib.util.find_spec("ensurepip") is None:
        raise Missing("this Python has no ensurepip; on Debian install the package python3-venv")
    setup.run([sys.executable, "-m", "venv", directory])
