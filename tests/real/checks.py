"""Checks of a run. Each function returns the failures that it found, or nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from functions import KEY, Function
from report import differences
from test_run import Record

Findings = Sequence[str]

# More than noise, and less than the 3 s for which the extension waits for a remote that never answers.
WAIT_MILLISECONDS = 2000


def ended_well(record: Record) -> Findings:
    exits, emulator = record.extension_exits(), record.shutdown["emulator"]
    return [
        *unless(exits == [0], f"the extension's exit statuses were {exits}, not one 0 (none: it was killed)"),
        *unless(emulator == 0, f"the emulator ended with {emulator}"),
    ]


def silent(record: Record) -> Findings:
    said = record.log("extension.log")
    return unless(not said, f"the extension logged at the default level: {said[:300]}")


def logged(record: Record, *patterns: str, perhaps: str = "") -> Findings:
    """The log has one warning for each pattern, and no others except `perhaps`."""
    lines = record.log("extension.log").splitlines()
    counts = {pattern: sum(_warns(pattern, line) for line in lines) for pattern in patterns}
    odd = [line for line in lines if not any(_warns(pattern, line) for pattern in (*patterns, perhaps))]
    return [
        *(f"{count} lines instead of 1 say `{pattern}`" for pattern, count in counts.items() if count != 1),
        *(f"the extension logged unexpectedly: {line:.300}" for line in odd),
    ]


def _warns(pattern: str, line: str) -> bool:
    return re.fullmatch(rf"\[thundra-lambda-extension\] WARN {pattern}", line) is not None


def registered_for(events: Sequence[str], record: Record) -> Findings:
    asked = record.registrations
    return unless(asked[-1:] == [events], f"the extension registered for {asked}, expected {events}")


def results_good(record: Record) -> Findings:
    """Each invocation ended as its handler intended: with an answer, or with the handler's error."""
    results = record.results()
    return [
        *unless(len(results) == len(record.events), f"{len(results)} of {len(record.events)} invocations gave results"),
        *(f"an invocation gave {status} {body:.200}" for status, body in results if status != 200),
        *unless(any("errorType" in body for _, body in results), "no invocation was refused by the handler"),
    ]


def results_unchanged(alone: Record, record: Record) -> Findings:
    """The callers got the same results as without the extension."""
    pairs = zip(alone.results(), record.results())
    changes = (f"without the extension {was!s:.200}, now {now!s:.200}" for was, now in pairs if was != now)
    return [*changes, *results_good(alone), *results_good(record)]


TAKEN = ("HTTP/1.1 200 OK", "{}")
NO_REMOTE = (
    "HTTP/1.1 404 Not Found",
    '{"error":"no remote is configured for this: see the log of thundra-lambda-extension"}',
)


def all_reported(record: Record, function: Function, answer: tuple[str, str] = TAKEN) -> Findings:
    """The agent posted its reports, and got this answer; by default the answer that it expects."""
    unseen = [one for one in record.request_ids() if not any(one.encode() in post.body for post in record.posted)]
    odd = [post for post in record.posted if post.authorization != "ApiKey " + KEY or post.path != function.path]
    answers = {tuple(post["answer"] or ["none"]) for post in record.posts} - {answer}
    return [
        *unless(len(record.request_ids()) == len(record.events), "not every result names its request"),
        *(f"the agent posted no report about request {request}" for request in unseen),
        *(f"the agent posted oddly: {post}" for post in odd),
        *(f"the extension answered {answer}" for answer in answers),
    ]


def all_delivered(record: Record) -> Findings:
    names = {name for request in record.requests for name in request["headers"] if name.lower().startswith("x-")}
    return [
        *differences(record.posted, record.arrived),
        *(f"the agent's own header {name} reached the remote" for name in sorted(names)),
    ]


def some_were_merged(record: Record) -> Findings:
    posted, arrived = len(record.posted), len(record.arrived)
    return unless(arrived < posted, f"{posted} reports went in {arrived} requests: none had company")


def never_waited(good: Record, record: Record) -> Findings:
    """Each invocation took about the same time as with a good remote."""
    pairs = [(was["milliseconds"], now["milliseconds"]) for was, now in zip(good.invocations, record.invocations)]
    return [
        f"an invocation took {now:.0f} ms, with a good remote {was:.0f} ms"
        for was, now in pairs
        if now > was + WAIT_MILLISECONDS
    ]


def never_answered_by_the_extension(record: Record) -> Findings:
    """All reports of the agent went to the foreign server on the collector's port."""
    answers = {(post["answer"] or ["none"])[0] for post in record.posts}
    return [
        *unless(record.posts, "the agent posted nothing, so this shows nothing"),
        *(f"the agent was answered {answer}" for answer in answers if not answer.startswith("HTTP/1.0 404 ")),
        *unless(not record.requests, "something arrived at the remote"),
    ]


def nothing_reported(record: Record) -> Findings:
    return [
        *unless(not record.posts, "something was posted though there is no agent"),
        *unless(not record.requests, "something arrived though nothing was posted"),
    ]


def several_connections(record: Record) -> Findings:
    count = len({post["connection"] for post in record.posts})
    return unless(count > 1, f"reports came over {count} connections: the workers were not parallel")


def secrets_kept(record: Record) -> Findings:
    own = record.log("extension.log")
    logs = ("extension.log", "emulator.log", "function.log")
    return [
        *unless(own, "the extension logged nothing, so this shows nothing"),
        *(f"the key is in {name}" for name in logs if KEY in record.log(name)),
        *(
            f"the body of {post} is in the log"
            for post in record.posted
            if post.body[:200].decode(errors="ignore") in own
        ),
    ]


def unless(holds: object, finding: str) -> Findings:
    return [] if holds else [finding]
