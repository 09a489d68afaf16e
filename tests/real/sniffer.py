"""Records an agent's posts without a proxy between it and the extension."""

from __future__ import annotations

import select
import socket
import struct
import threading

from packet import Segment, segment

# Constants of <linux/if_packet.h>, <linux/if_ether.h> and <asm/socket.h> that Python does not name.
ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_STATISTICS = 6
SO_RCVBUFFORCE = 33

BUFFER = 64 * 1024 * 1024
LARGEST_PACKET = 512 * 1024


class Sniffer:
    """Records the segments from and to some ports on the loopback interface of this network namespace."""

    def __init__(self, *ports: int) -> None:
        self._ports = set(ports)
        self._segments: list[Segment] = []
        # SOCK_DGRAM leaves the link header out.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.bind(("lo", ETH_P_ALL))
        self._enlarge_buffer()
        self._socket.setblocking(False)
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._record, daemon=True)
        self._thread.start()

    def finish(self) -> list[Segment]:
        """Call this when both ends are closed. On loopback, all their segments are in the socket's queue by then."""
        self._stop.close()
        self._thread.join()
        _, dropped = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        if dropped:
            raise RuntimeError(f"the capture lost {dropped} packets")
        return self._segments

    def _record(self) -> None:
        ending = False
        while not ending:
            readable, _, _ = select.select([self._socket, self._stopped], [], [])
            ending = self._stopped in readable
            self._drain()

    def _drain(self) -> None:
        while True:
            try:
                packet, (_, _, kind, *_) = self._socket.recvfrom(LARGEST_PACKET)
            except BlockingIOError:
                return
            # Loopback shows each packet twice, outgoing and incoming.
            found = segment(packet) if kind == socket.PACKET_OUTGOING else None
            if found and self._ports & {found.source[1], found.destination[1]}:
                self._segments.append(found)

    def _enlarge_buffer(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except OSError:
            # In a user namespace the machine's limit applies.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
