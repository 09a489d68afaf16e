"""Private mount, network and process namespaces: all effects of a run end with the run."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import stat
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from setup_cache import Missing, need

# Constants of <sys/mount.h>, <linux/sockios.h> and <linux/if.h>.
MS_BIND = 4096
MS_REC = 16384
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1


def command(inner: Sequence[str]) -> list[str]:
    """Runs `inner` as the first process of new namespaces. When it ends, all others end too."""
    unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        unshare.append("--map-root-user")
    return [*unshare, "--", *inner]


def check() -> None:
    need("unshare")
    tried = subprocess.run(
        command(["true"]), check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    if tried.returncode != 0:
        who = "root is not allowed to make namespaces here" if os.geteuid() == 0 else "not root, and no user namespaces"
        raise Missing(f"{who}: {tried.stdout.strip()}")


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def empty_directories(keep: Iterable[Path]) -> None:
    """Hides /opt, /var, /tmp, and directories that other users may not enter, by empty directories. `keep` stays visible.

    The emulator needs its own /opt and /var/task. In its Managed-Instances mode, function and extension run as
    another user. Without this, that user could not reach a checkout or a Python below /root.
    """
    masks = _masks(keep)
    # An open descriptor still reaches the directory that is hidden at its path.
    held = {path: os.open(path, os.O_PATH) for path in keep if any(_below(path, mask) for mask in masks)}
    for mask in masks:
        _mount("tmpfs", mask, "tmpfs", 0, "mode=1777" if mask == Path("/tmp") else "mode=755")
    for path, descriptor in held.items():
        path.mkdir(parents=True, exist_ok=True)
        bind(Path(f"/proc/self/fd/{descriptor}"), path)


def bind(source: Path, target: Path) -> None:
    _mount(str(source), target, None, MS_BIND | MS_REC, None)


def _masks(keep: Iterable[Path]) -> list[Path]:
    masks = {Path("/opt"), Path("/var"), Path("/tmp")}
    for path in keep:
        masks.update(part for part in [path, *path.parents] if not part.stat().st_mode & stat.S_IXOTH)
    return [mask for mask in masks if not any(mask != other and _below(mask, other) for other in masks)]


def _below(path: Path, directory: Path) -> bool:
    return path == directory or directory in path.parents


def _mount(source: str, target: Path, kind: str | None, flags: int, options: str | None) -> None:
    words = [word.encode() if word else None for word in (source, str(target), kind, options)]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"mount on {target}")
