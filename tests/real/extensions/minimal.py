"""The smallest extension: it registers for both events, and polls until SHUTDOWN."""

import http.client
import json
import os
import sys
from pathlib import Path

EXTENSION = "/2020-01-01/extension"

platform = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])


def ask(method, path, headers, body=None):
    platform.request(method, path, body, headers)
    answer = platform.getresponse()
    return answer, json.loads(answer.read())


name = {"Lambda-Extension-Name": Path(sys.argv[0]).name}
registered, _ = ask("POST", f"{EXTENSION}/register", name, json.dumps({"events": ["INVOKE", "SHUTDOWN"]}))
me = {"Lambda-Extension-Identifier": registered.headers["Lambda-Extension-Identifier"]}
event = {}
while event.get("eventType") != "SHUTDOWN":
    _, event = ask("GET", f"{EXTENSION}/event/next", me)
