"""Waits for a state by asking again and again, if nothing announces it."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable

TIMEOUT_SECONDS = 30
POLL_SECONDS = 0.01


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {TIMEOUT_SECONDS} s in vain: {what}")
        pause()


def wait_until_it_listens(process: subprocess.Popen, address: tuple[str, int]) -> None:
    def listens() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with {process.returncode} instead of listening on {address}")
        try:
            socket.create_connection(address).close()
        except ConnectionRefusedError:
            return False
        return True

    wait_until(listens, f"{process.args[0]} does not listen on {address}")


def pause() -> None:
    threading.Event().wait(POLL_SECONDS)
