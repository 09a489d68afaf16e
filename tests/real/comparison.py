"""Compares the answers of the emulator and of local-lambda to the same extension, function and caller."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

from api_calls import Call
from test_run import UUID, Record

# Replaces a line that only the other side has.
NO_LINE = "no line"


@dataclass(frozen=True)
class Difference:
    """A part of a line that may differ, as a pattern for each side. The rest of the line must be equal."""

    name: str
    emulator: str
    local_lambda: str

    def explains(self, line: Line) -> bool:
        emulator, found = re.subn(self.emulator, "<>", line.emulator)
        local_lambda, found_too = re.subn(self.local_lambda, "<>", line.local_lambda)
        return bool(found and found_too) and emulator == local_lambda


@dataclass(frozen=True)
class Line:
    where: str
    emulator: str
    local_lambda: str

    def __str__(self) -> str:
        pairs = enumerate(zip(self.emulator, self.local_lambda))
        start = max(0, next((at for at, (one, other) in pairs if one != other), 0) - 80)
        emulator, local_lambda = (text[start : start + 200].strip() for text in (self.emulator, self.local_lambda))
        return f"{self.where}: under the emulator `{emulator}`, on the local Lambda `{local_lambda}`"


def unexpected_differences(emulator: Record, local_lambda: Record, allowed: Sequence[Difference]) -> list[str]:
    """Differences that are not allowed, and allowed differences that did not occur."""
    ours, theirs = _calls_and_results(local_lambda), _calls_and_results(emulator)
    lines = [line for who in theirs for line in _differing(who, theirs[who], ours[who])]
    reasons = [{it.name for it in allowed if it.explains(line)} for line in lines]
    seen = set().union(*reasons)
    return [
        *(str(line) for line, names in zip(lines, reasons) if not names),
        *(f"may differ, and does not: {it.name}" for it in allowed if it.name not in seen),
        *(f"no call by the {who}, so this shows nothing" for who, calls in theirs.items() if not calls),
    ]


def _calls_and_results(record: Record) -> dict[str, list[Call]]:
    # `local-lambda run` prints no HTTP status, because there is no HTTP between it and its caller.
    results = [("the invocation", UUID.sub("<id>", result["body"])) for result in record.invocations]
    return {**record.calls, "caller": results}


def _differing(who: str, emulator: Sequence[Call], local_lambda: Sequence[Call]) -> Iterable[Line]:
    for number, (one, other) in enumerate(zip_longest(emulator, local_lambda, fillvalue=("no call",)), start=1):
        where = f"{who}'s call {number}, {one[0]}"
        if one[0] != other[0]:
            # The two sides differ from here on, so the rest cannot be compared.
            yield Line(where, one[0], other[0])
            return
        yield from (Line(where, *pair) for pair in _unequal(one, other))


def _unequal(one: Call, other: Call) -> Iterable[tuple[str, str]]:
    for kind, start, end, other_start, other_end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind != "equal":
            yield from zip_longest(one[start:end], other[other_start:other_end], fillvalue=NO_LINE)
