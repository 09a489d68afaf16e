"""Scenarios with the SDKs of OpenTelemetry, each signal of which has to arrive."""

from __future__ import annotations

from pathlib import Path

import telemetry
from bench import Bench
from events import EVENTS
from findings import Findings, ended_well, registered_for, results_unchanged, unless
from functions import API_KEY, KEY, SIGNALS, Function
from report import Report, differences
from trial import Record, Trial

# So that the extension's last line is there.
INFO = {"THUNDRA_EXTENSION_LOG_LEVEL": "info"}
# What it says at level debug.
DELIVERED = "in one request"
OUTAGE = ["cannot deliver to the otlp remote", "the otlp remote is back"]

REFUSED = 2
REFUSING = ("--answer", "503") * REFUSED + ("--answer", "200")
UNREACHABLE = ("--accept", "reset") * REFUSED + ("--accept", "serve")
# Longer than an invocation takes, and short enough for all requests to be answered one by one before SHUTDOWN ends.
LATENCY_MILLISECONDS = 60
SLOW = ("--latency", f"{LATENCY_MILLISECONDS}ms")
# Answers come within.
FREEZE = "150ms"


def what_is_exported_arrives_once_as_if_sent_directly(bench: Bench, function: Function, logs: Path) -> Findings:
    direct = bench.conduct(Trial(function, EVENTS, None), logs / "direct")
    record = bench.conduct(Trial(function, EVENTS, bench.extension, environment=INFO), logs / "extended")
    read = bench.otlp_library.items
    return [
        *registered_for(["INVOKE", "SHUTDOWN"], record),
        *results_unchanged(direct, record),
        *_all_exported(record, function),
        *_arrived(record.posted, record.arrived),
        *(f"unlike the direct export: {it}" for it in telemetry.unlike(read(direct.arrived), read(record.arrived))),
        *_with_our_key(record),
        *_closed_with(record, []),
        *ended_well(record),
    ]


def another_receiver_reads_all_that_was_exported_despite_freezes_and_an_outage(
    bench: Bench, function: Function, logs: Path
) -> Findings:
    early = Trial(
        function, EVENTS, bench.extension, environment=INFO, rotel=bench.rotel, on_sandbox=True, freeze=FREEZE
    )
    late = Trial(function, EVENTS, bench.extension, environment=INFO, rotel=bench.rotel, rotel_after=OUTAGE[0])
    frozen, waited = bench.conduct(early, logs / "freezes"), bench.conduct(late, logs / "outage")
    read = bench.otlp_library.items
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


def an_outage_only_delays_what_was_exported(bench: Bench, function: Function, logs: Path) -> Findings:
    def conduct(name: str, script: tuple[str, ...]) -> Record:
        return bench.conduct(Trial(function, EVENTS, bench.extension, environment=INFO, script=script), logs / name)

    refused, unreachable = conduct("refused", REFUSING), conduct("unreachable", UNREACHABLE)
    return [
        *_arrived(refused.posted, refused.arrived[REFUSED:]),
        *_arrived(unreachable.posted, unreachable.arrived),
        *(
            finding
            for record in (refused, unreachable)
            for finding in (*_all_exported(record, function), *_closed_with(record, OUTAGE), *ended_well(record))
        ),
    ]


def freezes_in_the_middle_of_sends_lose_and_repeat_nothing(bench: Bench, function: Function, logs: Path) -> Findings:
    trial = Trial(function, EVENTS, bench.extension, environment=INFO, script=SLOW, on_sandbox=True, freeze=FREEZE)
    record = bench.conduct(trial, logs / "extended")
    fastest = min(result["milliseconds"] for result in record.invocations)
    return [
        *_was_frozen(record),
        *unless(
            fastest < LATENCY_MILLISECONDS, f"no invocation took less than {fastest:.0f} ms: no send was interrupted"
        ),
        *_all_exported(record, function),
        *_arrived(record.posted, record.arrived),
        *_closed_with(record, []),
        *ended_well(record),
    ]


def with_the_strategy_end_nothing_waits_through_a_freeze(bench: Bench, function: Function, logs: Path) -> Findings:
    told = {"THUNDRA_EXTENSION_FLUSH": "end", "THUNDRA_EXTENSION_LOG_LEVEL": "debug"}
    trial = Trial(
        function,
        EVENTS,
        bench.extension,
        environment=told,
        script=SLOW,
        on_sandbox=True,
        telemetry=True,
        freeze=FREEZE,
    )
    record = bench.conduct(trial, logs / "extended")
    running, _, ending = record.log("extension.log").partition("shutting down")
    return [
        *_was_frozen(record),
        *unless(DELIVERED in running, "the extension logged no delivery, so this shows nothing"),
        *unless(DELIVERED not in ending, f"something was delivered only at SHUTDOWN: {ending:.300}"),
        *_all_exported(record, function),
        *_arrived(record.posted, record.arrived),
        *ended_well(record),
    ]


def _all_exported(record: Record, function: Function) -> Findings:
    """The SDK did its part, in the form that is to be tried, and was answered as it expects."""
    contents = [post.content() for post in record.posted if post.path == SIGNALS[0]]
    untold = [one for one in record.request_ids() if not any(one.encode() in content for content in contents)]
    forms = {(post.content_type, post.content_encoding) for post in record.posted}
    counts = [sum(post.path == path for post in record.posted) for path in SIGNALS]
    success = "" if function.otlp[0] != "application/json" else "{}"
    answers = {tuple(post["answer"] or ["none"]) for post in record.posts} - {("HTTP/1.1 200 OK", success)}
    return [
        *unless(len(record.request_ids()) == len(record.events), "not every result names its request"),
        *(f"no span that was posted names request {request}" for request in untold),
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


def _closed_with(record: Record, warnings: list[str]) -> Findings:
    """The extension's log has a line for each of these, and the last, in which the ledger is balanced."""
    count = len(record.posted)
    closing = f"delivered 0 of 0 accepted reports; otlp: delivered {count} of {count} accepted reports"
    lines = record.log("extension.log").splitlines()
    good = len(lines) == len(warnings) + 1 and all(map(str.__contains__, lines, [*warnings, closing]))
    return unless(good, f"the extension logged {lines}, instead of {[*warnings, closing]}")
