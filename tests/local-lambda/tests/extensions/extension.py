"""An extension that does nothing. Its methods are moments of its life, for subclasses to replace."""

import json
import os
import sys

from connection import Connection


class Extension:
    def __init__(self):
        self.api = Connection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        self.identity = {}

    def run(self):
        self.register(["INVOKE", "SHUTDOWN"])
        self.registered()
        while True:
            event = self.next()
            if event.get("eventType") == "SHUTDOWN":
                self.shut_down(event)
                return
            self.invoked(event)

    def register(self, events):
        name = os.path.basename(sys.argv[0])
        status, headers, body = self.ask(
            "POST", "register", json.dumps({"events": events}), {"Lambda-Extension-Name": name}
        )
        if status == 403 and "INVOKE" in events and b"Extension.InvalidEventType" in body:
            # Managed Instances give no INVOKE.
            self.register(["SHUTDOWN"])
        elif status != 200:
            sys.exit(f"cannot register: {status} {body.decode()}")
        else:
            identifier = headers["Lambda-Extension-Identifier"]
            self.identity = {"Lambda-Extension-Identifier": identifier}

    def next(self):
        status, _, body = self.ask("GET", "event/next", None, self.identity)
        if status != 200:
            sys.exit(f"cannot get the next event: {status} {body.decode()}")
        return json.loads(body)

    def ask(self, method, path, body, headers):
        self.api.request(method, f"/2020-01-01/extension/{path}", body, headers)
        response = self.api.getresponse()
        return response.status, response.headers, response.read()

    def registered(self):
        """Called once, before the first poll."""

    def invoked(self, event):
        """Called for each event except SHUTDOWN, before the next poll."""

    def shut_down(self, event):
        """Called at SHUTDOWN. It may take up to 2 s, as `deadlineMs` announces."""


def run_fault_of(module):
    """Runs the class that FAULT names. Without FAULT, prints the scenarios that must notice each class."""
    if "FAULT" in os.environ:
        module[os.environ["FAULT"]]().run()
    else:
        own = {name: vars(it).get("SEEN_BY") for name, it in module.items() if isinstance(it, type)}
        print(json.dumps({name: seen_by for name, seen_by in own.items() if seen_by}))
