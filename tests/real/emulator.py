"""Takes AWS's Runtime Interface Emulator from the wheel of aws-sam-cli."""

from __future__ import annotations

import platform
import shutil
import zipfile
from pathlib import Path

import pins
import python_client
from setup_cache import Missing, SetupCache

ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def install(setup: SetupCache) -> Path:
    """The path of aws-lambda-rie."""
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None:
        raise Missing(f"AWS offers no emulator for {platform.machine()}")

    def make(directory: Path) -> None:
        _download(setup, directory)
        _extract(directory, architecture)

    recipe = {"aws-sam-cli": pins.AWS_SAM_CLI, "architecture": architecture}
    title = f"aws-lambda-rie, out of aws-sam-cli {pins.AWS_SAM_CLI}"
    return setup.part("emulator", recipe, title, make) / "aws-lambda-rie"


def _download(setup: SetupCache, directory: Path) -> None:
    # Only one file of the package is used, so the Python version that the package needs does not matter.
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--ignore-requires-python"]
    package = f"aws-sam-cli=={pins.AWS_SAM_CLI}"
    # The machine's Python may have no pip.
    environment = directory / "venv"
    python_client.create(setup, environment)
    setup.run([environment / "bin" / "python3", "-m", "pip", "download", *options, "--dest", directory, package])
    shutil.rmtree(environment)


def _extract(directory: Path, architecture: str) -> None:
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        emulator = archive.read("samcli/local/rapid/aws-lambda-rie-" + architecture)
    wheel.unlink()
    target = directory / "aws-lambda-rie"
    target.write_bytes(emulator)
    target.chmod(0o755)
