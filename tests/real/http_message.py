"""Reads HTTP/1.1 messages from the bytes of one direction of a connection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace


class Malformed(Exception):
    """The bytes end too early, or are not HTTP."""


@dataclass(frozen=True)
class Message:
    start: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    # The sizes of the body's chunks, if it has chunks.
    chunks: tuple[int, ...] = ()
    # The position of the message in its stream.
    at: int = 0

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


def messages(stream: bytes) -> Iterator[Message]:
    at = 0
    while at < len(stream):
        begins = at
        head, at = _until(stream, at, b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = tuple(_header(line) for line in lines)
        message = Message(start, headers, b"", at=begins)
        if (message.header("transfer-encoding") or "").lower() == "chunked":
            parts, at = _chunks(stream, at)
            yield replace(message, body=b"".join(parts), chunks=tuple(map(len, parts)))
        else:
            body, at = _exactly(stream, at, int(message.header("content-length") or 0))
            yield replace(message, body=body)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise Malformed(f"no header: {line!r}")
    return name, value.strip()


def _chunks(stream: bytes, at: int) -> tuple[list[bytes], int]:
    parts = []
    while True:
        size_line, at = _until(stream, at, b"\r\n")
        chunk, at = _exactly(stream, at, int(size_line.split(b";")[0], 16))
        # After the last chunk the same line end closes an empty trailer.
        _, at = _until(stream, at, b"\r\n")
        if not chunk:
            return parts, at
        parts.append(chunk)


def _until(stream: bytes, at: int, mark: bytes) -> tuple[bytes, int]:
    end = stream.find(mark, at)
    if end < 0:
        raise Malformed(f"ends before {mark!r}: {stream[at : at + 80]!r}")
    return stream[at:end], end + len(mark)


def _exactly(stream: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(stream):
        raise Malformed(f"{at + size - len(stream)} bytes short of its length")
    return stream[at : at + size], at + size
