"""The wrapper switches on the agent of a function that does not call the agent itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from runner import Runner
from events import EVENTS
from checks import (
    Findings,
    all_delivered,
    all_reported,
    ended_well,
    nothing_reported,
    results_good,
    results_unchanged,
    silent,
    unless,
)
from functions import Function
from test_run import Record, TestRun

WRAPPED = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/thundra_wrapper"}


def one_variable_switches_the_agent_on(runner: Runner, function: Function, logs: Path) -> Findings:
    without, wrapped = _both(runner, function, logs)
    return [
        *nothing_reported(without),
        *_results_unchanged(without, wrapped),
        *all_reported(wrapped, function),
        *all_delivered(wrapped),
        *silent(wrapped),
        *ended_well(wrapped),
        *_logged(wrapped, []),
    ]


def an_agent_that_needs_an_older_python_is_left_out(runner: Runner, function: Function, logs: Path) -> Findings:
    without, wrapped = _both(runner, function, logs)
    return [
        *results_unchanged(without, wrapped),
        *nothing_reported(wrapped),
        *ended_well(wrapped),
        *_logged(wrapped, ["imports imp"]),
    ]


def a_module_that_hides_what_the_agent_imports_costs_the_agent_only(
    runner: Runner, function: Function, logs: Path
) -> Findings:
    if sys.version_info >= (3, 12):
        return an_agent_that_needs_an_older_python_is_left_out(runner, function, logs)
    without, wrapped = _both(runner, function, logs, {"requests.py": "raise RuntimeError('not the package')\n"})
    return [
        *results_unchanged(without, wrapped),
        *nothing_reported(wrapped),
        *ended_well(wrapped),
        *_logged(wrapped, ["in place of the package requests"]),
    ]


on_python = (
    one_variable_switches_the_agent_on
    if sys.version_info < (3, 12)
    else an_agent_that_needs_an_older_python_is_left_out
)


def _both(
    runner: Runner, function: Function, logs: Path, files: Mapping[str, str] | None = None
) -> tuple[Record, Record]:
    def execute(name: str, environment: dict) -> Record:
        run = TestRun(
            function, EVENTS, runner.extension, environment=environment, files=files or {}, wrapper=runner.wrapper
        )
        return runner.execute(run, logs / name)

    return execute("without", {}), execute("wrapped", WRAPPED)


def _results_unchanged(without: Record, wrapped: Record) -> Findings:
    """Ignores the stacks of errors, because they contain the agent's own calls."""
    pairs = zip(without.results(), wrapped.results())
    changes = (
        f"without the wrapper {was[0]} {was[1]:.200}, now {now[0]} {now[1]:.200}"
        for was, now in pairs
        if was[0] != now[0] or _without_stack(was[1]) != _without_stack(now[1])
    )
    return [*changes, *results_good(without), *results_good(wrapped)]


def _without_stack(result: str) -> dict:
    return {name: value for name, value in json.loads(result).items() if name not in ("stackTrace", "trace")}


def _logged(record: Record, parts: list[str]) -> Findings:
    """The wrapper logged one line for each of these parts."""
    lines = [line for line in record.log("function.log").splitlines() if line.startswith("[thundra_wrapper]")]
    good = len(lines) == len(parts) and all(part in line for part, line in zip(parts, lines))
    return unless(good, f"the wrapper logged {lines}")
