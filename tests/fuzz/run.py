#!/usr/bin/env python3
"""Runs the fuzz targets for some time, from the seeds and the inputs of earlier runs.

    tests/fuzz/run.py                          each target for 15 s, as many at a time as there are cores
    tests/fuzz/run.py --seconds 600            each for ten minutes, as before a release
    tests/fuzz/run.py --seconds 3600 socket    one for an hour

It needs cargo-fuzz (`cargo install cargo-fuzz`) and a C++ compiler. It needs no nightly Rust, because it uses no
sanitizer: this crate has no unsafe code. It keeps a finding in target/fuzz/artifacts/TARGET. To repeat the finding,
give its file to target/fuzz/HOST/release/TARGET. tests/fuzz/properties.rs has the checks of the targets.
"""

import argparse
import os
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = ROOT / "target" / "fuzz"

# Longer inputs take longer and find little more. A recorded request has up to 20 kB.
MAX_LEN = {"socket": 32_768, "connection": 65_536, "array": 16_384, "backlog": 16_384}
MAX_LEN_DEFAULT = 4_096


def targets():
    manifest = tomllib.loads((HERE / "Cargo.toml").read_text())
    return [binary["name"] for binary in manifest["bin"]]


def check_versions():
    """Fuzzing uses the same versions of crates as the shipped binary."""
    def packages(lock):
        entries = tomllib.loads(lock.read_text())["package"]
        return {(entry["name"], entry["version"]) for entry in entries}
    shipped = packages(ROOT / "Cargo.lock")
    names = {name for name, _ in shipped}
    others = sorted(it for it in packages(HERE / "Cargo.lock") - shipped if it[0] in names)
    others = [it for it in others if it[0] != "thundra-lambda-extension"]
    if others:
        sys.exit(f"tests/fuzz/Cargo.lock has other versions than Cargo.lock: {others}")


def write_seeds():
    """Makes the inputs of targets that start from recorded requests of agents."""
    for number, capture in enumerate(sorted((ROOT / "tests" / "captures").rglob("*.http"))):
        whole = capture.read_bytes()
        head, body = whole.split(b"\r\n\r\n", 1)
        if b"Transfer-Encoding: chunked" in head:
            body = body.split(b"\r\n")[1]  # the first chunk; most bodies have only one
        line, *headers = head.split(b"\r\n")
        is_otlp, is_json = capture.parent.name == "otlp", b"application/json" in head.lower()
        kinds = (b"0", b"0", b"1") if not is_otlp else (b"9", b"9", b";") if is_json else (b"8", b"8", b":")
        seeds = {
            "socket": whole,
            "connection": b"\x07" + whole,
            "request": b"\n".join([b" ".join(line.split(b" ")[:2]), *headers]),
            **({"otlp": bytes([200, is_json]) + body} if is_otlp else {"array": bytes([3, 200]) + body}),
            "backlog": b"\x05\x00\x01\x0d\x05\xff" + b"\xff".join(kind + body for kind in kinds),
        }
        for target, seed in seeds.items():
            folder = OUT / "seeds" / target
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:02}").write_bytes(seed)


def build():
    environment = {**os.environ, "CARGO_TARGET_DIR": str(OUT)}
    command = ["cargo", "fuzz", "build", "--fuzz-dir", "tests/fuzz", "--sanitizer", "none"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    said = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return OUT / re.search(r"host: (\S+)", said)[1] / "release"


def run(binary, seconds):
    """Fuzzes one target, and prints the result."""
    target = binary.name
    corpus, artifacts = OUT / "corpus" / target, OUT / "artifacts" / target
    for folder in (corpus, artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    seeds = [it for it in (HERE / "seeds" / target, OUT / "seeds" / target) if it.is_dir()]
    command = [binary, corpus, *seeds, f"-max_total_time={seconds}", f"-artifact_prefix={artifacts}/",
               f"-max_len={MAX_LEN.get(target, MAX_LEN_DEFAULT)}", "-timeout=20", "-rss_limit_mb=1024",
               "-print_final_stats=1"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=OUT)
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    covered = re.findall(r"cov: (\d+)", done.stderr)
    inputs = int(executed[1]) if executed else 0
    found = done.returncode != 0 or inputs == 0
    told = (f"{target:12} {inputs:12,} inputs {covered[-1] if covered else '?':>7} places covered   "
            f"{'FINDING' if found else 'no finding'}\n")
    # One print, because other targets print at the same time.
    sys.stdout.write(told + ("\n".join(done.stderr.splitlines()[-40:]) + "\n" if found else ""))
    sys.stdout.flush()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=15, metavar="S", help="seconds of each target (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), metavar="N", help="targets at the same time (default: %(default)s)")
    parser.add_argument("target", nargs="*", choices=[[], *targets()], help=", ".join(targets()))
    arguments = parser.parse_args()
    check_versions()
    write_seeds()
    binaries = build()
    with ThreadPoolExecutor(arguments.at_once) as pool:
        found = list(pool.map(lambda it: run(binaries / it, arguments.seconds), arguments.target or targets()))
    sys.exit(f"{sum(found)} of {len(found)} targets have a finding" if any(found) else 0)


if __name__ == "__main__":
    main()
