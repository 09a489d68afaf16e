"""Reassembles TCP connections from their segments."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from packet import Segment


class Gap(Exception):
    """A stream lacks bytes, so the capture is not usable."""


@dataclass(frozen=True)
class Connection:
    # Bytes from the client.
    sent: bytes
    # Bytes from the server.
    answered: bytes
    # Offsets of the client's segments, and the position of each segment in the capture.
    captured: Sequence[tuple[int, int]]

    def place(self, offset: int) -> int:
        """A position by which requests over several connections can be ordered."""
        return self.captured[bisect_right(self.captured, (offset, float("inf"))) - 1][1]


def connections(segments: Iterable[Segment], port: int) -> list[Connection]:
    """All connections to `port`, in the order of their start."""
    found: list[tuple[_Stream, _Stream]] = []
    current: dict = {}
    for place, segment in enumerate(segments):
        to_port = segment.destination[1] == port
        ends = (segment.source, segment.destination)
        key = ends if to_port else ends[::-1]
        if segment.syn and to_port:
            # A client's port may be used again. Its SYN begins another connection.
            current[key] = (_Stream(), _Stream())
            found.append(current[key])
        if key in current:
            current[key][0 if to_port else 1].add(segment, place)
    return [Connection(sent.bytes(), answered.bytes(), sent.captured()) for sent, answered in found]


class _Stream:
    def __init__(self) -> None:
        self._first = 0
        self._parts: dict[int, bytes] = {}
        self._places: dict[int, int] = {}

    def add(self, segment: Segment, place: int) -> None:
        if segment.syn:
            self._first = segment.sequence + 1
        offset = (segment.sequence - self._first) % 2**32
        # A retransmission may be longer than the segment that it repeats.
        if len(segment.payload) > len(self._parts.get(offset, b"")):
            self._parts[offset] = segment.payload
            self._places.setdefault(offset, place)

    def captured(self) -> Sequence[tuple[int, int]]:
        return sorted(self._places.items())

    def bytes(self) -> bytes:
        whole = b""
        for offset, part in sorted(self._parts.items()):
            if offset > len(whole):
                raise Gap(f"bytes {len(whole)} to {offset} were not captured")
            whole += part[len(whole) - offset :]
        return whole
