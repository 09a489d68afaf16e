#!/usr/bin/env python3
"""Runs real agents, in AWS's own runtime clients, under AWS's own emulator, with the real binary.

  run.py            all scenarios; the last line counts those that passed
  run.py demo       shows one function with the Python agent
  run.py costs      measures the cost of spans with OpenTelemetry's SDKs, by exporter
  run.py install    only fetches the agents, SDKs and emulators, which all others do when they need them
  run.py mistakes   measures the cost of mistakes in the configuration, and checks that the log names them

It needs Linux, Rust and Python 3.9 or newer. The scenarios with Node.js also need npm, gcc, g++ and make.
The scenarios with the wrapper also need autoconf, automake and libtool.
The first run fetches everything else into target/real, at pinned versions.
"""

from __future__ import annotations

import argparse
import enum
import os
import sys
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runner import Runner, tails
from costs import Costs
from demo import Demo
from functions import COSTS, PYTHON_COMPOSITE
from mistake_checks import MistakeChecks
from scenarios import SCENARIOS, Scenario
from terminal import Terminal
from test_run import Broken
from setup_cache import Missing, SetupCache

CHECKOUT = Path(__file__).resolve().parent.parent.parent


class Outcome(enum.Enum):
    PASSED = enum.auto()
    FAILED = enum.auto()
    NOT_RUN = enum.auto()


def main() -> int:
    options = _options()
    # The emulator's unprivileged user must be able to read these files.
    os.umask(0o022)
    terminal = Terminal()
    try:
        terminal.title("Set-up, kept in target/")
        runner = Runner(SetupCache(CHECKOUT, terminal), options.extension, options.local_lambda)
        if options.instead == "demo":
            good = _demo(runner, terminal)
        elif options.instead == "install":
            good = _install(runner)
        elif options.instead == "costs":
            good = _costs(runner, terminal, options.invocations or 40)
        elif options.instead == "mistakes":
            good = _mistakes(runner, terminal)
        else:
            good = _all_pass(runner, terminal, options)
        return 0 if good else 1
    except (Missing, Broken) as problem:
        print(f"\ncannot continue: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _demo(runner: Runner, terminal: Terminal) -> bool:
    runner.install(PYTHON_COMPOSITE)
    return Demo(runner, terminal).run()


def _costs(runner: Runner, terminal: Terminal, invocations: int) -> bool:
    _install_sdks(runner)
    return Costs(runner, terminal, invocations).run()


def _mistakes(runner: Runner, terminal: Terminal) -> bool:
    _install_sdks(runner)
    return MistakeChecks(runner, terminal).run()


def _install(runner: Runner) -> bool:
    """What cannot be installed is reported by the scenario that needs it."""
    for scenario in SCENARIOS:
        _missing(runner, scenario)
    _install_sdks(runner)
    return True


def _install_sdks(runner: Runner) -> None:
    for protocols in COSTS.values():
        next(iter(protocols.values())).client.install(runner.setup)


def _all_pass(runner: Runner, terminal: Terminal, options: argparse.Namespace) -> bool:
    chosen = [scenario for scenario in SCENARIOS if not options.only or scenario.name in options.only]
    missing = {scenario.name: _missing(runner, scenario) for scenario in chosen}
    terminal.title("Scenarios")

    def play(scenario: Scenario) -> tuple[Outcome, list[str]]:
        if missing[scenario.name]:
            return Outcome.FAILED, [f"{terminal.mark(False)} {scenario.name:27} can't be set up: {missing[scenario.name]}"]
        if scenario.obstacle():
            return Outcome.NOT_RUN, [f"- {scenario.name:27} not run: {scenario.obstacle()}"]
        return _play(runner, terminal, scenario, options.keep)

    def shown(result: tuple[Outcome, list[str]]) -> Outcome:
        outcome, rows = result
        for row in rows:
            terminal.row(row)
        return outcome

    # Several run at a time, because each mostly starts or waits. Each has namespaces of its own.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = [shown(result) for result in pool.map(play, chosen)]
    failed = [it for it, outcome in zip(chosen, outcomes, strict=True) if outcome == Outcome.FAILED and not missing[it.name]]
    if failed:
        # Some wait for what a slow process of another scenario delays: a merged request, an answer before a freeze.
        terminal.title("Failed scenarios again, one at a time: this counts")
    again = {it.name: shown(_play(runner, terminal, it, options.keep)) for it in failed}
    counts = Counter(again.get(it.name, outcome) for it, outcome in zip(chosen, outcomes, strict=True))
    print(f"\n{counts[Outcome.PASSED]} passed, {counts[Outcome.FAILED]} failed")
    return not counts[Outcome.FAILED]


def _missing(runner: Runner, scenario: Scenario) -> str:
    """If one agent cannot be installed, the others are tested anyway."""
    try:
        runner.install(scenario.function, scenario.with_rotel)
    except Missing as missing:
        return str(missing)
    return ""


def _play(runner: Runner, terminal: Terminal, scenario: Scenario, keep: bool) -> tuple[Outcome, list[str]]:
    """Whether it passed, and rows for the user."""
    with runner.folder(scenario.name) as folder:
        try:
            findings = scenario.run(runner, scenario.function, folder.path)
        except Broken as broken:
            findings = [str(broken)]
        except Exception:
            # An unexpected error of a scenario is a finding too. The others continue, and its logs are kept.
            findings = traceback.format_exc().splitlines()
        mark = terminal.mark(not findings)
        rows = [f"{mark} {scenario.name:27} {scenario.function.agent}: {scenario.sentence}"]
        rows += [f"      {finding}" for finding in findings]
        if findings or keep:
            rows.append(f"      logs: {folder.keep()}")
        if findings:
            rows += ["      " + terminal.dim(line) for line in tails(folder.path)]
        return Outcome.FAILED if findings else Outcome.PASSED, rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("instead", nargs="?", choices=["demo", "install", "costs", "mistakes"], help="run this instead of the scenarios, see above")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--extension", type=_file, help="test this binary instead of building one")
    parser.add_argument("--local-lambda", type=_file, help="use this program as the remote instead of building one")
    parser.add_argument("--keep", action="store_true", help="also keep logs of passed scenarios: target/real/logs")
    parser.add_argument("--invocations", type=int, metavar="N", help="measured invocations of each row of `costs`, 2 or more (40)")
    options = parser.parse_args()
    if options.instead and (options.only or options.keep):
        parser.error(f"{options.instead} has no scenarios for --only and --keep")
    if options.invocations is not None and (options.instead != "costs" or options.invocations < 2):
        parser.error("--invocations is for costs, whose quartiles take 2 or more")
    return options


def _file(name: str) -> Path:
    path = Path(name).resolve()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"no such file: {name}")
    return path


if __name__ == "__main__":
    sys.exit(main())
