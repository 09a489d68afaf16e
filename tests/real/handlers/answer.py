"""The work of the test's function, the same with every agent."""

import os
import time
from pathlib import Path

TABLE = Path("/tmp/table")
TIMEOUT_SECONDS = 10


def answer(event, context):
    """Accepts an order, refuses it, or never returns. Names its request, so that a test can find its report."""
    if event.get("refuse"):
        raise ValueError(f"order {event['order']} refused, request {context.aws_request_id}")
    if event.get("crash"):
        os._exit(1)
    if event.get("sleep_seconds"):
        time.sleep(event["sleep_seconds"])
    if event.get("guests"):
        sit_down(event["order"], event["guests"])
    return {
        "order": event["order"],
        "note": event.get("note", "taken"),
        "request": context.aws_request_id,
        "padding": "x" * event.get("padding", 0),
    }


def sit_down(order, guests):
    """Waits for the other workers' invocations. Two processes of one function share only /tmp."""
    TABLE.mkdir(exist_ok=True)
    (TABLE / str(order)).touch()
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while len(list(TABLE.iterdir())) < guests:
        if time.monotonic() > deadline:
            raise TimeoutError("the other guests never came")
        time.sleep(0.001)
