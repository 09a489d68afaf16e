"""Scenarios in which something is wrong: the function's callers never notice, and the log says what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench import Bench
from events import EVENTS
from findings import (
    Findings,
    all_delivered,
    all_reported,
    ended_well,
    logged,
    never_answered_by_the_extension,
    never_waited,
    registered_for,
    results_unchanged,
    secrets_kept,
    silent,
    unless,
)
from functions import KEY, Function
from report import foreign
from trial import Record, Trial

COLLECTOR_URL = "THUNDRA_EXTENSION_COLLECTOR_URL"
# In the run's own network nothing listens there.
NOBODY = "https://localhost:1/v1"

# Of each the extension says that it can't be used.
COMPLAINED_OF = {
    "THUNDRA_EXTENSION_ENABLED": "perhaps",
    # User information has no place in a collector's URL, and is nothing to be shown.
    COLLECTOR_URL: f"https://user:{KEY}@localhost/v1",
    "THUNDRA_EXTENSION_FLUSH": "on a rainy day",
    "THUNDRA_EXTENSION_BUFFER": "-7 bananas",
    "THUNDRA_EXTENSION_PORT": "99999",
    "THUNDRA_EXTENSION_LOG_LEVEL": "\U0001f4e3",
    "THUNDRA_EXTENSION_PROXY": f"socks5://user:{KEY}@localhost",
    "THUNDRA_EXTENSION_TRUST_ALL_CERTIFICATES": "2",
    "HTTPS_PROXY": "::",
    "SSL_CERT_FILE": "/no such/file",
    "THUNDRA_AGENT_REPORT_REST_BASEURL": f"{KEY}://",
    "CATCHPOINT_REPORT_REST_BASEURL": "\\",
    "AWS_LAMBDA_LOG_LEVEL": "AWFUL",
}
# These it does without, or they are not what is used. HTTP_PROXY and AWS_LAMBDA_FUNCTION_MEMORY_SIZE are left alone
# because the agent itself goes by them, and would post nothing.
PASSED_OVER = {
    "CATCHPOINT_APIKEY": "\t",
    "THUNDRA_AGENT_DEBUG_ENABLE": "a bit",
    "NO_PROXY": ",*.,",
    "AWS_REGION": "the moon",
    "AWS_LAMBDA_LOG_FORMAT": "PUNCHED CARDS",
}


def without_configuration_the_loss_is_counted(bench: Bench, function: Function, logs: Path) -> Findings:
    nothing = {COLLECTOR_URL: None, "SSL_CERT_FILE": None}
    alone, record = _both(bench, Trial(function, EVENTS, bench.extension, environment=nothing), logs)
    return [
        *results_unchanged(alone, record),
        *all_reported(record, function),
        *logged(record, UNREACHABLE, _all_lost(record)),
        *ended_well(record),
    ]


def rubbish_in_every_variable_is_a_line_each(bench: Bench, function: Function, logs: Path) -> Findings:
    rubbish = {**COMPLAINED_OF, **PASSED_OVER}
    alone, record = _both(bench, Trial(function, EVENTS, bench.extension, environment=rubbish), logs)
    complaints = [rf"(.* )?{name} .* used( alone)?" for name in COMPLAINED_OF]
    return [
        *results_unchanged(alone, record),
        *all_reported(record, function),
        *logged(record, *complaints, UNREACHABLE, _all_lost(record)),
        *secrets_kept(record),
        *ended_well(record),
    ]


def a_taken_port_costs_the_reports_and_a_line(bench: Bench, function: Function, logs: Path) -> Findings:
    alone, record = _both(bench, Trial(function, EVENTS, bench.extension, port_taken=True), logs)
    return [
        *registered_for(["INVOKE", "SHUTDOWN"], record),
        *results_unchanged(alone, record),
        *never_answered_by_the_extension(record),
        *logged(record, r"cannot listen on 127\.0\.0\.1:3333: .*"),
        *ended_well(record),
    ]


def a_remote_that_refuses_delays_nobody(bench: Bench, function: Function, logs: Path) -> Findings:
    refusing = Trial(function, EVENTS, bench.extension, environment={COLLECTOR_URL: NOBODY})
    record, findings = _delays_nobody(bench, refusing, logs)
    return [*findings, *logged(record, _outage(".*refused.*"), _all_lost(record))]


def a_remote_that_never_answers_delays_nobody(bench: Bench, function: Function, logs: Path) -> Findings:
    record, findings = _delays_nobody(bench, Trial(function, EVENTS, bench.extension, script=("--answer", "hang")), logs)
    # The first attempt may last until SHUTDOWN takes it away: then none has failed by then.
    return [*findings, *_was_asked(record), *logged(record, _all_lost(record), perhaps=_outage("(timeout.*|no answer when the sandbox ended)"))]


def a_remote_that_answers_500_delays_nobody(bench: Bench, function: Function, logs: Path) -> Findings:
    record, findings = _delays_nobody(bench, Trial(function, EVENTS, bench.extension, script=("--answer", "500")), logs)
    return [*findings, *_was_asked(record), *logged(record, _outage("it answered 500.*"), _all_lost(record))]


def a_file_of_another_name_delivers_as_usual(bench: Bench, function: Function, logs: Path) -> Findings:
    alone, record = _both(bench, Trial(function, EVENTS, bench.extension, installed_as="another name.v2"), logs)
    return [
        *registered_for(["INVOKE", "SHUTDOWN"], record),
        *results_unchanged(alone, record),
        *all_reported(record, function),
        *all_delivered(record),
        *silent(record),
        *ended_well(record),
    ]


def _both(bench: Bench, trial: Trial, logs: Path) -> tuple[Record, Record]:
    """The same without the extension and with it."""
    return bench.conduct(replace(trial, extension=None), logs / "alone"), bench.conduct(trial, logs / "extended")


def _delays_nobody(bench: Bench, trial: Trial, logs: Path) -> tuple[Record, Findings]:
    good = bench.conduct(Trial(trial.function, trial.events, trial.extension), logs / "good-remote")
    alone, record = _both(bench, trial, logs)
    return record, [
        *results_unchanged(alone, record),
        *never_waited(good, record),
        *all_reported(record, trial.function),
        *ended_well(record),
    ]


def _was_asked(record: Record) -> Findings:
    return [
        *unless(record.arrived, "nothing arrived at the remote, so this shows nothing"),
        *foreign(record.posted, record.arrived),
    ]


def _outage(reason: str) -> str:
    return f"cannot deliver to the remote: {reason}; reports are kept and tried again"


UNREACHABLE = _outage(".*")


def _all_lost(record: Record) -> str:
    count = len(record.posted)
    return f"delivered 0 of {count} accepted reports, lost: {count} unsent"
