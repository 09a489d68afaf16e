"""Scenarios that compare AWS's emulator with local-lambda: a client sees no difference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runner import Runner
from events import EVENTS
from checks import Findings, all_delivered, all_reported, ended_well, registered_for, results_unchanged, silent, unless
from functions import Function
from comparison import NO_LINE, Difference, unexpected_differences
from test_run import Context, Record, TestRun

EXTENSIONS = Path(__file__).resolve().parent / "extensions"
MINIMAL = EXTENSIONS / "minimal.py"
RULE_BREAKER = EXTENSIONS / "rule_breaker.py"

CALLS = (
    {"order": 1},
    # More than the 2 kB up to which the daemon declares a length.
    {"order": 2, "note": "n" * 5_000},
    # More than the buffer of Go's HTTP server.
    {"order": 3, "note": "n" * 50_000},
    {"order": 4, "note": "Zoë, 東京 🚀"},
    {"order": 5, "refuse": True},
    {"order": 6},
)
# This includes a start after a reset, which may be slow on a busy machine.
RESET_SECONDS = 3
RESETS = ({"order": 1}, {"order": 2, "sleep_seconds": 30}, {"order": 3}, {"order": 4, "crash": True}, {"order": 5})
MISTAKES = tuple({"mistake": mistake} for mistake in ("twice", "error twice", "odd mode", "in chunks", "too large"))

CONTEXT = Context("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1", '{"custom":{"table":"7"}}')
# The Python client reports the files of a traceback in the order of a set.
SETTLED = {"PYTHONHASHSEED": "0"}

# Section 9 of the Lambda contract, which local-lambda follows, lists the emulator's differences from Lambda. Only these
# may differ, and each must differ in the scenarios that expect it.
SPINDOWN = Difference("section 9, shutdown reasons: end of the execution environment", '(?<=")SandboxTerminated(?=")', '(?<=")spindown(?=")')
TIMEOUT = Difference("section 9, shutdown reasons: timeout", '(?<=")Timeout(?=")', '(?<=")timeout(?=")')
FAILURE = Difference("section 9, shutdown reasons: exit of the runtime", '(?<=")ReleaseFail(?=")', '(?<=")failure(?=")')
TIMED_OUT = Difference(
    "section 9, function status: the emulator reports a timeout to its caller in plain words",
    r"^Task timed out after 3\.00 seconds$",
    r'^\{"errorType":"Sandbox\.Timedout","errorMessage":"RequestId: <id> Error: Task timed out after 3\.00 seconds"\}$',
)
# By section 1.2, the parser chooses the text.
PARSER = Difference(
    "section 1.2, the parser's text",
    '(?<="errorMessage":").*(?=","errorType":"InvalidRequestFormat")',
    '(?<="errorMessage":").*(?=","errorType":"InvalidRequestFormat")',
)
# Section 5 requires the header. The emulator passes the trace id only to extensions.
TRACE = Difference(
    "section 5, the trace id for the runtime", f"^{NO_LINE}$", f"^Lambda-Runtime-Trace-Id: {CONTEXT.trace_id}$"
)


def calls_and_answers_equal_the_emulators(runner: Runner, function: Function, logs: Path) -> Findings:
    ordinary = TestRun(function, CALLS, MINIMAL, installed_as="minimal", environment=SETTLED, context=CONTEXT)
    resets = TestRun(function, RESETS, MINIMAL, installed_as="minimal", timeout_seconds=RESET_SECONDS)
    return [
        *_compare(runner, ordinary, logs / "calls", SPINDOWN, TRACE),
        *_compare(runner, resets, logs / "resets", SPINDOWN, TIMEOUT, FAILURE, TIMED_OUT),
    ]


def mistakes_are_refused_as_by_the_emulator(runner: Runner, function: Function, logs: Path) -> Findings:
    run = TestRun(function, MISTAKES, RULE_BREAKER, installed_as="rule-breaker")
    return _compare(runner, run, logs / "mistakes", SPINDOWN, FAILURE, PARSER)


def every_report_arrives_once_on_the_local_lambda_too(runner: Runner, function: Function, logs: Path) -> Findings:
    alone = runner.execute(TestRun(function, EVENTS, None, on_local_lambda=True), logs / "alone")
    record = runner.execute(TestRun(function, EVENTS, runner.extension, on_local_lambda=True), logs / "extended")
    return [
        *registered_for(["INVOKE", "SHUTDOWN"], record),
        *results_unchanged(alone, record),
        *all_reported(record, function),
        *all_delivered(record),
        *silent(record),
        *ended_well(record),
        *_asked_to_end(record),
    ]


def _compare(runner: Runner, run: TestRun, logs: Path, *allowed: Difference) -> Findings:
    emulator = runner.execute(run, Path(f"{logs}-emulator"))
    local_lambda = runner.execute(replace(run, on_local_lambda=True), Path(f"{logs}-local-lambda"))
    exits, local_lambda_exits = emulator.extension_exits(), local_lambda.extension_exits()
    return [
        *(f"{logs.name}: {finding}" for finding in unexpected_differences(emulator, local_lambda, allowed)),
        *unless(exits == local_lambda_exits, f"extensions ended with {exits} under the emulator, with {local_lambda_exits} here"),
    ]


def _asked_to_end(record: Record) -> Findings:
    """The runtime got SIGTERM, and ended by itself."""
    fates = [it for it in record.shutdown["processes"] if it["process"] == "runtime"]
    good = [it for it in fates if it["told"] and not it["killed"]]
    return unless(good, f"the runtime did not end by SIGTERM: {fates}")
