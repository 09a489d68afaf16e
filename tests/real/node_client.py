"""Installs Lambda's Node.js runtime client with an agent."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pins
import python_client
from script_client import RUNTIMES
from setup_cache import SetupCache, need


class NodeClient:
    def __init__(self, name: str, agent: Mapping[str, str]) -> None:
        """`agent` lists the agent's packages with their versions."""
        self.name = name
        self._agent = agent

    def install(self, setup: SetupCache) -> None:
        need("npm", "gcc", "g++", "make")
        self._node = _node(setup)
        packages = {"aws-lambda-ric": pins.AWS_LAMBDA_RIC, **self._agent}
        self._directory = _part(setup, self.name, packages, self._node)

    def command(self, handler: str) -> list[str]:
        return [str(self._node), str(self.modules() / "aws-lambda-ric" / "index.mjs"), handler]

    def reads(self) -> list[Path]:
        """Directories that the function must be able to read."""
        return [self._directory, self._node.parent.parent]

    def modules(self) -> Path:
        return self._directory / "node_modules"

    def layers(self) -> dict[str, Path]:
        return {}


class ManagedNodeClient:
    """Started as by Lambda's managed runtimes up to Node.js 22: the environment names the handler."""

    def __init__(self, core: str, is_layer: bool = False) -> None:
        """`core` is the version of the agent. The agent is in the package or in a layer."""
        self._core, self._is_layer = core, is_layer

    @property
    def name(self) -> str:
        return f"node-core-{self._core}"

    def install(self, setup: SetupCache) -> None:
        need("npm", "gcc", "g++", "make", "autoreconf", "libtoolize")
        self._node = _node(setup)
        client = {"aws-lambda-ric": pins.AWS_LAMBDA_RIC_WITH_CALLBACKS}
        self._client = _part(setup, "node-with-callbacks", client, self._node)
        self._agent = _part(setup, self.name, {"@thundra/core": self._core}, self._node)

    def command(self, _handler: str) -> list[str]:
        client = self._client / "node_modules" / "aws-lambda-ric" / "dist" / "index.mjs"
        return [str(self._node), str(RUNTIMES / "managed.mjs"), str(client)]

    def reads(self) -> list[Path]:
        """Directories that the function must be able to read."""
        return [self._client, self._agent, self._node.parent.parent]

    def modules(self) -> Path | None:
        return None if self._is_layer else self._agent / "node_modules"

    def layers(self) -> dict[str, Path]:
        """The layer's directory below /opt, which is in NODE_PATH."""
        return {"nodejs": self._agent} if self._is_layer else {}


def _part(setup: SetupCache, name: str, packages: dict, node: Path) -> Path:
    recipe = {"packages": packages, "before": pins.NPM_BEFORE, "node": str(node)}
    title = "Node.js: " + ", ".join(f"{package}@{version}" for package, version in packages.items())

    def make(directory: Path) -> None:
        _npm_install(setup, directory, packages, _build_environment(node, _cmake(setup, directory)))

    return setup.part(name, recipe, title, make)


def _node(setup: SetupCache) -> Path:
    """The machine's own node, if it is new enough."""
    own = shutil.which("node")
    if own and _major(own) >= pins.NODE_AT_LEAST:
        return Path(own).resolve()

    def make(directory: Path) -> None:
        _npm_install(setup, directory, {"node": pins.NODE}, os.environ)

    directory = setup.part("node-itself", {"node": pins.NODE}, f"Node.js {pins.NODE}, from npm", make)
    # The package `node` contains only the program. It installs the package for this machine, which has the headers too.
    return next(directory.glob("**/node-linux-*/bin/node"))


def _major(node: str) -> int:
    said = subprocess.run([node, "--version"], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    found = re.match(r"v(\d+)", said)
    return int(found.group(1)) if found else 0


def _cmake(setup: SetupCache, directory: Path) -> str:
    """The folder of cmake, with which aws-lambda-ric builds its C++ parts."""
    own = shutil.which("cmake3") or shutil.which("cmake")
    if own:
        return str(Path(own).parent)
    environment = directory / "cmake"
    python_client.create(setup, environment)
    pip = [environment / "bin" / "python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    setup.run([*pip, f"cmake=={pins.CMAKE}"])
    return str(environment / "bin")


def _build_environment(node: Path, cmake: str) -> dict[str, str]:
    prefix = node.parent.parent
    path = os.pathsep.join([str(node.parent), cmake, os.environ.get("PATH", os.defpath)])
    if (prefix / "include" / "node" / "node_api.h").exists():
        # Without this, node-gyp would download the headers.
        return {**os.environ, "PATH": path, "npm_config_nodedir": str(prefix)}
    return {**os.environ, "PATH": path}


def _npm_install(setup: SetupCache, directory: Path, packages: dict, environment: Mapping[str, str]) -> None:
    (directory / "package.json").write_text(json.dumps({"private": True, "dependencies": packages}))
    options = ["--no-audit", "--no-fund", "--ignore-scripts=false", f"--before={pins.NPM_BEFORE}"]
    setup.run(["npm", "install", *options], cwd=directory, environment=environment)
