"""Whether the emulator and the sandbox say the same to the same extension, function and caller."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

from conversation import Call
from trial import UUID, Record

# What stands for a line that the other side has and this one hasn't.
NO_LINE = "no line"


@dataclass(frozen=True)
class Difference:
    """Something that may differ: patterns for it in a line, which must be alike but for that."""

    name: str
    emulator: str
    sandbox: str

    def explains(self, line: Line) -> bool:
        emulator, found = re.subn(self.emulator, "<>", line.emulator)
        sandbox, found_too = re.subn(self.sandbox, "<>", line.sandbox)
        return bool(found and found_too) and emulator == sandbox


@dataclass(frozen=True)
class Line:
    where: str
    emulator: str
    sandbox: str

    def __str__(self) -> str:
        pairs = enumerate(zip(self.emulator, self.sandbox))
        start = max(0, next((at for at, (one, other) in pairs if one != other), 0) - 80)
        emulator, sandbox = (text[start : start + 200].strip() for text in (self.emulator, self.sandbox))
        return f"{self.where}: under the emulator `{emulator}`, on the sandbox `{sandbox}`"


def unlike(emulator: Record, sandbox: Record, allowed: Sequence[Difference]) -> list[str]:
    """What differs although it may not, and what may differ although it does not."""
    ours, theirs = _conversations(sandbox), _conversations(emulator)
    lines = [line for who in theirs for line in _differing(who, theirs[who], ours[who])]
    reasons = [{it.name for it in allowed if it.explains(line)} for line in lines]
    seen = set().union(*reasons)
    return [
        *(str(line) for line, names in zip(lines, reasons) if not names),
        *(f"may differ, and does not: {it.name}" for it in allowed if it.name not in seen),
        *(f"no call by the {who}, so this shows nothing" for who, calls in theirs.items() if not calls),
    ]


def _conversations(record: Record) -> dict[str, list[Call]]:
    # The sandbox's command tells no status of HTTP: there is none between it and its caller.
    results = [("the invocation", UUID.sub("<id>", result["body"])) for result in record.invocations]
    return {**record.calls, "caller": results}


def _differing(who: str, emulator: Sequence[Call], sandbox: Sequence[Call]) -> Iterable[Line]:
    for number, (one, other) in enumerate(zip_longest(emulator, sandbox, fillvalue=("no call",)), start=1):
        where = f"{who}'s call {number}, {one[0]}"
        if one[0] != other[0]:
            # They went different ways here: what comes next can't be compared.
            yield Line(where, one[0], other[0])
            return
        yield from (Line(where, *pair) for pair in _unequal(one, other))


def _unequal(one: Call, other: Call) -> Iterable[tuple[str, str]]:
    for kind, start, end, other_start, other_end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind != "equal":
            yield from zip_longest(one[start:end], other[other_start:other_end], fillvalue=NO_LINE)
