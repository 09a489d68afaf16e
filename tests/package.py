#!/usr/bin/env python3
"""Checks the results of build.sh: the layers' zips and the binaries in them.

    ./build.sh && tests/package.py                  the zips against layer.zip.spec
    tests/package.py --run                          and start each binary (the foreign one under qemu)
    tests/package.py --rebuild [x86_64 | arm64]     and build again, elsewhere: the same bytes must come out

It reads the spec and the ELF headers on its own, so that a mistake in build.sh is not repeated here.
"""

import argparse
import hashlib
import os
import platform
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import zipfile
from bisect import bisect_left
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYER = ROOT / "target" / "layer"
NAME, WRAPPER = "thundra-lambda-extension", "thundra_wrapper"
MACHINES = {"x86_64": 62, "arm64": 183}  # e_machine
FUNCTIONS = ROOT / "tests" / "layout" / "functions.ld"
LAID_OUT_MIN = 0.95  # Of the functions in that file. A renamed function loses its place without a word from the linker.
PT_DYNAMIC, PT_INTERP, DT_NULL, DT_NEEDED = 2, 3, 0, 1

failures = 0


def check(what, passed, detail=""):
    global failures
    failures += not passed
    print(f"{'ok    ' if passed else 'FAILED'}  {what}{f': {detail}' if detail and not passed else ''}", flush=True)


def zip_of(arch, root=ROOT):
    return root / "target" / "layer" / f"{NAME}-{arch}.zip"


def spec(arch):
    """The files that the layer must hold: path in the zip -> (mode, source)."""
    files = {}
    for line in (ROOT / "layer.zip.spec").read_text().splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            mode, path, source = line.split()
            files[path] = int(mode, 8), ROOT / source.replace("{arch}", arch)
    return files


def check_zip(arch):
    files = spec(arch)
    with zipfile.ZipFile(zip_of(arch)) as layer:
        entries = layer.infolist()
        names = [entry.filename for entry in entries]
        check(f"{arch}: the zip holds what the spec lists, sorted", names == sorted(files), f"{names}")
        for entry in entries:
            mode, source = files.get(entry.filename, (None, None))
            if source is None:
                continue
            found = entry.external_attr >> 16
            check(f"{arch}: {entry.filename} has mode {mode:04o}", found == stat.S_IFREG | mode, f"{found:o}")
            check(f"{arch}: {entry.filename} is marked as made by Unix", entry.create_system == 3)
            check(f"{arch}: {entry.filename} is dated 1980", entry.date_time == (1980, 1, 1, 0, 0, 0))
            check(f"{arch}: {entry.filename} has the bytes of its source", layer.read(entry) == source.read_bytes())
        # Lambda executes each file directly in extensions/, even a hidden one.
        executed = [name for name in names if name.startswith("extensions/")]
        check(f"{arch}: extensions/ holds the extension alone", executed == [f"extensions/{NAME}"], f"{executed}")
        for name in (f"extensions/{NAME}", WRAPPER):
            check_elf(f"{arch}: {name}", MACHINES[arch], layer.read(name))


def check_elf(what, expected_machine, elf):
    check(f"{what}: a 64-bit little-endian ELF file", elf[:6] == b"\x7fELF\x02\x01")
    machine, = struct.unpack_from("<H", elf, 18)
    check(f"{what}: for this architecture", machine == expected_machine, f"e_machine is {machine}")
    table, = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    segments = [struct.unpack_from("<IIQQQQ", elf, table + i * size) for i in range(count)]
    check(f"{what}: no interpreter", all(kind != PT_INTERP for kind, *_ in segments))
    tags = set()
    for kind, _, offset, _, _, length in segments:
        if kind == PT_DYNAMIC:
            tags |= {tag for tag, _ in struct.iter_unpack("<QQ", elf[offset : offset + length])}
    check(f"{what}: needs no library", DT_NEEDED not in tags)
    # The extension survives panics in threads of libraries. It needs unwinding tables for that.
    check(f"{what}: can unwind", any(kind == 0x6474E550 for kind, *_ in segments), "no GNU_EH_FRAME")


def check_layout(arch):
    """The functions whose order is fixed are in the binary."""
    listing = subprocess.run(["readelf", "--symbols", "--wide", LAYER / arch / f"{NAME}.symbols"], check=True,
                             capture_output=True, text=True).stdout
    names = sorted(set(re.findall(r" FUNC .* (\S+)$", listing, re.MULTILINE)))
    patterns = re.findall(r"^ +\*\(\.text\*\.(\S+)\)$", FUNCTIONS.read_text(), re.MULTILINE)
    missing = [it for it in patterns if not matches_any(it, names)]
    check(f"{arch}: it has {LAID_OUT_MIN:.0%} of the functions in tests/layout/functions.ld",
          patterns and len(missing) <= (1 - LAID_OUT_MIN) * len(patterns),
          f"{len(missing)} of {len(patterns)} are missing, such as {missing[:3]}; run ./build.sh --layout")


def matches_any(pattern, names):
    prefix = pattern.split("*")[0]
    for name in names[bisect_left(names, prefix) :]:
        if not name.startswith(prefix):
            return False
        if fnmatchcase(name, pattern):
            return True
    return False


def check_refusals():
    """build.sh refuses a spec that Lambda could not use, before the build."""
    good = "0755 extensions/a LICENSE\n"
    bad = {
        "a file in extensions/ that is not executable": good + "0644 extensions/LICENSE LICENSE\n",
        "a file in extensions/ that only its owner can execute": "0700 extensions/a LICENSE\n",
        "a path twice": good + good,
        "a path out of the layer": good + "0644 ../LICENSE LICENSE\n",
        "a line without source": good + "0644 LICENSE\n",
        "no file": "# nothing\n",
    }
    for what, text in bad.items():
        with tempfile.TemporaryDirectory() as directory:
            shutil.copy(ROOT / "build.sh", directory)
            Path(directory, "layer.zip.spec").write_text(text)
            done = subprocess.run([Path(directory, "build.sh")], capture_output=True, text=True, timeout=600)
            refused = done.returncode == 1 and "layer.zip.spec" in done.stderr
            check(f"build.sh refuses a spec with {what}", refused, done.stderr)


def check_run(arch):
    """The binary starts, and ends by itself without Lambda."""
    native = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine()) == arch
    emulator = [] if native else [f"qemu-{'aarch64' if arch == 'arm64' else arch}-static"]
    directory = LAYER / arch
    started = emulator + [str(directory / WRAPPER), "/bin/echo", "a  b", ""]
    try:
        done = subprocess.run(started, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        check(f"{arch}: the wrapper starts", False, f"{error}")
    else:
        check(f"{arch}: the wrapper becomes what it is to start", done.stdout == "a  b \n", f"{done}")
    command = emulator + [str(directory / NAME)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        check(f"{arch}: starts", False, f"{error}")
    else:
        # A signal is a negative number here, or 128 and more from an emulator.
        check(f"{arch}: starts", 0 <= done.returncode < 126, f"ended with {done.returncode}: {done.stderr}")


def check_rebuild(archs):
    """A copy of the checkout in another directory gives the same bytes."""
    with tempfile.TemporaryDirectory(prefix="another checkout ") as directory:
        copy = Path(directory, "a", "copy")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("target", ".git"))
        (copy / "target").mkdir()
        # The copy uses the same zig, which is large and has a fixed version. It compiles everything again.
        (copy / "target" / "zig").symlink_to(ROOT / "target" / "zig")
        for arch in archs:
            log = copy / f"build-{arch}.log"
            with log.open("w") as output:
                done = subprocess.run([copy / "build.sh", arch], stdout=output, stderr=subprocess.STDOUT)
            check(f"{arch}: builds in another directory", done.returncode == 0, log.read_text()[-2000:])
            if done.returncode == 0:
                first, second = (hashlib.sha256(zip_of(arch, at).read_bytes()).hexdigest() for at in (ROOT, copy))
                check(f"{arch}: built twice, the same bytes", first == second, f"{first} and {second}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archs", metavar="ARCH", nargs="*", help="x86_64 or arm64; both unless told")
    parser.add_argument("--run", action="store_true", help="start each binary")
    parser.add_argument("--rebuild", action="store_true", help="build again in another directory; takes minutes")
    options = parser.parse_args()
    archs = options.archs or list(MACHINES)
    if unknown := set(archs) - set(MACHINES):
        parser.error(f"unknown architecture: {', '.join(sorted(unknown))}")
    if absent := [arch for arch in archs if not zip_of(arch).exists()]:
        sys.exit(f"no layer for {', '.join(absent)}: run ./build.sh first")
    for arch in archs:
        check_zip(arch)
        if arch == "x86_64":  # Lists of functions are made there; some are of one processor alone.
            check_layout(arch)
        if options.run:
            check_run(arch)
    check_refusals()
    if options.rebuild:
        check_rebuild(archs)
    print(f"{failures} failed" if failures else "all passed")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
