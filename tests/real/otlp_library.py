"""Splits a report into its items, by the library with which OpenTelemetry itself reads OTLP."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pins
import python_client
from report import Report
from setup_cache import SetupCache

ITEMS = Path(__file__).resolve().parent / "otlp_items.py"


class OtlpLibrary:
    def __init__(self, setup: SetupCache) -> None:
        packages = [f"opentelemetry-proto=={pins.OPENTELEMETRY_PYTHON}"]
        constraints = pins.OPENTELEMETRY_PYTHON_CONSTRAINTS

        def make(directory: Path) -> None:
            python_client.create(setup, directory)
            python_client.install(setup, directory, packages, constraints)

        recipe = {"python": sys.version, "prefix": sys.base_prefix, "packages": packages, "constraints": constraints}
        name = f"python{sys.version_info[0]}.{sys.version_info[1]}-otlp"
        self._python = setup.part(name, recipe, f"Python, with {packages[0]}", make) / "bin" / "python3"

    def items(self, reports: Iterable[Report]) -> list[dict]:
        """Spans, data points and log records, each with its resource and scope."""
        asked = "".join(json.dumps(_request(report)) + "\n" for report in reports)
        command = [str(self._python), "-I", "-B", str(ITEMS)]
        output = subprocess.run(command, input=asked, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
        return [json.loads(line) for line in output.splitlines()]


def _request(report: Report) -> dict:
    return {
        "path": report.path,
        "content_type": report.content_type,
        "content_encoding": report.content_encoding,
        "body_base64": base64.b64encode(report.body).decode(),
    }
