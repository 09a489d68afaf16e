"""A report as it left the agent or reached the remote, and how the two are compared."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    path: str
    authorization: str | None
    content_type: str | None
    body: bytes

    @classmethod
    def of(cls, request: dict) -> Report:
        headers = {name.lower(): value for name, value in request["headers"].items()}
        return cls(
            request["path"],
            headers.get("authorization"),
            headers.get("content-type"),
            base64.b64decode(request["body_base64"]),
        )

    def __str__(self) -> str:
        return f"{self.path}, {len(self.body)} bytes, {self.body[:60]!r}"


def differences(posted: Iterable[Report], arrived: Iterable[Report]) -> list[str]:
    """Empty when what arrived is what was posted: each once, byte for byte, with its path, key and type."""
    before, after = Counter(posted), Counter(arrived)
    lost = [f"never arrived as it was posted: {report}" for report in (before - after).elements()]
    foreign = [f"arrived though not posted so, or too often: {report}" for report in (after - before).elements()]
    return lost + foreign
