"""What extensions do wrong in their lifecycle: each class is `extension.py` with one fault.

Its `SEEN_BY` names the scenarios made for it, each with a part of what they must see. The variable
FAULT names the class.
"""

import http.client
import ipaddress
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import extension
from extension import Extension

# Longer than any phase.
FOR_EVER_SECONDS = 600


class ExitsEarly(Extension):
    """Takes the first invocation for the last one, and ends with 0."""

    SEEN_BY = {"next-after-each-invocation": "an invocation ended in failure Extension.Crash"}

    def invoked(self, event):
        sys.exit(0)


class ExitsWithoutConfiguration(Extension):
    """Takes a missing variable of its own for a reason to leave."""

    SEEN_BY = {"registers-in-time": "init: failure Extension.Crash"}

    def registered(self):
        sys.exit(0 if "BROKEN_API_KEY" not in os.environ else None)


class CrashesInInit(Extension):
    """Fails between register and the first next."""

    SEEN_BY = {"registers-in-time": "init: failure Extension.Crash"}

    def registered(self):
        sys.exit(1)


class NeverRegisters(Extension):
    """Starts, and does nothing."""

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
    """Registers when init is over."""

    SEEN_BY = {"registers-in-time": "init: timeout"}

    def register(self, events):
        time.sleep(11)
        super().register(events)


class NeverPolls(Extension):
    """Registers, and never asks for an event."""

    SEEN_BY = {"registers-in-time": "init: timeout"}

    def registered(self):
        time.sleep(FOR_EVER_SECONDS)


class ConstantName(Extension):
    """Registers under the name that its file had once."""

    SEEN_BY = {"renamed-file": "init: failure Extension.Crash"}

    def register(self, events):
        sys.argv[0] = "my-extension"
        super().register(events)


class ConstantAddress(Extension):
    """Takes it for granted that the Runtime API is where emulators have it."""

    SEEN_BY = {"registers-in-time": "init: failure Extension.Crash"}

    def __init__(self):
        super().__init__()
        self.api = http.client.HTTPConnection("127.0.0.1:9001")


class UsesProxy(Extension):
    """Asks the Runtime API through the proxy that the function uses."""

    SEEN_BY = {"proxy-variables": "init: failure Extension.Crash"}

    def ask(self, method, path, body, headers):
        url = f"http://{self.api.host}:{self.api.port}/2020-01-01/extension/{path}"
        request = urllib.request.Request(url, body and body.encode(), headers, method=method)
        try:
            with urllib.request.urlopen(request) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()


class AsksForUnknownEvent(Extension):
    """Asks for an event that does not exist, and gives up when it is refused."""

    SEEN_BY = {"events-that-exist": "init: failure Extension.Crash"}

    def register(self, events):
        super().register([*events, "RESTORE"])


class DemandsInvoke(Extension):
    """Knows no environment without INVOKE, such as Managed Instances, and ends with 0."""

    SEEN_BY = {"managed-instances": "init: failure Extension.Crash"}

    def register(self, events):
        if "INVOKE" not in events:
            sys.exit(0)
        super().register(events)


class FailsWithoutInvoke(Extension):
    """The same, and ends with an error."""

    SEEN_BY = {"managed-instances": "init: failure Extension.Crash"}

    def register(self, events):
        if "INVOKE" not in events:
            sys.exit("INVOKE is refused")
        super().register(events)


class WaitsOnRefusedRegister(Extension):
    """Stays where it is when it can't register, and init with it."""

    SEEN_BY = {"refused-register": "it holds init until it is killed"}

    def register(self, events):
        try:
            super().register(events)
        except SystemExit:
            time.sleep(FOR_EVER_SECONDS)


class SpinsOnRefusedRegister(Extension):
    """Registers again at once, and for ever, when it is refused."""

    SEEN_BY = {"refused-register": "it spins"}

    def register(self, events):
        while not self.identity:
            try:
                super().register(events)
            except SystemExit:
                continue


class NeedsHome(Extension):
    """Keeps its state in the home directory, which Lambda's user does not have."""

    SEEN_BY = {"bare-environment": "init: failure Extension.Crash"}

    def registered(self):
        os.makedirs(os.path.join(os.environ["HOME"], ".broken"), exist_ok=True)


class NeedsRuntimesVariable(Extension):
    """Needs a variable that only the runtime gets."""

    SEEN_BY = {"bare-environment": "init: failure Extension.Crash"}

    def registered(self):
        os.environ["AWS_EXECUTION_ENV"]


class NeedsNumber(Extension):
    """Takes a memory size that is no number for a reason to crash."""

    SEEN_BY = {
        "empty-variables": "init: failure Extension.Crash",
        "absurd-variables": "init: failure Extension.Crash",
    }

    def registered(self):
        int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"))


class NeedsSmallNumber(Extension):
    """Takes any number for a memory size that makes sense."""

    SEEN_BY = {"absurd-numbers": "init: failure Extension.Crash"}

    def registered(self):
        memory_size = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        if memory_size.lstrip("-").isdecimal():
            bytearray(int(memory_size))


class NeedsUtf8(Extension):
    """Takes each variable for text."""

    SEEN_BY = {"variables-that-are-not-utf-8": "init: failure Extension.Crash"}

    def registered(self):
        for value in os.environb.values():
            value.decode()


class NeedsIpAddress(Extension):
    """Takes the host of the Runtime API for an address, where a name may be."""

    SEEN_BY = {"runtime-api-by-name": "init: failure Extension.Crash"}

    def registered(self):
        ipaddress.ip_address(self.api.host)


class NeedsWritableDirectory(Extension):
    """Keeps its state beside its file, where Lambda's user may not write."""

    SEEN_BY = {"lambdas-user": "init: failure Extension.Crash"}

    def registered(self):
        with open(f"{sys.argv[0]}.state", "w") as state:
            state.write("registered")


class LocksOthersOut(Extension):
    """Takes for itself what only one process of an environment can have."""

    SEEN_BY = {"ten-at-once": "init: failure Extension.Crash"}

    def registered(self):
        self.lock = socket.socket(socket.AF_UNIX)
        self.lock.bind(f"\0broken-{self.api.port}")


class AbandonsNext(Extension):
    """Gives a next up after 200 ms, and polls anew on another connection."""

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
    """The same once there was an event: however long init takes, it gets as far as that."""

    SEEN_BY = {"slow-one-beside-it": "an invocation ended in failure Extension.Crash"}
    patience_seconds = None

    def invoked(self, event):
        self.patience_seconds = 0.2


class TimesOutAndPollsAnew(AbandonsNext):
    """The same with a timeout as HTTP clients have one by default, of 30 s often; here it is short."""

    SEEN_BY = {"next-held-open": "closed while its next was pending"}
    patience_seconds = 5


class TimesOutAndExits(TimesOutAndPollsAnew):
    """The same, with the end of the process instead of another poll."""

    SEEN_BY = {"next-held-open": "closed while its next was pending"}

    def gave_up(self):
        sys.exit("timeout")


class TimesOutLater(Extension):
    """Sets a timeout once there was an event, and ends when it is over."""

    SEEN_BY = {"frozen-for-long": "closed while its next was pending"}
    PATIENCE_SECONDS = 5

    def invoked(self, event):
        self.api.sock.settimeout(self.PATIENCE_SECONDS)


class TimesOutAtThaw(Extension):
    """Has a timeout on next whose clock goes on while the process is frozen."""

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
        second = http.client.HTTPConnection(self.api.host, self.api.port)
        path = "/2020-01-01/extension/event/next"
        # The second call comes soon, while 30 invocations take at least 30 ms.
        threading.Timer(0.001, second.request, ("GET", path, None, self.identity)).start()
        return super().next()


class PollsAfterShutdown(Extension):
    """Asks for the event after the last."""

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
    """Takes 1.9 s for its end, however little of the 2 s the runtime has left."""

    SEEN_BY = {
        "runtime-ignores-sigterm": "after the shutdown began",
        "short-shutdown": "after the shutdown began",
    }

    def shut_down(self, event):
        time.sleep(1.9)


class FailsAtShutdown(Extension):
    """Ends with a failure although it was asked to end."""

    SEEN_BY = {"spindown": "ended by exit status: 3"}

    def shut_down(self, event):
        sys.exit(3)


class NeedsUpperCaseReason(Extension):
    """Knows the reasons for SHUTDOWN as the documentation spells them."""

    SEEN_BY = {"spindown": "ended by exit status: 1"}

    def shut_down(self, event):
        ["SPINDOWN", "TIMEOUT", "FAILURE"].index(event["shutdownReason"])


class NeedsKnownReason(Extension):
    """Knows three reasons for SHUTDOWN and crashes at a fourth."""

    SEEN_BY = {"unknown-reason": "ended by exit status: 1"}

    def shut_down(self, event):
        ["spindown", "timeout", "failure"].index(event["shutdownReason"])


class FailsAfterFailure(Extension):
    """Takes the function's failure for its own."""

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
        if headers.get_content_type() != "application/json":
            sys.exit("not JSON")
        return status, headers, body


class NeedsTracing(Extension):
    """Needs what only an event with a trace has."""

    SEEN_BY = {"traced-invocation": "an invocation ended in failure Extension.Crash"}

    def invoked(self, event):
        event["tracing"]["value"]


class NeedsKnownFields(Extension):
    """Knows what an event may hold, and crashes at a field that is new."""

    SEEN_BY = {"additions-to-answers": "an invocation ended in failure Extension.Crash"}

    KNOWN = {"eventType", "deadlineMs", "requestId", "invokedFunctionArn", "tracing"}

    def invoked(self, event):
        if event.keys() - self.KNOWN:
            sys.exit(f"unknown fields: {event.keys() - self.KNOWN}")


class CrashesOnUnknownEvent(Extension):
    """Knows two events and crashes at a third."""

    SEEN_BY = {"unknown-event": "an invocation ended in failure Extension.Crash"}

    def invoked(self, event):
        {"INVOKE": None}[event["eventType"]]


class ReadsSmallEvents(Extension):
    """Reads 64 KiB of an event, and takes what is cut off there for one."""

    SEEN_BY = {"huge-event": "an invocation ended in failure Extension.Crash"}

    def next(self):
        self.api.request("GET", "/2020-01-01/extension/event/next", None, self.identity)
        return json.loads(self.api.getresponse().read(65536))


class UsesAllOfItsTime(Extension):
    """Works until shortly before the deadline that its own clock shows."""

    SEEN_BY = {"clock-ahead": "killed"}

    def shut_down(self, event):
        time.sleep(max(0, event["deadlineMs"] / 1000 - time.time() - 0.5))


class EndsWhenLate(Extension):
    """Ends when its clock shows that the deadline has passed."""

    SEEN_BY = {"clock-behind": "an invocation ended in failure Extension.Crash"}

    def invoked(self, event):
        if event["deadlineMs"] / 1000 < time.time():
            sys.exit("too late")


class SpinsOnUnknownEvent(Extension):
    """Looks at an event that it does not know for ever."""

    SEEN_BY = {"unknown-event": "an invocation ended in timeout"}

    def invoked(self, event):
        while event.get("eventType") != "INVOKE":
            pass


class SpinsOnFailedNext(Extension):
    """Polls again at once, and for ever, when a next fails."""

    SEEN_BY = {"next-answered-500": "it spins"}

    def next(self):
        while True:
            status, _, body = self.ask("GET", "event/next", None, self.identity)
            if status == 200:
                return json.loads(body)


class ExitsCleanlyOnFailedNext(Extension):
    """Ends with 0 when a next fails, as if all were well."""

    SEEN_BY = {"next-answered-500": "it says that all is well, and ends"}

    def next(self):
        try:
            return super().next()
        except (OSError, http.client.HTTPException, SystemExit):
            sys.exit(0)


class NeedsContentLength(Extension):
    """Reads as many bytes as Content-Length says, and no chunks."""

    SEEN_BY = {"chunked-answers": "init: failure Extension.Crash"}

    def ask(self, method, path, body, headers):
        self.api.request(method, f"/2020-01-01/extension/{path}", body, headers)
        response = self.api.getresponse()
        length = int(response.headers["Content-Length"])
        return response.status, response.headers, response.read(length)


class NeedsHeaderCase(Extension):
    """Compares the names of headers byte by byte."""

    SEEN_BY = {
        "headers-in-lower-case": "init: failure Extension.Crash",
        "headers-in-upper-case": "init: failure Extension.Crash",
    }

    def ask(self, method, path, body, headers):
        status, headers, body = super().ask(method, path, body, headers)
        return status, dict(headers.items()), body


class ReadsOnce(Extension):
    """Takes what a single read returns for the whole answer."""

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
    """Works for 300 ms before it asks for the next event."""

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
    """Opens ten files at each invocation and closes none."""

    SEEN_BY = {"steady-footprint": "before and after 200 invocations"}

    def __init__(self):
        super().__init__()
        self.files = []

    def invoked(self, event):
        self.files += [os.open("/dev/null", os.O_RDONLY) for _ in range(10)]


class LeaksMemory(Extension):
    """Keeps 64 KiB of each invocation."""

    SEEN_BY = {"steady-footprint": "before and after 200 invocations"}

    def __init__(self):
        super().__init__()
        self.memory = []

    def invoked(self, event):
        self.memory.append(b"x" * (64 * 1024))


class LeaksChildren(Extension):
    """Starts a process at every tenth event, and ends them all with itself only."""

    SEEN_BY = {"steady-footprint": "before and after 200 invocations"}

    def __init__(self):
        super().__init__()
        self.invocations = 0
        self.children = []

    def invoked(self, event):
        self.invocations += 1
        if self.invocations % 10 == 0:
            quiet = subprocess.DEVNULL
            sleep = ["sleep", str(FOR_EVER_SECONDS)]
            self.children.append(subprocess.Popen(sleep, stdout=quiet, stderr=quiet))

    def shut_down(self, event):
        for child in self.children:
            child.kill()


class LeaksInAChild(LeaksMemory):
    """Has a child that lives its life, and waits for the end of it."""

    SEEN_BY = {"steady-footprint": "before and after 200 invocations"}

    def run(self):
        child = os.fork()
        if child == 0:
            super().run()
            os._exit(0)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


class BurnsCpu(Extension):
    """Looks again and again, without a pause, whether there is something to do."""

    SEEN_BY = {"sleeps-while-idle": "limits 20ms and 20"}

    def registered(self):
        threading.Thread(target=self.spin, daemon=True).start()

    def spin(self):
        while True:
            pass


class BurnsCpuOnceInvoked(BurnsCpu):
    """Begins with it at its first event."""

    SEEN_BY = {"sleeps-while-idle": "after its first event"}
    spins = False

    def registered(self):
        pass

    def invoked(self, event):
        if not self.spins:
            self.spins = True
            super().registered()


class WakesOften(Extension):
    """Looks every 10 ms whether there is something to do."""

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
        sleep = ["sleep", str(FOR_EVER_SECONDS)]
        quiet = subprocess.DEVNULL
        subprocess.Popen(sleep, stdout=quiet, stderr=quiet)


class FloodsLog(Extension):
    """Writes 200 lines of each event, and so into the bill of the log."""

    SEEN_BY = {"quiet-log": "lines at its start"}

    def invoked(self, event):
        print("\n".join([str(event)] * 200), flush=True)


class ReportsExitAndStays(Extension):
    """Says that it has failed, and stays."""

    SEEN_BY = {"next-after-each-invocation": "an invocation ended in timeout"}

    def invoked(self, event):
        headers = {"Lambda-Extension-Function-Error-Type": "Extension.Broken", **self.identity}
        self.ask("POST", "exit/error", "{}", headers)
        time.sleep(FOR_EVER_SECONDS)


class LeavesLock(Extension):
    """Takes the lock of its predecessor, who was killed, for one of somebody who lives."""

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
    """Leaves its lock where it is when it was asked to end, too."""

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
    """Ends where it can't subscribe to telemetry."""

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


def main():
    extension.run_fault_of(globals())
