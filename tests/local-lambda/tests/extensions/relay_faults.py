"""Faults of relays. Each class is `relay.py` with one fault. Its `SEEN_BY` names the scenarios that must
notice the fault, each with a part of its observations. The variable FAULT selects the class.
"""

import http.client
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse

import extension
import relay
from relay import Queue, Reception, Relay, Remote, Report, Sender, Server


class Faulty(Relay):
    """A relay whose parts can be replaced."""

    queue_kind = Queue
    remote_kind = Remote
    sender_kind = Sender
    server_kind = Server
    reception_kind = Reception

    def __init__(self):
        super().__init__()
        self.queue = self.queue_kind()
        self.remote = self.remote_kind(os.environ.get("RELAY_REMOTE", ""))
        self.sender = self.sender_kind(self.queue, self.remote)

    def serve(self, address, family):
        server = self.server_kind(address, family, self.reception_kind, self.queue)
        server.relay = self
        relay.start(lambda: server.serve_forever(poll_interval=None))
        return server


# Faults at the local port, for agents.


class ForwardsInline(Faulty):
    """Answers the agent only after the remote has answered."""

    SEEN_BY = {
        "relay-slow-remote": "medians with a healthy remote",
        "relay-hanging-remote": "no answer in time",
    }

    class reception_kind(Reception):
        def answer(self, status):
            self.server.queue.wait_until_empty(time.monotonic() + 60)
            super().answer(status)


class Answers202(Faulty):
    """Answers 202, which Node.js's agent counts as a failure."""

    SEEN_BY = {"relay-every-agent": "status 202"}

    class reception_kind(Reception):
        def answer(self, status):
            super().answer(202 if status == 200 else status)


class Answers500(Faulty):
    """Accepts the report, and answers that it failed."""

    SEEN_BY = {"relay-every-agent": "status 500"}

    class reception_kind(Reception):
        def answer(self, status):
            super().answer(500)


class ListensOnV4(Faulty):
    """Does not listen on ::1."""

    SEEN_BY = {"relay-ipv6-only": "a report of the agent"}

    def listen(self):
        self.servers.setdefault("::1", None)
        super().listen()


class SingleThreaded(Faulty):
    """Serves one connection at a time."""

    SEEN_BY = {"malformed-stalled-connections": "no answer in time"}

    class server_kind(Server):
        def process_request(self, request, client_address):
            self.finish_request(request, client_address)
            self.shutdown_request(request)


class CrashesOnReset(Faulty):
    """Ends when an agent resets its connection."""

    SEEN_BY = {
        "malformed-reset-at-once": "a report of the agent",
        "malformed-reset-after-sending": "a report of the agent",
    }

    class server_kind(Server):
        def handle_error(self, request, client_address):
            os._exit(1)


class CrashesOnMalformed(Faulty):
    """Ends when a request is not valid HTTP."""

    SEEN_BY = {
        "malformed-length": "a report of the agent",
        "malformed-garbage": "a report of the agent",
        "malformed-negative-length": "a report of the agent",
        "malformed-chunk": "a report of the agent",
        "malformed-huge-chunk": "a report of the agent",
        "malformed-huge-length": "a report of the agent",
        "malformed-large-length": "a report of the agent",
        "malformed-tls-hello": "a report of the agent",
        "malformed-http2-preface": "a report of the agent",
        "malformed-endless-head": "a report of the agent",
    }

    class reception_kind(Reception):
        def send_error(self, *arguments, **more):
            os._exit(1)

        def answer(self, status):
            if status == 400:
                os._exit(1)
            super().answer(status)


class CrashesOnEmpty(Faulty):
    """Assumes that a report is never empty."""

    SEEN_BY = {
        "local-empty-array": "closed in the head",
        "local-empty-body": "closed in the head",
    }

    class reception_kind(Reception):
        def accept(self, body):
            if len(body) <= 2:
                os._exit(1)
            super().accept(body)


class HangsUpOnUnknown(Faulty):
    """Closes the connection of an unknown request without an answer."""

    SEEN_BY = {"local-unknown-path": "closed in the head"}

    class reception_kind(Reception):
        def do_GET(self):
            self.close_connection = True


class NeedsHeaderCase(Faulty):
    """Compares the names of headers case-sensitively."""

    SEEN_BY = {"local-odd-headers": " 0 repeated"}

    class reception_kind(Reception):
        def read_body(self):
            length = dict(self.headers.items()).get("Content-Length", "0")
            return self.keep(self.pieces(int(length)))


class DiesWhenPortIsTaken(Faulty):
    """Ends if its port is taken."""

    SEEN_BY = {"local-port-taken": "init: failure Extension.Crash"}

    def serve(self, address, family):
        try:
            return super().serve(address, family)
        except OSError:
            sys.exit("the port is taken")


class ListensLate(Faulty):
    """Opens its port some time after it has registered."""

    SEEN_BY = {"local-open-at-register": "its port is not open"}

    def register(self, events):
        extension.Extension.register(self, events)

    def registered(self):
        time.sleep(0.5)
        self.listen()
        super().registered()


class BindsAlone(Faulty):
    """Cannot bind its port while a connection of its predecessor is still in TIME_WAIT."""

    SEEN_BY = {"local-port-after-reset": "a report of the agent"}

    class server_kind(Server):
        allow_reuse_address = False


class StaysDeaf(Faulty):
    """Binds its port once, and does not try again if it was taken."""

    SEEN_BY = {"local-port-freed": "it does not listen there"}

    def invoked(self, event):
        pass


class ResetsOversize(Faulty):
    """Resets the connection of a body that is too large, instead of reading it."""

    SEEN_BY = {
        "relay-one-megabyte": "the agent Node saw: reset",
        "relay-six-megabytes": "the agent Node saw: reset",
    }

    class reception_kind(Reception):
        def pieces(self, length):
            if length > 500_000:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                # The connection closes with the last of the three.
                for stream in (self.rfile, self.wfile, self.connection):
                    stream.close()
            return super().pieces(length)


class IgnoresChunks(Faulty):
    """Reads only bodies with a Content-Length."""

    SEEN_BY = {"relay-every-agent": " 0 repeated"}

    class reception_kind(Reception):
        def chunks(self):
            return self.pieces(0)


class KeepsCutBodies(Faulty):
    """Delivers the received part of a body that was cut off."""

    SEEN_BY = {"malformed-half-a-request": " 0 missing"}

    class reception_kind(Reception):
        def pieces(self, length):
            try:
                yield from super().pieces(length)
            except ValueError:
                return


class DrainsToTheEnd(Faulty):
    """Polls only when no agent has reported for a second. On a busy machine, an agent that reports without an
    end may need that long for a single report.
    """

    SEEN_BY = {"relay-endless-reports": "with reports that do not end"}

    class queue_kind(Queue):
        last_put = 0

        def put(self, report):
            self.last_put = time.monotonic()
            super().put(report)

    def invoked(self, event):
        super().invoked(event)
        started = time.monotonic()
        while time.monotonic() - max(started, self.queue.last_put) < 1:
            time.sleep(0.01)


class WaitsForAgent(Faulty):
    """Polls only when an agent has reported, or after 1.2 s."""

    SEEN_BY = {
        "invocations-not-held": "invocations take 50ms or longer",
        "relay-no-report": "medians with a report",
    }

    def invoked(self, event):
        super().invoked(event)
        with self.queue.changed:
            self.queue.changed.wait(1.2)


# Faults at the remote.


class WaitsForRemote(Faulty):
    """Polls only when all reports are delivered."""

    SEEN_BY = {
        "relay-hanging-remote": "the invocation ended in timeout",
        "relay-dead-remote": "the invocation ended in timeout",
        "relay-black-hole": "the invocation ended in timeout",
        "relay-resetting-remote": "the invocation ended in timeout",
        "relay-failing-remote": "the invocation ended in timeout",
        "relay-refusing-remote": "the invocation ended in timeout",
    }

    def invoked(self, event):
        super().invoked(event)
        time.sleep(0.1)
        self.queue.wait_until_empty(time.monotonic() + 60)


class DropsFailures(Faulty):
    """Drops the report in a request whose connection failed, such as at a thaw."""

    SEEN_BY = {
        "freeze-then-reset": " 0 repeated",
        "relay-reset-after-request": " 0 repeated",
        "relay-reset-before-request": " 0 repeated",
        "relay-reset-within-request": " 0 repeated",
        "relay-half-answer": " 0 repeated",
        "relay-no-http": " 0 repeated",
        "relay-one-hang": " 0 repeated",
        "relay-refused-then-back": " 0 repeated",
        "freeze-then-close": " 0 repeated",
        "freeze-then-reset-within-request": " 0 repeated",
        "idle-closed": " 0 repeated",
        "idle-closed-tls": " 0 repeated",
        "idle-reset": " 0 repeated",
        "idle-forgotten": " 0 repeated",
        "relay-one-request-per-connection": " 0 repeated",
    }

    class sender_kind(Sender):
        def attempt(self, report):
            status, retry_after = super().attempt(report)
            return status or 200, retry_after

    class remote_kind(Remote):
        def post(self, report, seconds):
            return self.exchange(report, seconds)


class RepeatsAfterFreeze(Faulty):
    """Treats an attempt of more than a second as failed, even if its answer has arrived."""

    SEEN_BY = {"freeze-long-before-answer": " 0 missing"}

    class sender_kind(Sender):
        def attempt(self, report):
            started = time.monotonic()
            status, retry_after = super().attempt(report)
            late = time.monotonic() - started > 1
            return None if late else status, retry_after


class ForgetsAtThaw(Faulty):
    """Collects reports for a moment before it sends, and drops them at a thaw."""

    SEEN_BY = {"freeze-after-post": " 0 repeated"}

    class sender_kind(Sender):
        def attempt(self, report):
            before = time.monotonic()
            time.sleep(0.02)
            if time.monotonic() - before > 0.04:
                return 400, None
            return super().attempt(report)


class SendsTwice(Faulty):
    """Sends each report twice, to be sure."""

    SEEN_BY = {
        "relay-several-reports": " 0 missing",
        "relay-many-items": " 0 missing",
        "freeze-within-request": " 0 missing",
        "freeze-before-answer": " 0 missing",
        "relay-slow-reader": " 0 missing",
        "relay-slow-answer": " 0 missing",
    }

    class remote_kind(Remote):
        def post(self, report, seconds):
            super().post(report, seconds)
            return super().post(report, seconds)


class DropsAt500(Faulty):
    """Never tries again after a failure of the remote."""

    SEEN_BY = {
        "relay-500-then-200": " 0 repeated",
        "relay-503-then-200": " 0 repeated",
    }

    class sender_kind(Sender):
        def attempt(self, report):
            status, retry_after = super().attempt(report)
            return 400 if status and status >= 500 else status, retry_after


class DropsAt429(Faulty):
    """Treats a busy remote as one that refuses."""

    SEEN_BY = {"relay-429-with-retry-after": " 0 repeated"}

    class sender_kind(Sender):
        def attempt(self, report):
            status, retry_after = super().attempt(report)
            return 400 if status == 429 else status, retry_after


class IgnoresRetryAfter(Faulty):
    """Ignores Retry-After."""

    SEEN_BY = {"relay-429-with-retry-after": "sent again after"}

    class sender_kind(Sender):
        def wait(self, failures, retry_after):
            super().wait(failures, None)


class RetriesAtOnce(Faulty):
    """Tries again without a pause."""

    SEEN_BY = {
        "relay-endless-500": "requests in an invocation of",
        "relay-endless-resets": "requests in an invocation of",
    }

    class sender_kind(Sender):
        def wait(self, failures, retry_after):
            pass


class RetriesRefusals(Faulty):
    """Tries for ever with a key that the remote does not know."""

    SEEN_BY = {
        "relay-401": "times; another",
        "relay-403": "times; another",
        "relay-413": "times; another",
    }

    class sender_kind(Sender):
        def attempt(self, report):
            status, retry_after = super().attempt(report)
            return None if status in (400, 401, 403, 413) else status, retry_after


class FollowsRedirects(Faulty):
    """Follows redirects with the body and the key."""

    SEEN_BY = {"relay-redirect": "requests redirected"}

    class remote_kind(Remote):
        def exchange(self, report, seconds):
            connection = self.connect(seconds)
            connection.request("POST", report.path, report.body, report.headers)
            response = connection.getresponse()
            response.read()
            self.close()
            place = response.headers.get("Location")
            if response.status in (301, 302, 303, 307, 308) and place:
                url = urllib.parse.urlsplit(place)
                other = http.client.HTTPConnection(url.netloc, timeout=seconds)
                other.request("POST", url.path or "/", report.body, report.headers)
                return other.getresponse().status, None
            return response.status, response.headers.get("Retry-After")


class VerifiesNothing(Faulty):
    """Trusts any certificate."""

    SEEN_BY = {
        "tls-unknown-authority": "1 connections; at SHUTDOWN",
        "tls-other-name": "1 connections; at SHUTDOWN",
        "tls-expired": "1 connections; at SHUTDOWN",
        "tls-self-signed": "1 connections; at SHUTDOWN",
    }

    class remote_kind(Remote):
        def trust(self):
            context = super().trust()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context


class VerifiesNoName(Faulty):
    """Trusts a certificate for any name."""

    SEEN_BY = {"tls-other-name": "1 connections; at SHUTDOWN"}

    class remote_kind(Remote):
        def trust(self):
            context = super().trust()
            context.check_hostname = False
            return context


class TrustsItsSystemAlone(Faulty):
    """Does not trust the configured authority."""

    SEEN_BY = {"tls-right-certificate": "4 missing"}

    class remote_kind(Remote):
        def trust(self):
            return ssl.create_default_context()


class DropsAuthorization(Faulty):
    """Forwards no header."""

    SEEN_BY = {"relay-authorization": "a report came with"}

    class remote_kind(Remote):
        def exchange(self, report, seconds):
            return super().exchange(Report(report.path, {}, report.body), seconds)


class MixesKeys(Faulty):
    """Sends all reports with the key of the first."""

    SEEN_BY = {"relay-authorization": "a report came with"}

    class remote_kind(Remote):
        key = None

        def exchange(self, report, seconds):
            self.key = self.key or report.headers.get("Authorization")
            headers = {**report.headers, "Authorization": self.key}
            return super().exchange(report._replace(headers=headers), seconds)


class MixesPaths(Faulty):
    """Sends all reports of a key to the path of its first."""

    SEEN_BY = {"relay-authorization": "a report came with"}

    class remote_kind(Remote):
        def __init__(self, origin):
            super().__init__(origin)
            self.paths = {}

        def exchange(self, report, seconds):
            path = self.paths.setdefault(report.headers.get("Authorization"), report.path)
            return super().exchange(report._replace(path=path), seconds)


class DropsEncoding(Faulty):
    """Forwards the compressed body without its Content-Encoding."""

    SEEN_BY = {"relay-compressed": "of them as reported"}

    class remote_kind(Remote):
        def exchange(self, report, seconds):
            kept = {name: it for name, it in report.headers.items() if name != "Content-Encoding"}
            return super().exchange(Report(report.path, kept, report.body), seconds)


class RewritesBodies(Faulty):
    """Parses the JSON and writes it again, slightly changed."""

    SEEN_BY = {"relay-every-agent": "items: 0 once"}

    class remote_kind(Remote):
        def exchange(self, report, seconds):
            try:
                body = json.dumps(json.loads(report.body)).encode()
            except ValueError:
                body = report.body
            return super().exchange(Report(report.path, report.headers, body), seconds)


class LogsKey(Faulty):
    """Logs the headers of a report that it cannot deliver, including the key."""

    SEEN_BY = {
        "log-no-key": " lines",
        "log-quiet": 'the first "relay',
    }

    class reception_kind(Reception):
        def answer(self, status):
            print("relay: report", dict(self.headers), file=sys.stderr, flush=True)
            super().answer(status)


class LogsEachAttempt(Faulty):
    """Logs each failed attempt, and makes many."""

    SEEN_BY = {"log-outage": 'the first "relay'}

    class sender_kind(Sender):
        def wait(self, failures, retry_after):
            print(f"relay: error, attempt {failures} failed", file=sys.stderr, flush=True)
            time.sleep(0.01)


# Faults about the waiting reports and about the end.


class Unbounded(Faulty):
    """Keeps all reports without a limit while the remote is down."""

    SEEN_BY = {"memory-dead-remote": "KiB, 0 of 2000 reports failed"}

    class queue_kind(Queue):
        def reserve(self, size):
            super().reserve(size)
            return True


class LeaksConnections(Faulty):
    """Opens a new connection to the remote for each request, and closes none."""

    SEEN_BY = {"steady-descriptors": "descriptors before"}

    class remote_kind(Remote):
        sockets = []

        def exchange(self, report, seconds):
            connection = self.connect(seconds)
            connection.connect()
            self.sockets.append(connection.sock.dup())
            return super().exchange(report, seconds)


INVOKED = threading.Event()


class SendsAtNextInvoke(Faulty):
    """Sends only when an INVOKE comes, but Managed Instances have none."""

    SEEN_BY = {"relay-managed-instances": " 0 repeated"}

    class sender_kind(Sender):
        def run(self):
            INVOKED.wait()
            super().run()

    def invoked(self, event):
        super().invoked(event)
        INVOKED.set()


class SendsAtTheEnd(Faulty):
    """Keeps all reports until SHUTDOWN."""

    SEEN_BY = {"relay-before-shutdown": " 0 repeated"}

    class sender_kind(Sender):
        def run(self):
            self.hurried.wait()
            super().run()


class NoFlush(Faulty):
    """Ends at SHUTDOWN without delivering its reports."""

    SEEN_BY = {
        "shutdown-slow-remote": " 0 repeated",
        "shutdown-after-outage": " 0 repeated",
        "shutdown-after-one-invocation": " 0 repeated",
        "shutdown-behind-a-hang": " 0 repeated",
        "shutdown-after-timeout": " 0 repeated",
        "shutdown-after-crash": " 0 repeated",
        "shutdown-late-report": " 0 repeated",
    }

    def shut_down(self, event):
        os._exit(0)


class FlushesBeyondDeadline(Faulty):
    """Delivers until it is killed."""

    SEEN_BY = {"shutdown-hanging-remote": "killed: true"}

    def shut_down(self, event):
        super().shut_down({**event, "deadlineMs": event["deadlineMs"] + 60_000})


class FlushesForConstant(Faulty):
    """Delivers for 1.7 s, regardless of the deadline."""

    SEEN_BY = {"shutdown-short-deadline": "killed: true"}

    def shut_down(self, event):
        super().shut_down({**event, "deadlineMs": (time.time() + 1.7 + relay.EXIT_SECONDS) * 1000})


def main():
    extension.run_fault_of(globals())
