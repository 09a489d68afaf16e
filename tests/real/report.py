"""A report as it left the agent or reached the remote, and how the two are compared."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

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
        """What stays whole on its way: each item of an array, told here as an array of its own; or all of it."""
        items = _items(self.body) if self.path == ARRAYS else []
        return [replace(self, body=b"[" + item + b"]") for item in items] or [self]

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


_DECODER = json.JSONDecoder()
_BEFORE_AN_ITEM = re.compile(r"[ \t\r\n]*[\[,][ \t\r\n]*")


def _items(body: bytes) -> Sequence[bytes]:
    """The exact bytes of each item of an array; none of what is no array."""
    try:
        text = body.decode()
        values = json.loads(text)
    except ValueError:
        return []
    items, end = [], 0
    for _ in values if isinstance(values, list) else []:
        start = _BEFORE_AN_ITEM.match(text, end).end()
        _, end = _DECODER.raw_decode(text, start)
        items.append(text[start:end].encode())
    return items
