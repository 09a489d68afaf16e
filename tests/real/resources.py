"""What a body of OTLP consists of and what merging leaves whole: its resources, each with all that is below it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

LISTS = {"/v1/traces": "resourceSpans", "/v1/metrics": "resourceMetrics", "/v1/logs": "resourceLogs"}
JSON = "application/json"

# A field of number 1 whose value says its length: in all three messages that is the list, one entry each time.
ENTRY = b"\x0a"

_DECODER = json.JSONDecoder()
_BEFORE_AN_ITEM = re.compile(r"[ \t\r\n]*[\[,][ \t\r\n]*")


def resources(path: str, content_type: str | None, body: bytes) -> Sequence[bytes]:
    """The exact bytes of each; none of a body that has anything beside them."""
    return _of_json(LISTS[path], body) if content_type == JSON else _of_protobuf(body)


def items(array: bytes) -> Sequence[bytes]:
    """The exact bytes of each item of an array; none of what is no array."""
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
    """A number in groups of seven bits, the lowest first, and where it ends; beyond the body if it does not."""
    value = shift = 0
    while at < len(body):
        value |= (body[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if body[at - 1] < 0x80:
            return value, at
    return 1, at
