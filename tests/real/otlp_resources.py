"""Splits a body of OTLP into its resources with their contents. Merging never cuts a resource."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

LISTS = {"/v1/traces": "resourceSpans", "/v1/metrics": "resourceMetrics", "/v1/logs": "resourceLogs"}
JSON = "application/json"

# A field of number 1 with a length. In all three messages, each such field is one entry of the list.
ENTRY = b"\x0a"

_DECODER = json.JSONDecoder()
_BEFORE_AN_ITEM = re.compile(r"[ \t\r\n]*[\[,][ \t\r\n]*")


def resources(path: str, content_type: str | None, body: bytes) -> Sequence[bytes]:
    """The exact bytes of each resource. None if the body has other contents too."""
    return _of_json(LISTS[path], body) if content_type == JSON else _of_protobuf(body)


def items(array: bytes) -> Sequence[bytes]:
    """The exact bytes of each item of an array. None if the body is not an array."""
    try:
        text = array.decode()
        values = json.loads(text)
    except ValueError:
        return []
    found, end = [], 0
    for _ in values if isinstance(values, list) else []:
        start = _BEFORE_AN_ITEM.match(text, end).end()
        _, end = _DECODER.raw_decode(text, start)
        found.append(text[start:end].encode())
    return found


def _of_json(name: str, body: bytes) -> Sequence[bytes]:
    whole = re.fullmatch(rb'\s*\{\s*"%s"\s*:\s*(\[.*\])\s*\}\s*' % name.encode(), body, re.DOTALL)
    return items(whole.group(1)) if whole else []


def _of_protobuf(body: bytes) -> Sequence[bytes]:
    found, at = [], 0
    while at < len(body):
        length, begins = _length(body, at + len(ENTRY))
        if not body.startswith(ENTRY, at) or begins + length > len(body):
            return []
        found.append(body[begins : begins + length])
        at = begins + length
    return found


def _length(body: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and its end. The end is beyond the body if the number has none."""
    value = shift = 0
    while at < len(body):
        value |= (body[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if body[at - 1] < 0x80:
            return value, at
    return 1, at
