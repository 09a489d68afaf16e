"""Scenarios with the SDKs of OpenTelemetry. Each of their signals must arrive."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import telemetry
from runner import Runner
from events import EVENTS, MANY
from checks import Findings, ended_well, registered_for, results_unchanged, some_were_merged, unless
from functions import API_KEY, KEY, SIGNALS, Function
from report import Report, differences
from test_run import Broken, Record, TestRun

# At this level the extension logs its last line.
INFO = {"THUNDRA_EXTENSION_LOG_LEVEL": "info"}
DEBUG = {"THUNDRA_EXTENSION_LOG_LEVEL": "debug"}
# At level debug, a line with this text reports each delivered request.
DELIVERED = "in one request"
SHUTTING_DOWN = "shutting down"
OUTAGE = ["cannot deliver to http", " is back"]

REFUSED = 2
REFUSING = ("--answer", "503") * REFUSED + ("--answer", "200")
UNREACHABLE = ("--accept", "reset") * REFUSED + ("--accept", "serve")
# Longer than an invocation, and short enough that the remote answers all requests one by one before SHUTDOWN ends.
LATENCY_MILLISECONDS = 60
SLOW = ("--latency", f"{LATENCY_MILLISECONDS}ms")
# A freeze is longer than an answer takes, so answers come within it.
FREEZE = "150ms"
# The first invocation loads the SDK and may see three answers. Each other invocation sees at most one.
FROZEN = MANY[:7]

HANGING = ("--answer", "hang")
SMALL = {"THUNDRA_EXTENSION_BUFFER": "64KiB"}
# No SDK tries again after this answer. One of the exports is too large for that buffer in any case.
FULL = "HTTP/1.1 413 Content Too Large"


def each_export_arrives_once_as_if_sent_directly(runner: Runner, function: Function, logs: Path) -> Findings:
    direct = runner.execute(TestRun(function, EVENTS, None), logs / "direct")
    record = runner.execute(TestRun(function, EVENTS, runner.extension, environment=INFO), logs / "extended")
    read = runner.otlp_library.items
    return [
        *registered_for(["INVOKE", "SHUTDOWN"], record),
        *results_unchanged(direct, record),
        *_all_exported(record, function),
        *_arrived(record.posted, record.arrived),
        *(f"unexpected_differences the direct export: {it}" for it in telemetry.unexpected_differences(read(direct.arrived), read(record.arrived))),
        *_with_our_key(record),
        *_closed_with(record, []),
        *ended_well(record),
    ]


def another_receiver_reads_all_exports_despite_freezes_and_an_outage(
    runner: Runner, function: Function, logs: Path
) -> Findings:
    # The other scenario freezes in the middle of sends. Here rotel answers at once.
    early = TestRun(
        function, EVENTS, runner.extension, environment=INFO, rotel=runner.rotel, on_local_lambda=True, freeze=FREEZE
    )
    late = TestRun(function, EVENTS, runner.extension, environment=INFO, rotel=runner.rotel, rotel_after=OUTAGE[0])
    frozen, waited = runner.execute(early, logs / "freezes"), runner.execute(late, logs / "outage")
    read = runner.otlp_library.items
    return [
        *_was_frozen(frozen),
        *_closed_with(frozen, []),
        *_closed_with(waited, OUTAGE),
        *(
            finding
            for record in (frozen, waited)
            for finding in (
                *_all_exported(record, function),
                *telemetry.differences(read(record.posted), read(record.arrived)),
                *ended_well(record),
            )
        ),
    ]


def an_outage_only_delays_exports(runner: Runner, function: Function, logs: Path) -> Findings:
    def execute(name: str, script: tuple[str, ...]) -> Record:
        return runner.execute(TestRun(function, EVENTS, runner.extension, environment=INFO, script=script), logs / name)

    refused, unreachable = execute("refused", REFUSING), execute("unreachable", UNREACHABLE)
    is_plain = function.otlp[1] is None
    return [
        # Compressed bodies go alone.
        *(some_were_merged(unreachable) if is_plain else []),
        *_arrived(refused.posted, refused.arrived[REFUSED:]),
        *_arrived(unreachable.posted, unreachable.arrived),
        *(
            finding
            for record in (refused, unreachable)
            for finding in (*_all_exported(record, function), *_closed_with(record, OUTAGE), *ended_well(record))
        ),
    ]


def freezes_during_sends_lose_and_repeat_nothing(runner: Runner, function: Function, logs: Path) -> Findings:
    run = TestRun(function, FROZEN, runner.extension, environment=DEBUG, script=SLOW, on_local_lambda=True, freeze=FREEZE)
    record = runner.execute(run, logs / "extended")
    running, ending = _before_and_after_shutdown(record)
    # An invocation that is longer than an answer may see the answers of all its signals.
    uninterrupted = len(SIGNALS) * sum(it["milliseconds"] >= LATENCY_MILLISECONDS for it in record.invocations)
    return [
        *_was_frozen(record),
        *unless(
            running.count(DELIVERED) > uninterrupted,
            f"{running.count(DELIVERED)} requests before SHUTDOWN, {uninterrupted} of which no freeze need have met",
        ),
        *_all_exported(record, function),
        *_arrived(record.posted, record.arrived),
        *unless(_closing(record) in ending, f"the extension did not log: {_closing(record)}"),
        *ended_well(record),
    ]


def with_the_strategy_end_no_report_waits_through_a_freeze(runner: Runner, function: Function, logs: Path) -> Findings:
    run = TestRun(
        function,
        EVENTS,
        runner.extension,
        environment={**DEBUG, "THUNDRA_EXTENSION_FLUSH": "end"},
        script=SLOW,
        on_local_lambda=True,
        telemetry=True,
        freeze=FREEZE,
    )
    record = runner.execute(run, logs / "extended")
    _, ending = _before_and_after_shutdown(record)
    held = _milliseconds_held(record)
    return [
        *_was_frozen(record),
        *unless(
            len(held) == len(record.events) and min(held) >= LATENCY_MILLISECONDS,
            f"the extension let go {held} ms after the function, though no answer comes within {LATENCY_MILLISECONDS}",
        ),
        *unless(DELIVERED not in ending, f"something was delivered only at SHUTDOWN: {ending:.300}"),
        *unless(_closing(record) in ending, f"the extension did not log: {_closing(record)}"),
        *_all_exported(record, function),
        *_arrived(record.posted, record.arrived),
        *ended_well(record),
    ]


def an_exporter_gives_up_at_once_if_the_buffer_is_full(runner: Runner, function: Function, logs: Path) -> Findings:
    """An SDK that waits and tries again would do so within the invocation."""
    run = TestRun(function, MANY, runner.extension, environment=SMALL, script=HANGING, on_local_lambda=True)
    alone = runner.execute(TestRun(function, MANY, None, on_local_lambda=True), logs / "alone")
    record = runner.execute(run, logs / "extended")
    refused = sum(FULL in (post["answer"] or []) for post in record.posts)
    return [
        *results_unchanged(alone, record),
        *unless(refused > 1, "there was room for all that could have it, so this shows nothing"),
        *_posted_again(record),
        *ended_well(record),
    ]


def a_disabled_extension_refuses_exports_and_no_exporter_retries(
    runner: Runner, function: Function, logs: Path
) -> Findings:
    """A closed port would cost the invocation seconds, up to its deadline."""
    off = {"THUNDRA_EXTENSION_ENABLED": "false"}
    alone = runner.execute(TestRun(function, EVENTS, None, on_local_lambda=True), logs / "alone")
    run = TestRun(function, EVENTS, runner.extension, environment=off, on_local_lambda=True)
    record = runner.execute(run, logs / "extended")
    statuses = {(post["answer"] or ["none"])[0] for post in record.posts}
    return [
        *registered_for(["SHUTDOWN"], record),
        *results_unchanged(alone, record),
        *unless(statuses == {"HTTP/1.1 404 Not Found"}, f"the extension answered {statuses}"),
        *_posted_again(record),
        *unless(not record.arrived, f"arrived all the same: {record.arrived}"),
        *ended_well(record),
    ]


def _posted_again(record: Record) -> Findings:
    return [f"posted {count} times: {report}" for report, count in Counter(record.posted).items() if count > 1]


def _before_and_after_shutdown(record: Record) -> tuple[str, str]:
    before, marker, after = record.log("extension.log").partition(SHUTTING_DOWN)
    if not marker:
        raise Broken(f"the extension did not log that it is {SHUTTING_DOWN}")
    return before, after


def _milliseconds_held(record: Record) -> list[float]:
    """The time for which each invocation waited only for the extension."""
    lines = [json.loads(line) for line in record.log("emulator.log").splitlines()]
    return [line["invocation"]["extension_overhead_ms"] for line in lines if "invocation" in line]


def _all_exported(record: Record, function: Function) -> Findings:
    """The SDK exported in the required form, and got the answer that it expects."""
    contents = [post.content() for post in record.posted if post.path == SIGNALS[0]]
    unnamed = [one for one in record.request_ids() if not any(one.encode() in content for content in contents)]
    forms = {(post.content_type, post.content_encoding) for post in record.posted}
    counts = [sum(post.path == path for post in record.posted) for path in SIGNALS]
    success = "" if function.otlp[0] != "application/json" else "{}"
    answers = {tuple(post["answer"] or ["none"]) for post in record.posts} - {("HTTP/1.1 200 OK", success)}
    return [
        *unless(len(record.request_ids()) == len(record.events), "not every result names its request"),
        *(f"no span that was posted names request {request}" for request in unnamed),
        *unless(forms == {function.otlp}, f"posted in the form {forms}"),
        *unless(min(counts) >= len(record.events), f"of each signal {counts} requests were posted"),
        *(f"the extension answered {answer}" for answer in answers),
    ]


def _arrived(posted: list[Report], arrived: list[Report]) -> Findings:
    return [*differences(posted, arrived), *unless(arrived, "nothing arrived, so this shows nothing")]


def _was_frozen(record: Record) -> Findings:
    count = record.log("emulator.log").count('"event":"frozen"')
    return unless(count >= len(record.events), f"frozen {count} times in {len(record.events)} invocations")


def _with_our_key(record: Record) -> Findings:
    keys = {request["headers"].get(API_KEY) for request in record.requests}
    return unless(keys == {KEY}, f"requests came with the keys {keys}")


def _closing(record: Record) -> str:
    """The last line's text if the ledger is balanced."""
    count = len(record.posted)
    return f": {count} accepted, {count} delivered"


def _closed_with(record: Record, warnings: list[str]) -> Findings:
    """The extension's log has a warning for each of these, and a last line with a balanced ledger."""
    closing = _closing(record)
    lines = record.log("extension.log").splitlines()
    warned = [line for line in lines if " WARN " in line]
    good = len(warned) == len(warnings) and all(map(str.__contains__, [*warned, lines[-1]], [*warnings, closing]))
    return unless(good, f"the extension logged {lines}, instead of {[*warnings, closing]}")
