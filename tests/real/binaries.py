"""Builds two programs of this repository: the extension under test, and local-lambda with its remote collector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from setup_cache import Missing, SetupCache, need

EXTENSION = "thundra-lambda-extension"
WRAPPER = "thundra_wrapper"


def extension(setup: SetupCache, given: Path | None) -> Path:
    return given or _build(setup, EXTENSION, ["--package", EXTENSION])


def wrapper(extension: Path) -> Path:
    """The wrapper. cargo builds it with the extension, in the same directory."""
    found = extension.parent / WRAPPER
    if not found.exists():
        raise Missing(f"there is no {found}")
    return found


def local_lambda(setup: SetupCache, given: Path | None) -> Path:
    return given or _build(setup, "local-lambda", ["-p", "local-lambda", "--bin", "local-lambda"])


def _build(setup: SetupCache, name: str, selection: Sequence[str]) -> Path:
    need("cargo")
    # The directory is explicit, because the user's environment may set another one for cargo.
    target = setup.checkout / "target"
    command = ["cargo", "build", "--release", "--locked", "--target-dir", target, *selection]
    with setup.terminal.step(f"{name}, built by cargo"):
        setup.run(command)
    binary = target / "release" / name
    if not binary.exists():
        raise Missing(f"cargo built no {binary}")
    return binary
