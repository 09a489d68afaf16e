"""Scenarios with a fault: the function's callers never notice it, and the log names it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runner import Runner
from events import EVENTS
from checks import (
    NO_REMOTE,
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
from test_run import Record, TestRun

COLLECTOR_URL = "THUNDRA_EXTENSION_COLLECTOR_URL"
# In the network of a run, nothing listens at this port.
NOBODY = "https://localhost:1/v1"

# The extension logs that it cannot use these values.
COMPLAINED_OF = {
    "THUNDRA_EXTENSION_ENABLED": "perhaps",
    "THUNDRA_EXTENSION_FLUSH": "on a rainy day",
    "THUNDRA_EXTENSION_BUFFER": "-7 bananas",
    "THUNDRA_EXTENSION_PORT": "99999",
    "THUNDRA_EXTENSION_LOG_LEVEL": "\U0001f4e3",
    "THUNDRA_EXTENSION_PROXY": f"socks5://user:{KEY}@localhost",
    "THUNDRA_EXTENSION_TRUST_ALL_CERTIFICATES": "2",
    "HTTPS_PROXY": "::",
    "SSL_CERT_FILE": "/no such/file",
    "AWS_LAMBDA_LOG_LEVEL": "AWFUL",
}
# The extension ignores these bad values, or uses other variables. HTTP_PROXY and AWS_LAMBDA_FUNCTION_MEMORY_SIZE are
# unchanged, because the agent itself uses them and would post nothing.
PASSED_OVER = {
    "CATCHPOINT_APIKEY": "\t",
    # The extension ignores these two if the remote is configured.
    "THUNDRA_AGENT_REPORT_REST_BASEURL": f"{KEY}://",
    "CATCHPOINT_REPORT_REST_BASEURL": "\\",
    "THUNDRA_AGENT_DEBUG_ENABLE": "a bit",
    "NO_PROXY": ",*.,",
    "AWS_REGION": "the moon",
    "AWS_LAMBDA_LOG_FORMAT": "PUNCHED CARDS",
}


def without_configuration_the_loss_is_counted(runner: Runner, function: Function, logs: Path) -> Findings:
    nothing = {COLLECTOR_URL: None, "SSL_CERT_FILE": None}
    return _refuses(runner, function, logs, nothing, rf"cannot forward .*: {COLLECTOR_URL} is not set; .*")


def an_invalid_collector_url_is_replaced_by_no_other(runner: Runner, function: Function, logs: Path) -> Findings:
    # A collector's URL must not contain a user and a password, and the log must not show them.
    bad = {COLLECTOR_URL: f"https://user:{KEY}@localhost/v1"}
    return _refuses(runner, function, logs, bad, rf"cannot use {COLLECTOR_URL}: .*")


def _refuses(runner: Runner, function: Function, logs: Path, environment: dict, line: str) -> Findings:
    """The agent reports, the log has this line, and the function works."""
    alone, record = _both(runner, TestRun(function, EVENTS, runner.extension, environment=environment), logs)
    count = len(record.posted)
    return [
        *results_unchanged(alone, record),
        *all_reported(record, function, NO_REMOTE),
        *logged(record, line, f"Thundra without a remote: 0 accepted, 0 delivered, lost: {count} refused as no_remote .*"),
        *secrets_kept(record),
        *ended_well(record),
    ]


def each_invalid_variable_is_one_line(runner: Runner, function: Function, logs: Path) -> Findings:
    invalid = {COLLECTOR_URL: NOBODY, **COMPLAINED_OF, **PASSED_OVER}
    alone, record = _both(runner, TestRun(function, EVENTS, runner.extension, environment=invalid), logs)
    complaints = [rf"(.* )?{name} .* used( alone)?" for name in COMPLAINED_OF]
    return [
        *results_unchanged(alone, record),
        *all_reported(record, function),
        *logged(record, *complaints, UNREACHABLE, _all_lost(record)),
        *secrets_kept(record),
        *ended_well(record),
    ]


def a_taken_port_costs_the_reports_and_a_line(runner: Runner, function: Function, logs: Path) -> Findings:
    alone, record = _both(runner, TestRun(function, EVENTS, runner.extension, port_taken=True), logs)
    return [
        *registered_for(["INVOKE", "SHUTDOWN"], record),
        *results_unchanged(alone, record),
        *never_answered_by_the_extension(record),
        *logged(record, r"cannot listen on 127\.0\.0\.1:3333: .*"),
        *ended_well(record),
    ]


def a_remote_that_refuses_delays_nobody(runner: Runner, function: Function, logs: Path) -> Findings:
    refusing = TestRun(function, EVENTS, runner.extension, environment={COLLECTOR_URL: NOBODY})
    record, findings = _delays_nobody(runner, refusing, logs)
    return [*findings, *logged(record, _outage(".*refused.*"), _all_lost(record))]


def a_remote_that_never_answers_delays_nobody(runner: Runner, function: Function, logs: Path) -> Findings:
    record, findings = _delays_nobody(runner, TestRun(function, EVENTS, runner.extension, script=("--answer", "hang")), logs)
    # The first attempt may last until SHUTDOWN ends it. Then no attempt has failed before SHUTDOWN.
    return [*findings, *_was_asked(record), *logged(record, _all_lost(record), perhaps=_outage("(no answer in time|no answer yet, and the execution environment ends)"))]


def a_remote_that_answers_500_delays_nobody(runner: Runner, function: Function, logs: Path) -> Findings:
    record, findings = _delays_nobody(runner, TestRun(function, EVENTS, runner.extension, script=("--answer", "500")), logs)
    return [*findings, *_was_asked(record), *logged(record, _outage("it answered 500.*"), _all_lost(record))]


def a_file_of_another_name_delivers_as_usual(runner: Runner, function: Function, logs: Path) -> Findings:
    alone, record = _both(runner, TestRun(function, EVENTS, runner.extension, installed_as="another name.v2"), logs)
    return [
        *registered_for(["INVOKE", "SHUTDOWN"], record),
        *results_unchanged(alone, record),
        *all_reported(record, function),
        *all_delivered(record),
        *silent(record),
        *ended_well(record),
    ]


def _both(runner: Runner, run: TestRun, logs: Path) -> tuple[Record, Record]:
    """Runs the same without the extension and with it."""
    return runner.execute(replace(run, extension=None), logs / "alone"), runner.execute(run, logs / "extended")


def _delays_nobody(runner: Runner, run: TestRun, logs: Path) -> tuple[Record, Findings]:
    good = runner.execute(TestRun(run.function, run.events, run.extension), logs / "good-remote")
    alone, record = _both(runner, run, logs)
    return record, [
        *results_unchanged(alone, record),
        *never_waited(good, record),
        *all_reported(record, run.function),
        *ended_well(record),
    ]


def _was_asked(record: Record) -> Findings:
    return [
        *unless(record.arrived, "nothing arrived at the remote, so this shows nothing"),
        *foreign(record.posted, record.arrived),
    ]


def _outage(reason: str) -> str:
    return f"cannot deliver to https?://.*: {reason}; reports are kept and tried again"


UNREACHABLE = _outage(".*")


def _all_lost(record: Record) -> str:
    count = len(record.posted)
    return f"Thundra to https?://.*: {count} accepted, 0 delivered, lost: {count} unsent .*"
