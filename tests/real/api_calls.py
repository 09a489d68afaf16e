"""The requests and answers between an extension or a runtime and the platform, in a form that two runs can compare."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from http_message import Message, messages
from tcp_streams import Connection

EXTENSIONS_APIS = ("/2020-01-01/", "/2022-07-01/")

UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# Values of the platform that differ in each run. Each must have its form.
EPHEMERAL = (
    (re.compile(r"(?<=Date: )\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"), "<date>"),
    (re.compile(r"(?<=Lambda-Runtime-Deadline-Ms: )\d{13}\b|(?<=\"deadlineMs\":)\d{13}\b"), "<milliseconds>"),
    (re.compile(r"(?<=arn:aws:lambda:)([a-z0-9-]+):\d{12}(?=:function:)"), r"\1:<account>"),
    # The framing declares the length already, and the replaced parts above change it.
    (re.compile(r"(?<=Content-Length: )[1-9]\d*"), "<length of the body>"),
)

# The lines of a request and its answer.
Call = Sequence[str]


def api_calls(connections: Iterable[Connection]) -> dict[str, list[Call]]:
    """The calls of the extension and of the runtime, in order, over all connections."""
    found: dict[str, list[tuple[int, Call]]] = {"extension": [], "runtime": []}
    for connection in connections:
        pairs = list(zip_longest(messages(connection.sent), messages(connection.answered)))
        if pairs:
            found[_who(pairs[0][0])].extend((connection.place(pair[0].at), _lines(*pair)) for pair in pairs)
    return {who: _named(call for _, call in sorted(calls)) for who, calls in found.items()}


def _who(request: Message) -> str:
    """The process whose connection begins with this request."""
    return "extension" if request.start.split(" ")[1].startswith(EXTENSIONS_APIS) else "runtime"


def _lines(request: Message, answer: Message | None) -> Call:
    return [*_message_lines(request), *(_message_lines(answer) if answer else ["never answered"])]


def _message_lines(message: Message) -> Iterable[str]:
    yield message.start
    yield from (f"{name}: {value}" for name, value in message.headers)
    if message.chunks:
        yield f"chunks of {message.chunks} bytes"
    if message.body:
        yield message.body.decode("utf-8", "backslashreplace")


def _named(calls: Iterable[Call]) -> list[Call]:
    """Replaces ids by numbers in the order of their first use, the same number in all calls."""
    names: dict[str, str] = {}

    def number(found: re.Match) -> str:
        return names.setdefault(found.group().lower(), f"<id {len(names) + 1}>")

    def named(line: str) -> str:
        line = UUID.sub(number, line)
        for pattern, replacement in EPHEMERAL:
            line = pattern.sub(replacement, line)
        return line

    return [[named(line) for line in call] for call in calls]
