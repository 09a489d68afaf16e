"""Compares the spans, data points and log records of two runs or two receivers."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Values that differ in each run: times, random samples, and ids except those that link items.
DIFFERS = re.compile("traceId|.*UnixNano|exemplars")
SPAN_IDS = ("spanId", "parentSpanId")
# Older SDKs measure their own durations. Only the number of these counts.
MEASURED = ("bucketCounts", "sum", "min", "max")
# Attributes with another value in each process.
PROCESS = ("process.pid",)


def differences(before: Iterable[dict], after: Iterable[dict]) -> list[str]:
    """Empty if both have the same items equally often, with the same contents, scopes and resources."""
    return _compared(_count(before), _count(after))


def unexpected_differences(before: Iterable[dict], after: Iterable[dict]) -> list[str]:
    """Empty if both are the same, except values that differ in each run."""
    return _compared(_count(_compare(list(before))), _count(_compare(list(after))))


def _compared(before: Counter[str], after: Counter[str]) -> list[str]:
    missing = (f"missing: {item:.400}" for item in (before - after).elements())
    return [*missing, *(f"not to be there, or too often: {item:.400}" for item in (after - before).elements())]


def _count(items: Iterable[dict]) -> Counter[str]:
    return Counter(json.dumps(_without_nothing(item), sort_keys=True, ensure_ascii=False) for item in items)


def _without_nothing(value: object) -> object:
    """An empty message counts as no message."""
    if isinstance(value, list):
        return [_without_nothing(each) for each in value]
    if not isinstance(value, dict):
        return value
    parts = {name: _without_nothing(each) for name, each in value.items()}
    return {name: each for name, each in parts.items() if each not in (None, {}, [])}


def _compare(items: list[dict]) -> Iterable[dict]:
    spans = {it["item"].get("spanId"): it["item"] for it in items if it["path"] == "/v1/traces"}
    return (_settled(_unmeasured(item), spans) for item in items)


def _unmeasured(item: dict) -> dict:
    if item.get("metric", {}).get("unit") != "s":
        return item
    return {**item, "item": {name: value for name, value in item["item"].items() if name not in MEASURED}}


def _settled(value: object, spans: Mapping[str, dict]) -> object:
    if isinstance(value, list):
        return [_settled(each, spans) for each in value]
    if isinstance(value, str):
        return UUID.sub("<id>", value)
    if not isinstance(value, dict):
        return value
    if value.get("key") in PROCESS:
        return {"key": value["key"]}
    return {
        name: _place(each, spans) if name in SPAN_IDS else _settled(each, spans)
        for name, each in value.items()
        if not DIFFERS.fullmatch(name)
    }


def _place(span: str, spans: Mapping[str, dict]) -> str:
    """The names of a span and of its parents."""
    if span not in spans:
        return "a span that did not arrive"
    known = spans[span]
    above = known.get("parentSpanId")
    return (_place(above, spans) + " / " if above else "") + known["name"]
