"""A report as it left the agent or reached the remote, and how the two are compared."""

from __future__ import annotations

import base64
import gzip
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from resources import LISTS, items, resources

# Here arrays are posted, and those that wait together become one.
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
        """What stays whole on its way: each item of an array, told here as an array of its own; each resource of
        OTLP that is not compressed; or all of it."""
        if self.path == ARRAYS:
            parts = [b"[" + item + b"]" for item in items(self.body)]
        elif self.path in LISTS and not self.content_encoding:
            parts = resources(self.path, self.content_type, self.body)
        else:
            parts = []
        return [replace(self, body=part) for part in parts] or [self]

    def content(self) -> bytes:
        """The body without its compression."""
        return gzip.decompress(self.body) if self.content_encoding == "gzip" else self.body

    def __str__(self) -> str:
        return f"{self.path}, {len(self.body)} bytes, {self.body[:60]!r}"


def differences(posted: Iterable[Report], arrived: Iterable[Report]) -> list[str]:
    """Empty when what arrived is what was posted: each item or composite once, byte for byte, with path and headers."""
    before, after = _count(posted), _count(arrived)
    lost = [f"never arrived as it was posted: {part}" for part in (before - after).elements()]
    return lost + [f"arrived though not posted so, or too often: {part}" for part in (after - before).elements()]


def foreign(posted: Iterable[Report], arrived: Iterable[Report]) -> list[str]:
    """Empty when nothing arrived but what was posted, however often."""
    return [f"arrived though not posted so: {part}" for part in _count(arrived).keys() - _count(posted).keys()]


def _count(reports: Iterable[Report]) -> Counter[Report]:
    return Counter(part for report in reports for part in report.parts())
