"""TCP connections put together again from their segments."""

from __future__ import annotations

from collections.abc import Iterable

from packet import Segment


class Gap(Exception):
    """A stream lacks bytes: the capture can't be trusted."""


def connections(segments: Iterable[Segment], port: int) -> list[tuple[bytes, bytes]]:
    """Of each connection to `port`: what the client sent, and what it was answered."""
    found: list[tuple[_Stream, _Stream]] = []
    current: dict = {}
    for segment in segments:
        to_port = segment.destination[1] == port
        ends = (segment.source, segment.destination)
        key = ends if to_port else ends[::-1]
        if segment.syn and to_port:
            # A client's port may come again: its SYN begins another connection.
            current[key] = (_Stream(), _Stream())
            found.append(current[key])
        if key in current:
            current[key][0 if to_port else 1].add(segment)
    return [(sent.bytes(), answered.bytes()) for sent, answered in found]


class _Stream:
    def __init__(self) -> None:
        self._first = 0
        self._parts: dict[int, bytes] = {}

    def add(self, segment: Segment) -> None:
        if segment.syn:
            self._first = segment.sequence + 1
        offset = (segment.sequence - self._first) % 2**32
        # A retransmission may be longer than what it repeats.
        if len(segment.payload) > len(self._parts.get(offset, b"")):
            self._parts[offset] = segment.payload

    def bytes(self) -> bytes:
        whole = b""
        for offset, part in sorted(self._parts.items()):
            if offset > len(whole):
                raise Gap(f"bytes {len(whole)} to {offset} were not captured")
            whole += part[len(whole) - offset :]
        return whole
