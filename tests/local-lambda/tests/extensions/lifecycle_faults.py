"""Faults of extensions in their lifecycle. Each class is `extension.py` with one fault. Its `SEEN_BY` names
the scenarios that must notice the fault, each with a part of its observations. The variable FAULT selects
the class. A class imports a module that it alone needs itself, because each import slows a start.
"""

import json
import os
import socket
import sys
import threading
import time

import extension
from connection import Connection
from extension import Extension

# Longer than any phase.
FOR_EVER_SECONDS = 600


class ExitsEarly(Extension):
    """Treats the first invocation as the last one, and ends with 0."""

    SEEN_BY = {"next-after-each-invocation": "an invocation ended in failure Extension.Crash"}

    def invoked(self, event):
        sys.exit(0)


class ExitsWithoutConfiguration(Extension):
    """Ends because one of its variables is missing."""

    SEEN_BY = {"registers-in-time": "init: failure Extension.Crash"}

    def registered(self):
        sys.exit(0 if "BROKEN_API_KEY" not in os.environ else None)


class CrashesInInit(Extension):
    """Fails between its registration and its first poll."""

    SEEN_BY = {"registers-in-time": "init: failure Extension.Crash"}

    def registered(self):
        sys.exit(1)


class NeverRegisters(Extension):
    """Starts, and makes no call."""

    SEEN_BY = {"registers-in-time": "init: timeout"}

    def register(self, events):
        time.sleep(FOR_EVER_SECONDS)


class RegistersSlowly(Extension):
    """Does its own work before it registers, while the runtime has to wait."""

    SEEN_BY = {"small-share-of-a-cpu": "after its start, limit"}

    def register(self, events):
        time.sleep(4)
        super().register(events)


class RegistersLate(Extension):
    """Registers after the end of init."""

    SEEN_BY = {"registers-in-time": "init: timeout"}

    def register(self, events):
        time.sleep(11)
        super().register(events)


class NeverPolls(Extension):
    """Registers, and never polls."""

    SEEN_BY = {"registers-in-time": "init: timeout"}

    def registered(self):
        time.sleep(FOR_EVER_SECONDS)


class ConstantName(Extension):
    """Registers with the original name of its file, even if the file was renamed."""

    SEEN_BY = {"renamed-file": "init: failure Extension.Crash"}

    def register(self, events):
        sys.argv[0] = "my-extension"
        super().register(events)


class ConstantAddress(Extension):
    """Assumes that the Runtime API has the address that it has in emulators."""

    SEEN_BY = {"registers-in-time": "init: failure Extension.Crash"}

    def __init__(self):
        super().__init__()
        self.api = Connection("127.0.0.1:9001")


class UsesProxy(Extension):
    """Connects to the Runtime API through the function's proxy."""

    SEEN_BY = {"proxy-variables": "init: failure Extension.Crash"}

    def ask(self, method, path, body, headers):
        import urllib.error
        import urllib.request

        url = f"http://{self.api.host}:{self.api.port}/2020-01-01/extension/{path}"
        request = urllib.request.Request(url, body and body.encode(), headers, method=method)
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()


class AsksForUnknownEvent(Extension):
    """Registers for an event that does not exist, and gives up after the refusal."""

    SEEN_BY = {"events-that-exist": "init: failure Extension.Crash"}

    def register(self, events):
        super().register([*events, "RESTORE"])


class DemandsInvoke(Extension):
    """Does not expect an environment without INVOKE, such as Managed Instances, and ends with 0."""

    SEEN_BY = {"managed-instances": "init: failure Extension.Crash"}

    def register(self, events):
        if "INVOKE" not in events:
            sys.exit(0)
        super().register(events)


class FailsWithoutInvoke(Extension):
    """As above, but ends with an error."""

    SEEN_BY = {"managed-instances": "init: failure Extension.Crash"}

    def register(self, events):
        if "INVOKE" not in events:
            sys.exit("INVOKE is refused")
        super().register(events)


class WaitsOnRefusedRegister(Extension):
    """Neither ends nor polls if it cannot register, and so delays init."""

    SEEN_BY = {"refused-register": "it holds init until it is killed"}

    def register(self, events):
        try:
            super().register(events)
        except SystemExit:
            time.sleep(FOR_EVER_SECONDS)


class SpinsOnRefusedRegister(Extension):
    """Registers again without a pause, for ever, after a refusal."""

    SEEN_BY = {"refused-register": "it spins"}

    def register(self, events):
        while not self.identity:
            try:
                super().register(events)
            except SystemExit:
                continue


class NeedsHome(Extension):
    """Stores its state in the home directory, which Lambda's user does not have."""

    SEEN_BY = {"bare-environment": "init: failure Extension.Crash"}

    def registered(self):
        os.makedirs(os.path.join(os.environ["HOME"], ".broken"), exist_ok=True)


class NeedsRuntimesVariable(Extension):
    """Needs a variable that only the runtime gets."""

    SEEN_BY = {"bare-environment": "init: failure Extension.Crash"}

    def registered(self):
        os.environ["AWS_EXECUTION_ENV"]


class NeedsNumber(Extension):
    """Crashes if the memory size is not a number."""

    SEEN_BY = {
        "empty-variables": "init: failure Extension.Crash",
        "absurd-variables": "init: failure Extension.Crash",
    }

    def registered(self):
        int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"))


class NeedsSmallNumber(Extension):
    """Accepts any number as the memory size."""

    SEEN_BY = {"absurd-numbers": "init: failure Extension.Crash"}

    def registered(self):
        memory_size = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        if memory_size.lstrip("-").isdecimal():
            bytearray(int(memory_size))


class NeedsUtf8(Extension):
    """Expects valid UTF-8 in each variable."""

    SEEN_BY = {"variables-that-are-not-utf-8": "init: failure Extension.Crash"}

    def registered(self):
        for value in os.environb.values():
            value.decode()


class NeedsIpAddress(Extension):
    """Expects an address as the Runtime API's host, which may be a name."""

    SEEN_BY = {"runtime-api-by-name": "init: failure Extension.Crash"}

    def registered(self):
        import ipaddress

        ipaddress.ip_address(self.api.host)


class NeedsWritableDirectory(Extension):
    """Stores its state beside its file, where Lambda's user may not write."""

    SEEN_BY = {"lambdas-user": "init: failure Extension.Crash"}

    def registered(self):
        with open(f"{sys.argv[0]}.state", "w") as state:
            state.write("registered")


class LocksOthersOut(Extension):
    """Uses a socket name that only one process of an environment can have."""

    SEEN_BY = {"ten-at-once": "init: failure Extension.Crash"}

    def registered(self):
        self.lock = socket.socket(socket.AF_UNIX)
        self.lock.bind(f"\0broken-{self.api.port}")


class AbandonsNext(Extension):
    """Abandons a `next` after 200 ms, and polls again on another connection."""

    SEEN_BY = {"next-held-open": "closed while its next was pending"}
    patience_seconds = 0.2

    def next(self):
        while True:
            self.api.close()
            self.api.timeout = self.patience_seconds
            try:
                return super().next()
            except OSError:
                self.gave_up()

    def gave_up(self):
        pass


class AbandonsLaterNext(AbandonsNext):
    """Abandons each `next` after the first event. So it completes any init."""

    SEEN_BY = {"slow-one-beside-it": "an invocation ended in failure Extension.Crash"}
    patience_seconds = None

    def invoked(self, event):
        self.patience_seconds = 0.2


class TimesOutAndPollsAnew(AbandonsNext):
    """Polls with a timeout, as HTTP clients have by default. That is often 30 s, and shorter here."""

    SEEN_BY = {"next-held-open": "closed while its next was pending"}
    patience_seconds = 5


class TimesOutAndExits(TimesOutAndPollsAnew):
    """Polls with the same timeout, and ends when it is reached."""

    SEEN_BY = {"next-held-open": "closed while its next was pending"}

    def gave_up(self):
        sys.exit("timeout")


class TimesOutLater(Extension):
    """Sets a timeout after the first event, and ends when it is reached."""

    SEEN_BY = {"frozen-for-long": "closed while its next was pending"}
    PATIENCE_SECONDS = 5

    def invoked(self, event):
        self.api.sock.settimeout(self.PATIENCE_SECONDS)


class TimesOutAtThaw(Extension):
    """Polls with a timeout whose clock runs during a freeze."""

    SEEN_BY = {
        "frozen-between-invocations": "an invocation ended in failure Extension.Crash",
        "frozen-with-an-event": "an invocation ended in failure Extension.Crash",
        "provisioned-concurrency": "an invocation ended in failure Extension.Crash",
        "snap-start": "an invocation ended in failure Extension.Crash",
    }

    def registered(self):
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while True:
            before = time.monotonic()
            time.sleep(0.02)
            if time.monotonic() - before > 0.4:
                os._exit(1)


class PollsTwice(Extension):
    """Polls on two connections at a time."""

    SEEN_BY = {"next-after-each-invocation": "an invocation ended in failure Extension.Crash"}

    def next(self):
        second = Connection(f"{self.api.host}:{self.api.port}")
        path = "/2020-01-01/extension/event/next"
        # The second call comes soon, while 30 invocations take at least 30 ms.
        threading.Timer(0.001, second.request, ("GET", path, None, self.identity)).start()
        return super().next()


class PollsAfterShutdown(Extension):
    """Polls again after SHUTDOWN."""

    SEEN_BY = {"spindown": "next after SHUTDOWN"}

    def shut_down(self, event):
        self.next()


class IgnoresShutdown(Extension):
    """Waits for SIGTERM, which extensions never get."""

    SEEN_BY = {
        "spindown": "after the shutdown began",
        "spindown-unused": "after the shutdown began",
    }

    def shut_down(self, event):
        time.sleep(FOR_EVER_SECONDS)


class IgnoresDeadline(Extension):
    """Takes 1.9 s for its end, even if the runtime has left less of the 2 s."""

    SEEN_BY = {
        "runtime-ignores-sigterm": "after the shutdown began",
        "short-shutdown": "after the shutdown began",
    }

    def shut_down(self, event):
        time.sleep(1.9)


class FailsAtShutdown(Extension):
    """Ends at SHUTDOWN with a failure."""

    SEEN_BY = {"spindown": "ended by exit status: 3"}

    def shut_down(self, event):
        sys.exit(3)


class NeedsUpperCaseReason(Extension):
    """Knows the reasons of SHUTDOWN only in the documentation's spelling."""

    SEEN_BY = {"spindown": "ended by exit status: 1"}

    def shut_down(self, event):
        ["SPINDOWN", "TIMEOUT", "FAILURE"].index(event["shutdownReason"])


class NeedsKnownReason(Extension):
    """Knows three reasons of SHUTDOWN, and crashes at a fourth."""

    SEEN_BY = {"unknown-reason": "ended by exit status: 1"}

    def shut_down(self, event):
        ["spindown", "timeout", "failure"].index(event["shutdownReason"])


class FailsAfterFailure(Extension):
    """Treats the function's failure as its own."""

    SEEN_BY = {
        "timeout-and-failure": "ended by exit status: 1",
        "function-timeout": "it does not leave by SHUTDOWN (timeout)",
        "runtime-crash": "it does not leave by SHUTDOWN (failure)",
        "runtime-exit": "it does not leave by SHUTDOWN (failure)",
        "crash-beside-it": "it does not leave by SHUTDOWN",
    }

    def shut_down(self, event):
        sys.exit(event["shutdownReason"] in ("timeout", "failure"))


class NeedsEventIdentifier(Extension):
    """Needs a header that SHUTDOWN does not have."""

    SEEN_BY = {"spindown": "ended by exit status: 1"}

    def ask(self, method, path, body, headers):
        status, headers, body = super().ask(method, path, body, headers)
        if path == "event/next" and "Lambda-Extension-Event-Identifier" not in headers:
            sys.exit("no identifier of the event")
        return status, headers, body


class NeedsJsonType(Extension):
    """Needs a Content-Type that SHUTDOWN does not have."""

    SEEN_BY = {"spindown": "ended by exit status: 1"}

    def ask(self, method, path, body, headers):
        status, headers, body = super().ask(method, path, body, headers)
        if headers["Content-Type"] != "application/json":
            sys.exit("not JSON")
        return status, headers, body


class NeedsTracing(Extension):
    """Needs a field that only an event with a trace has."""

    SEEN_BY = {"traced-invocation": "an invocation ended in failure Extension.Crash"}

    def invoked(self, event):
        event["tracing"]["value"]


class NeedsKnownFields(Extension):
    """Knows the fields of an event, and crashes at a new one."""

    SEEN_BY = {"additions-to-answers": "an invocation ended in failure Extension.Crash"}

    KNOWN = {"eventType", "deadlineMs", "requestId", "invokedFunctionArn", "tracing"}

    def invoked(self, event):
        if event.keys() - self.KNOWN:
            sys.exit(f"unknown fields: {event.keys() - self.KNOWN}")


class CrashesOnUnknownEvent(Extension):
    """Knows two events, and crashes at a third."""

    SEEN_BY = {"unknown-event": "an invocation ended in failure Extension.Crash"}

    def invoked(self, event):
        {"INVOKE": None}[event["eventType"]]


class ReadsSmallEvents(Extension):
    """Reads only 64 KiB of an event, and treats them as the whole event."""

    SEEN_BY = {"huge-event": "an invocation ended in failure Extension.Crash"}

    def next(self):
        self.api.request("GET", "/2020-01-01/extension/event/next", None, self.identity)
        return json.loads(self.api.getresponse().read(65536))


class UsesAllOfItsTime(Extension):
    """Works until shortly before the deadline by its own clock."""

    SEEN_BY = {"clock-ahead": "killed"}

    def shut_down(self, event):
        time.sleep(max(0, event["deadlineMs"] / 1000 - time.time() - 0.5))


class EndsWhenLate(Extension):
    """Ends if the deadline has passed by its own clock."""

    SEEN_BY = {"clock-behind": "an invocation ended in failure Extension.Crash"}

    def invoked(self, event):
        if event["deadlineMs"] / 1000 < time.time():
            sys.exit("too late")


class SpinsOnUnknownEvent(Extension):
    """Never polls again after an unknown event."""

    SEEN_BY = {"unknown-event": "an invocation ended in timeout"}

    def invoked(self, event):
        while event.get("eventType") != "INVOKE":
            pass


class SpinsOnFailedNext(Extension):
    """Polls again without a pause, for ever, after a failed `next`."""

    SEEN_BY = {"next-answered-500": "it spins"}

    def next(self):
        while True:
            status, _, body = self.ask("GET", "event/next", None, self.identity)
            if status == 200:
                return json.loads(body)


class ExitsCleanlyOnFailedNext(Extension):
    """Ends with 0 after a failed `next`, as after a success."""

    SEEN_BY = {"next-answered-500": "it says that all is well, and ends"}

    def next(self):
        try:
            return super().next()
        except (OSError, SystemExit):
            sys.exit(0)


class NeedsContentLength(Extension):
    """Reads as many bytes as Content-Length declares, and no chunks."""

    SEEN_BY = {"chunked-answers": "init: failure Extension.Crash"}

    def ask(self, method, path, body, headers):
        self.api.request(method, f"/2020-01-01/extension/{path}", body, headers)
        response = self.api.getresponse()
        length = int(response.headers["Content-Length"])
        return response.status, response.headers, response.read(length)


class NeedsHeaderCase(Extension):
    """Compares the names of headers case-sensitively."""

    SEEN_BY = {
        "headers-in-lower-case": "init: failure Extension.Crash",
        "headers-in-upper-case": "init: failure Extension.Crash",
    }

    def ask(self, method, path, body, headers):
        status, headers, body = super().ask(method, path, body, headers)
        return status, dict(headers.items()), body


class ReadsOnce(Extension):
    """Treats the bytes of a single read as the whole answer."""

    # The failure comes in init. On a busy machine the first answer may arrive in one piece, and then it comes
    # in an invocation.
    SEEN_BY = {"answers-byte-by-byte": "failure Extension.Crash"}

    def ask(self, method, path, body, headers):
        body = body or ""
        lines = [f"{method} /2020-01-01/extension/{path} HTTP/1.1", f"Host: {self.api.host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", body]
        if self.api.sock is None:
            self.api.connect()
        self.api.sock.sendall("\r\n".join(lines).encode())
        head, _, answer = self.api.sock.recv(65536).partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        return int(first.split()[1]), headers, answer


class HoldsInvocation(Extension):
    """Works for 300 ms before each poll."""

    SEEN_BY = {"invocations-not-held": "invocations take 50ms or longer"}

    def invoked(self, event):
        time.sleep(0.3)


class HoldsTwoOfThree(Extension):
    """Works for a second after most events."""

    SEEN_BY = {"invocations-not-held": "invocations take 50ms or longer"}
    invocations = 0

    def invoked(self, event):
        self.invocations += 1
        if self.invocations % 3:
            time.sleep(1)


class LeaksDescriptors(Extension):
    """Opens ten files at each invocation, and closes none."""

    SEEN_BY = {"steady-footprint": "before and after 200 invocations"}

    def __init__(self):
        super().__init__()
        self.files = []

    def invoked(self, event):
        self.files += [os.open("/dev/null", os.O_RDONLY) for _ in range(10)]


class LeaksMemory(Extension):
    """Keeps 64 KiB of memory at each invocation."""

    SEEN_BY = {"steady-footprint": "before and after 200 invocations"}

    def __init__(self):
        super().__init__()
        self.memory = []

    def invoked(self, event):
        self.memory.append(b"x" * (64 * 1024))


class LeaksChildren(Extension):
    """Starts a process at every tenth event, and ends them only when it ends itself."""

    SEEN_BY = {"steady-footprint": "before and after 200 invocations"}

    def __init__(self):
        super().__init__()
        self.invocations = 0
        self.children = []

    def invoked(self, event):
        self.invocations += 1
        if self.invocations % 10 == 0:
            self.children.append(sleeping_child())

    def shut_down(self, event):
        for child in self.children:
            child.kill()


class LeaksInAChild(LeaksMemory):
    """Starts a child that does its work, and waits for the child's end."""

    SEEN_BY = {"steady-footprint": "before and after 200 invocations"}

    def run(self):
        child = os.fork()
        if child == 0:
            super().run()
            os._exit(0)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


class BurnsCpu(Extension):
    """Checks for work in a busy loop."""

    SEEN_BY = {"sleeps-while-idle": "limits 20ms and 20"}

    def registered(self):
        threading.Thread(target=self.spin, daemon=True).start()

    def spin(self):
        while True:
            pass


class BurnsCpuOnceInvoked(BurnsCpu):
    """Starts the busy loop at its first event."""

    SEEN_BY = {"sleeps-while-idle": "after its first event"}
    spins = False

    def registered(self):
        pass

    def invoked(self, event):
        if not self.spins:
            self.spins = True
            super().registered()


class WakesOften(Extension):
    """Checks for work every 10 ms."""

    SEEN_BY = {"sleeps-while-idle": "limits 20ms and 20"}

    def registered(self):
        threading.Thread(target=self.look, daemon=True).start()

    def look(self):
        while True:
            time.sleep(0.01)


class LeavesChild(Extension):
    """Starts a process that outlives it."""

    SEEN_BY = {"spindown": "processes outlive it"}

    def registered(self):
        sleeping_child()


class FloodsLog(Extension):
    """Writes 200 lines at each event, which the customer pays for."""

    SEEN_BY = {"quiet-log": "lines at its start"}

    def invoked(self, event):
        print("\n".join([str(event)] * 200), flush=True)


class ReportsExitAndStays(Extension):
    """Reports that it has failed, and does not end."""

    SEEN_BY = {"next-after-each-invocation": "an invocation ended in timeout"}

    def invoked(self, event):
        headers = {"Lambda-Extension-Function-Error-Type": "Extension.Broken", **self.identity}
        self.ask("POST", "exit/error", "{}", headers)
        time.sleep(FOR_EVER_SECONDS)


class LeavesLock(Extension):
    """Treats the lock of its killed predecessor as the lock of a live process."""

    SEEN_BY = {"killed": "an invocation ended in failure Extension.Crash"}

    def registered(self):
        self.lock = f"/tmp/broken-{self.api.port}.lock"
        if os.path.exists(self.lock):
            os.remove(self.lock)
            sys.exit("there is another one")
        with open(self.lock, "w"):
            pass

    def shut_down(self, event):
        os.remove(self.lock)


class KeepsLock(LeavesLock):
    """Leaves its lock behind even after SHUTDOWN."""

    SEEN_BY = {
        "function-timeout": "an invocation ended in failure Extension.Crash",
        "runtime-crash": "an invocation ended in failure Extension.Crash",
        "runtime-exit": "an invocation ended in failure Extension.Crash",
        "failed-init": "an invocation ended in failure Extension.Crash",
        "slow-init": "an invocation ended in failure Extension.Crash",
    }

    def shut_down(self, event):
        if event["shutdownReason"] == "spindown":
            super().shut_down(event)


class NeedsTelemetry(Extension):
    """Ends if it cannot subscribe to telemetry."""

    SEEN_BY = {"telemetry-not-supported": "init: failure Extension.Crash"}

    def registered(self):
        port = 4243  # Nobody listens, and nothing is waited for.
        destination = {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{port}"}
        wanted = {"types": ["platform"], "destination": destination, "schemaVersion": "2022-12-13"}
        self.api.request("PUT", "/2022-07-01/telemetry", json.dumps(wanted), self.identity)
        response = self.api.getresponse()
        body = response.read()
        if response.status != 200:
            sys.exit(f"cannot subscribe: {response.status} {body.decode()}")


def sleeping_child():
    import subprocess

    sleep = ["sleep", str(FOR_EVER_SECONDS)]
    return subprocess.Popen(sleep, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    extension.run_fault_of(globals())
