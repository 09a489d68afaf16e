"""Reads the TCP segment of an IP packet."""

from __future__ import annotations

import struct
from dataclasses import dataclass

TCP = 6
SYN = 0x02


@dataclass(frozen=True)
class Segment:
    source: tuple[bytes, int]
    destination: tuple[bytes, int]
    sequence: int
    syn: bool
    payload: bytes


def segment(packet: bytes) -> Segment | None:
    """None if the packet is not TCP over IPv4, or over IPv6 without extension headers."""
    version = packet[0] >> 4
    if version == 4 and packet[9] == TCP:
        # The total length is 0 when the kernel passes on more than 64 KiB at once.
        end = struct.unpack("!H", packet[2:4])[0] or len(packet)
        return _tcp(packet[12:16], packet[16:20], packet[(packet[0] & 15) * 4 : end])
    if version == 6 and packet[6] == TCP:
        end = 40 + struct.unpack("!H", packet[4:6])[0]
        return _tcp(packet[8:24], packet[24:40], packet[40 : end if end > 40 else len(packet)])
    return None


def _tcp(source: bytes, destination: bytes, tcp: bytes) -> Segment:
    source_port, destination_port, sequence = struct.unpack("!HHI", tcp[:8])
    return Segment(
        (source, source_port),
        (destination, destination_port),
        sequence,
        bool(tcp[13] & SYN),
        tcp[(tcp[12] >> 4) * 4 :],
    )
