"""A report that left the agent or reached the remote, and the comparison of the two."""

from __future__ import annotations

import base64
import gzip
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from otlp_resources import LISTS, items, resources

# Agents post arrays to this path. The extension merges arrays that wait together.
ARRAYS = "/v1/monitoring-data"


@dataclass(frozen=True)
class Report:
    path: str
    authorization: str | None
    content_type: str | None
    content_encoding: str | None
    body: bytes

    @classmethod
    def of(cls, request: dict) -> Report:
        headers = {name.lower(): value for name, value in request["headers"].items()}
        return cls(
            request["path"],
            headers.get("authorization"),
            headers.get("content-type"),
            headers.get("content-encoding"),
            base64.b64decode(request["body_base64"]),
        )

    def parts(self) -> Sequence[Report]:
        """The parts that the extension never cuts: each item of an array, as an array of one item; each resource of
        plain OTLP; or the whole report."""
        if self.path == ARRAYS:
            parts = [b"[" + item + b"]" for item in items(self.body)]
        elif self.path in LISTS and not self.content_encoding:
            parts = resources(self.path, self.content_type, self.body)
        else:
            parts = []
        return [replace(self, body=part) for part in parts] or [self]

    def content(self) -> bytes:
        """The decompressed body."""
        return gzip.decompress(self.body) if self.content_encoding == "gzip" else self.body

    def __str__(self) -> str:
        return f"{self.path}, {len(self.body)} bytes, {self.body[:60]!r}"


def differences(posted: Iterable[Report], arrived: Iterable[Report]) -> list[str]:
    """Empty if each posted item or composite arrived once, byte for byte, with its path and headers."""
    before, after = _count(posted), _count(arrived)
    lost = [f"never arrived as it was posted: {part}" for part in (before - after).elements()]
    return lost + [f"arrived though not posted so, or too often: {part}" for part in (after - before).elements()]


def foreign(posted: Iterable[Report], arrived: Iterable[Report]) -> list[str]:
    """Empty if only posted items arrived, once or several times."""
    return [f"arrived though not posted so: {part}" for part in _count(arrived).keys() - _count(posted).keys()]


def _count(reports: Iterable[Report]) -> Counter[Report]:
    return Counter(part for report in reports for part in report.parts())
