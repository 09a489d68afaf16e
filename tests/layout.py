#!/usr/bin/env python3
"""Writes the order of functions in the shipped binary: those that a start runs, then those that one
with a remote for OTLP runs, then those that a report runs, then all others, so that less of the file is read and resident.

    ./build.sh --layout            builds a binary with symbols, runs this on it, writes src/layout.ld
    tests/layout.py BINARY         BINARY: an extension with its symbols

It runs the extension in the sandbox under valgrind's callgrind, and prints a linker script. Function
names in it are patterns: a compiler of another version gives the same function another hash.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SANDBOX = ["cargo", "run", "--quiet", "--release", "--locked", "--manifest-path", str(ROOT / "Cargo.toml"),
           "-p", "sandbox", "--"]
# That command has built it when it is needed.
SANDBOX_ITSELF = ROOT / "target" / "release" / "sandbox"
# Under valgrind all takes longer.
LIMITS = ["--time-limits-scale", "20", "--timeout", "60s", "--user", "own"]
HEAD = """\
/* Which functions of the binary lie side by side: first those of a start and an invocation without a
   report, then those that a report needs, TLS among them. The rest stays where the linker puts it.
   Written by `./build.sh --layout`; what it saves is in docs/performance.md. */
SECTIONS {
  .text : {
    *crt1.o(.text) *libc.a:*(.text)
"""
TAIL = """\
    *(.text .text.*)
  }
} INSERT AFTER .rodata;
"""


def executed(binary: Path, directory: Path, agent: list, of_remotes: bool = True, of_otlp: bool = False) -> set:
    """The functions that run in the extension's life beside an agent, and a remote over TLS that it is
    told of, for OTLP too or not."""
    (there := directory / f"{len(list(directory.iterdir()))}").mkdir()
    remote = subprocess.Popen([*SANDBOX, "remote", "--tls", "--dir", there / "remote"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
    listening = json.loads(remote.stdout.readline())
    variables = {"THUNDRA_APIKEY": "a-key"}
    if of_otlp:
        variables["THUNDRA_EXTENSION_OTLP_ENDPOINT"] = listening["url"].removesuffix("/v1")
    if of_remotes:
        variables |= {"SSL_CERT_FILE": listening["ca"], "THUNDRA_EXTENSION_COLLECTOR_URL": listening["url"],
                      "THUNDRA_EXTENSION_PORT": "3333", "THUNDRA_EXTENSION_LOG_LEVEL": "warn"}
    options = [word for it in variables.items() for word in ("--env", "=".join(it))]
    runner = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={there / 'profile'}",
              "--show-below-main=yes", "--demangle=no", "--compress-strings=no", "--compress-pos=no"]
    command = [*SANDBOX, "run", "--extension", binary, *LIMITS, *options, *agent]
    run = subprocess.run(command, env=os.environ | {"SANDBOX_RUNNER": " ".join(runner)},
                         stdout=subprocess.PIPE, encoding="utf-8", check=False)
    remote.stdin.close()
    remote.wait(10)
    if run.returncode or not (there / "profile").exists():
        sys.exit(f"layout.py: the extension did not live well under valgrind:\n{run.stdout}")
    return set(re.findall(r"^c?fn=([\w.$]+)$", (there / "profile").read_text(), re.MULTILINE))


# What runs at each start and callgrind does not tell of: a thread's life that is not over at the end,
# and what of the C library has a section of its own.
UNTOLD = (r"17serve_when_called0.*call_once", r"^strcmp$")


def other_names(binary: Path) -> dict:
    """All names of the function that has this one: a section has but one of them."""
    listing = subprocess.run(["nm", binary], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    symbols = [line.split() for line in listing.splitlines()]
    at = defaultdict(list)
    for address, kind, name in (it for it in symbols if len(it) == 3):
        if kind in "tTwW":
            at[address].append(name)
    return {name: names for names in at.values() for name in names}


def pattern(name: str) -> str:
    """A pattern for a function's section, which is `.text.unlikely.…` where the compiler knows it as
    rare. What it counts anew in each build is left open."""
    name = re.sub(r"Cs[0-9A-Za-z]+_(?=\d)", "Cs*_", name)
    name = re.sub(r"(?:[.]llvm)?[.]\d+$", "*", name)
    return f"    *(.text*.{name})\n"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if not shutil.which("valgrind"):
        sys.exit("layout.py: valgrind is missing; on Debian, as root: apt-get install valgrind")
    binary = Path(sys.argv[1]).resolve()
    names = other_names(binary)
    with tempfile.TemporaryDirectory() as directory:
        silent = ["--event", '{"reports": 0}', "--invocations", "20"]
        start = executed(binary, Path(directory), silent)
        start |= executed(binary, Path(directory), silent, of_remotes=False)
        report = executed(binary, Path(directory), ["--invocations", "20"])
        otel = ["--invocations", "20", "--", SANDBOX_ITSELF, "function", "--agent", "otel-python"]
        report |= executed(binary, Path(directory), otel, of_otlp=True)
        otlp = executed(binary, Path(directory), silent, of_otlp=True)
    for function in UNTOLD:
        if not (found := {name for name in names if re.search(function, name)}):
            sys.exit(f"layout.py: no function has the name {function}, which runs at each start")
        start |= found
    listed = set()
    print(HEAD, end="")
    for group in (start, otlp, report):
        patterns = {pattern(name) for it in group for name in names.get(it, [])} - listed
        print(*sorted(patterns), sep="", end="")
        listed |= patterns
    print(TAIL, end="")


if __name__ == "__main__":
    main()
