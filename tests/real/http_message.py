"""HTTP/1.1 messages out of the bytes of one direction of a connection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


class Malformed(Exception):
    """The bytes end too early or are no HTTP."""


@dataclass(frozen=True)
class Message:
    start: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


def messages(stream: bytes) -> Iterator[Message]:
    at = 0
    while at < len(stream):
        head, at = _until(stream, at, b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = tuple(_header(line) for line in lines)
        body, at = _body(stream, at, Message(start, headers, b""))
        yield Message(start, headers, body)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise Malformed(f"no header: {line!r}")
    return name, value.strip()


def _body(stream: bytes, at: int, head: Message) -> tuple[bytes, int]:
    if (head.header("transfer-encoding") or "").lower() == "chunked":
        return _chunks(stream, at)
    return _exactly(stream, at, int(head.header("content-length") or 0))


def _chunks(stream: bytes, at: int) -> tuple[bytes, int]:
    body = b""
    while True:
        size_line, at = _until(stream, at, b"\r\n")
        chunk, at = _exactly(stream, at, int(size_line.split(b";")[0], 16))
        # After the last chunk the same line end closes an empty trailer.
        _, at = _until(stream, at, b"\r\n")
        body += chunk
        if not chunk:
            return body, at


def _until(stream: bytes, at: int, mark: bytes) -> tuple[bytes, int]:
    end = stream.find(mark, at)
    if end < 0:
        raise Malformed(f"ends before {mark!r}: {stream[at : at + 80]!r}")
    return stream[at:end], end + len(mark)


def _exactly(stream: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(stream):
        raise Malformed(f"{at + size - len(stream)} bytes short of its length")
    return stream[at : at + size], at + size
