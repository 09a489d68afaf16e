"""The list of all scenarios with real agents, and the scenarios without a fault."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from failures import (
    an_invalid_collector_url_is_replaced_by_no_other,
    a_file_of_another_name_delivers_as_usual,
    a_remote_that_answers_500_delays_nobody,
    a_remote_that_never_answers_delays_nobody,
    a_remote_that_refuses_delays_nobody,
    a_taken_port_costs_the_reports_and_a_line,
    each_invalid_variable_is_one_line,
    without_configuration_the_loss_is_counted,
)
from emulator_parity import (
    calls_and_answers_equal_the_emulators,
    mistakes_are_refused_as_by_the_emulator,
    every_report_arrives_once_on_the_local_lambda_too,
)
from runner import Runner
from events import EVENTS, MANY, TABLE_FOR_TWO
from checks import (
    Findings,
    all_delivered,
    all_reported,
    ended_well,
    nothing_reported,
    registered_for,
    results_good,
    results_unchanged,
    secrets_kept,
    several_connections,
    silent,
    some_were_merged,
)
from functions import (
    RULE_BREAKER,
    NODE,
    NODE_WITHOUT_AGENT,
    OTEL,
    PYTHON_ARRAYS,
    PYTHON_COMPOSITE,
    WITHOUT_AGENT,
    LAYERED_NODE,
    LAYERED_PYTHON,
    WRAPPED_NODE,
    WRAPPED_PYTHON,
    Function,
)
from http_clients import HTTP_CLIENTS, each_client_gets_the_right_answer
from java import WRAPPED_JAVA, a_jar_that_is_no_agent_is_left_out, an_agent_is_attached_and_gets_the_handler
from otlp import (
    an_exporter_gives_up_at_once_if_the_buffer_is_full,
    an_outage_only_delays_exports,
    another_receiver_reads_all_exports_despite_freezes_and_an_outage,
    freezes_during_sends_lose_and_repeat_nothing,
    a_disabled_extension_refuses_exports_and_no_exporter_retries,
    each_export_arrives_once_as_if_sent_directly,
    with_the_strategy_end_no_report_waits_through_a_freeze,
)
from test_run import TestRun
from wrapper import (
    a_module_that_hides_what_the_agent_imports_costs_the_agent_only,
    on_python,
    one_variable_switches_the_agent_on,
)


@dataclass(frozen=True)
class Scenario:
    name: str
    function: Function
    run: Callable[[Runner, Function, Path], Findings]
    needs_root: str = ""
    with_rotel: bool = False

    @property
    def sentence(self) -> str:
        return self.run.__name__.replace("_", " ")

    def obstacle(self) -> str:
        return self.needs_root if os.geteuid() != 0 else ""


def every_report_arrives_once_and_no_result_changes(runner: Runner, function: Function, logs: Path) -> Findings:
    alone = runner.execute(TestRun(function, EVENTS, None), logs / "alone")
    record = runner.execute(TestRun(function, EVENTS, runner.extension), logs / "extended")
    return [
        *registered_for(["INVOKE", "SHUTDOWN"], record),
        *results_unchanged(alone, record),
        *all_reported(record, function),
        *all_delivered(record),
        *silent(record),
        *ended_well(record),
    ]


def arrays_of_a_busy_function_are_merged(runner: Runner, function: Function, logs: Path) -> Findings:
    record = runner.execute(TestRun(function, MANY, runner.extension), logs / "extended")
    return [
        *results_good(record),
        *all_reported(record, function),
        *all_delivered(record),
        *some_were_merged(record),
        *silent(record),
        *ended_well(record),
    ]


def parallel_workers_of_managed_instances_report_too(runner: Runner, function: Function, logs: Path) -> Findings:
    events = [*TABLE_FOR_TWO, *EVENTS]
    alone = runner.execute(TestRun(function, events, None, managed_instances=True), logs / "alone")
    record = runner.execute(TestRun(function, events, runner.extension, managed_instances=True), logs / "extended")
    return [
        *registered_for(["SHUTDOWN"], record),
        *several_connections(record),
        *results_unchanged(alone, record),
        *all_reported(record, function),
        *all_delivered(record),
        *silent(record),
        *ended_well(record),
    ]


def a_function_without_agent_is_left_alone(runner: Runner, function: Function, logs: Path) -> Findings:
    alone = runner.execute(TestRun(function, EVENTS, None), logs / "alone")
    record = runner.execute(TestRun(function, EVENTS, runner.extension), logs / "extended")
    return [*results_unchanged(alone, record), *nothing_reported(record), *silent(record), *ended_well(record)]


def no_log_holds_the_key_at_level_trace(runner: Runner, function: Function, logs: Path) -> Findings:
    trace = {"THUNDRA_EXTENSION_LOG_LEVEL": "trace"}
    record = runner.execute(TestRun(function, EVENTS, runner.extension, environment=trace), logs / "extended")
    return [*all_reported(record, function), *all_delivered(record), *secrets_kept(record), *ended_well(record)]


SCENARIOS = (
    Scenario("python-composite", PYTHON_COMPOSITE, every_report_arrives_once_and_no_result_changes),
    Scenario("python-arrays", PYTHON_ARRAYS, every_report_arrives_once_and_no_result_changes),
    Scenario("node", NODE, every_report_arrives_once_and_no_result_changes),
    Scenario("python-busy", PYTHON_ARRAYS, arrays_of_a_busy_function_are_merged),
    Scenario("node-busy", NODE, arrays_of_a_busy_function_are_merged),
    Scenario(
        "managed-instances",
        PYTHON_COMPOSITE,
        parallel_workers_of_managed_instances_report_too,
        needs_root="needs root, because the emulator changes to a user of its own",
    ),
    Scenario("without-agent", WITHOUT_AGENT, a_function_without_agent_is_left_alone),
    Scenario("trace", PYTHON_COMPOSITE, no_log_holds_the_key_at_level_trace),
    Scenario("node-trace", NODE, no_log_holds_the_key_at_level_trace),
    Scenario("no-configuration", PYTHON_COMPOSITE, without_configuration_the_loss_is_counted),
    Scenario("bad-collector-url", PYTHON_COMPOSITE, an_invalid_collector_url_is_replaced_by_no_other),
    Scenario("bad-variables", PYTHON_COMPOSITE, each_invalid_variable_is_one_line),
    Scenario("port-taken", PYTHON_COMPOSITE, a_taken_port_costs_the_reports_and_a_line),
    Scenario("remote-refuses", PYTHON_COMPOSITE, a_remote_that_refuses_delays_nobody),
    Scenario("remote-hangs", PYTHON_COMPOSITE, a_remote_that_never_answers_delays_nobody),
    Scenario("remote-fails", PYTHON_COMPOSITE, a_remote_that_answers_500_delays_nobody),
    Scenario("renamed", PYTHON_COMPOSITE, a_file_of_another_name_delivers_as_usual),
    Scenario("parity-python", WITHOUT_AGENT, calls_and_answers_equal_the_emulators),
    Scenario("parity-node", NODE_WITHOUT_AGENT, calls_and_answers_equal_the_emulators),
    Scenario("parity-mistakes", RULE_BREAKER, mistakes_are_refused_as_by_the_emulator),
    Scenario("local-lambda-python", PYTHON_COMPOSITE, every_report_arrives_once_on_the_local_lambda_too),
    Scenario("local-lambda-node", NODE, every_report_arrives_once_on_the_local_lambda_too),
    *(Scenario(f"wrapper-python-{i}", function, on_python) for i, function in enumerate(WRAPPED_PYTHON, 1)),
    *(
        Scenario(f"wrapper-node-{i}", function, one_variable_switches_the_agent_on)
        for i, function in enumerate(WRAPPED_NODE, 1)
    ),
    Scenario("wrapper-python-layer", LAYERED_PYTHON, on_python),
    Scenario(
        "wrapper-python-hidden", LAYERED_PYTHON, a_module_that_hides_what_the_agent_imports_costs_the_agent_only
    ),
    Scenario("wrapper-node-layer", LAYERED_NODE, one_variable_switches_the_agent_on),
    Scenario("wrapper-java", WRAPPED_JAVA, an_agent_is_attached_and_gets_the_handler),
    Scenario("wrapper-java-no-agent", WRAPPED_JAVA, a_jar_that_is_no_agent_is_left_out),
    Scenario("http-clients", HTTP_CLIENTS, each_client_gets_the_right_answer),
    *(
        Scenario(f"otel{variant}-{name}", function, run, with_rotel=variant == "-rotel")
        for variant, run in (
            ("", each_export_arrives_once_as_if_sent_directly),
            ("-outage", an_outage_only_delays_exports),
            ("-freezes", freezes_during_sends_lose_and_repeat_nothing),
            ("-end", with_the_strategy_end_no_report_waits_through_a_freeze),
            ("-rotel", another_receiver_reads_all_exports_despite_freezes_and_an_outage),
        )
        for name, function in OTEL.items()
    ),
    *(
        Scenario(f"otel-{variant}-{name}", OTEL[name], run)
        for variant, run in (
            ("full", an_exporter_gives_up_at_once_if_the_buffer_is_full),
            ("off", a_disabled_extension_refuses_exports_and_no_exporter_retries),
        )
        for name in ("python", "node-json-gzip")
    ),
)
