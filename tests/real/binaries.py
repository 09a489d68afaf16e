"""The two programs this repository builds: the extension under test and the sandbox with its remote collector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workshop import Missing, Workshop, need

EXTENSION = "thundra-lambda-extension"
WRAPPER = "thundra_wrapper"


def extension(workshop: Workshop, given: Path | None) -> Path:
    return given or _build(workshop, EXTENSION, ["--package", EXTENSION])


def wrapper(extension: Path) -> Path:
    """Built with it, and lies beside it."""
    found = extension.parent / WRAPPER
    if not found.exists():
        raise Missing(f"there is no {found}")
    return found


def sandbox(workshop: Workshop, given: Path | None) -> Path:
    return given or _build(workshop, "sandbox", ["-p", "sandbox", "--bin", "sandbox"])


def _build(workshop: Workshop, name: str, selection: Sequence[str]) -> Path:
    need("cargo")
    # Said explicitly because the user's environment may send cargo's output elsewhere.
    target = workshop.checkout / "target"
    command = ["cargo", "build", "--release", "--locked", "--target-dir", target, *selection]
    with workshop.terminal.step(f"{name}, built by cargo"):
        workshop.run(command)
    binary = target / "release" / name
    if not binary.exists():
        raise Missing(f"cargo built no {binary}")
    return binary
