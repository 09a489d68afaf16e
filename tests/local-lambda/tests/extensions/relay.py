"""A correct relay. It answers agents at RELAY_PORT at once, and delivers to RELAY_REMOTE later. RELAY_CA names
an authority to trust for that remote. Threads: the main one polls, one sends, and each connection of an
agent has one.
"""

import collections
import http.client
import http.server
import os
import random
import socket
import socketserver
import ssl
import sys
import threading
import time
import urllib.parse

from extension import Extension

# Limit of waiting reports, in bytes. More are refused with 429.
BUFFER_BYTES_MAX = 4 * 1024 * 1024
# The memory of a report in addition to its body.
REPORT_BYTES = 1024
# Time limit of a connection attempt, and of each wait for the remote's next bytes.
ATTEMPT_SECONDS = 3.0
BACKOFF_SECONDS_MIN = 0.1
BACKOFF_SECONDS_MAX = 5.0
# Time limit of an attempt that is running at SHUTDOWN. Then another one begins.
LAST_ATTEMPT_SECONDS = 0.7
# Time before the deadline of SHUTDOWN that is left for the exit.
EXIT_SECONDS = 0.2
# Time for the agents' last posts to arrive after SHUTDOWN, and to be read.
LAST_POSTS_SECONDS = 0.1
READING_SECONDS = 0.3
# How much of a body is read at once.
PIECE_BYTES = 64 * 1024
# Limit of the remote's answer. A longer one ends the connection.
ANSWER_BYTES_MAX = 64 * 1024
KEPT_HEADERS = ("Authorization", "Content-Type", "Content-Encoding")

Report = collections.namedtuple("Report", "path headers body")


class Relay(Extension):
    def __init__(self):
        super().__init__()
        self.queue = Queue()
        self.remote = Remote(os.environ.get("RELAY_REMOTE", ""))
        self.sender = Sender(self.queue, self.remote)
        self.servers = {}

    def register(self, events):
        # The runtime and its agent start when this has returned.
        self.listen()
        super().register(events)

    def registered(self):
        start(self.sender.run)

    def listen(self):
        for address, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
            if address not in self.servers:
                try:
                    self.servers[address] = self.serve(address, family)
                except (OSError, ValueError, OverflowError):
                    continue  # Taken, or there is no IPv6; tried again at the next event.

    def serve(self, address, family):
        server = Server(address, family, Reception, self.queue)
        start(lambda: server.serve_forever(poll_interval=None))
        return server

    def invoked(self, event):
        self.listen()

    def shut_down(self, event):
        deadline = time.monotonic() + event["deadlineMs"] / 1000 - time.time() - EXIT_SECONDS
        self.queue.wait_for_last_posts()
        attempts = self.sender.hurry(deadline)
        self.queue.wait_until_empty(min(deadline, time.monotonic() + LAST_ATTEMPT_SECONDS))
        if self.sender.attempts == attempts:
            self.remote.give_up()
        lost = self.queue.wait_until_empty(deadline)
        if lost:
            print(f"relay: {lost} reports could not be delivered", file=sys.stderr, flush=True)
        # Threads of kept connections must not delay the exit.
        os._exit(0)


class Queue:
    """Reports that are accepted and not delivered. Room is taken before a body is read."""

    def __init__(self):
        self.reports = collections.deque()
        self.bytes = 0
        self.changed = threading.Condition()

    def reserve(self, size):
        with self.changed:
            fits = self.bytes + size <= BUFFER_BYTES_MAX
            if fits:
                self.bytes += size
            return fits

    def release(self, size):
        with self.changed:
            self.bytes -= size
            self.changed.notify_all()

    def put(self, report):
        with self.changed:
            self.reports.append(report)
            self.changed.notify_all()

    def first(self):
        with self.changed:
            self.changed.wait_for(lambda: self.reports)
            return self.reports[0]

    def remove_first(self):
        with self.changed:
            report = self.reports.popleft()
            self.release(cost(report.body))

    def wait_for_last_posts(self):
        """Waits for posts on their way, and then until no body is being read."""
        with self.changed:
            self.changed.wait_for(lambda: False, LAST_POSTS_SECONDS)
            self.changed.wait_for(self.is_all_read, READING_SECONDS)

    def is_all_read(self):
        return self.bytes == sum(cost(report.body) for report in self.reports)

    def wait_until_empty(self, deadline):
        with self.changed:
            remaining = max(deadline - time.monotonic(), 0)
            self.changed.wait_for(lambda: not self.reports, remaining)
            return len(self.reports)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, family, reception, queue):
        self.address_family = family
        self.queue = queue
        super().__init__((address, int(os.environ.get("RELAY_PORT", "3333"))), reception)

    def server_bind(self):
        # This skips the look-up of a host name in http.server.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request, client_address):
        """An agent that closes its connection is no error."""


class Reception(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        try:
            body = self.read_body()
        except ValueError:
            self.close_connection = True
            self.answer(400)
        except Refused as refused:
            self.answer(refused.status)
        else:
            self.accept(body)
            self.answer(200)

    def accept(self, body):
        if body.strip() in (b"", b"[]"):
            self.server.queue.release(cost(body))
        else:
            kept = {name: self.headers[name] for name in KEPT_HEADERS if name in self.headers}
            self.server.queue.put(Report(self.path, kept, body))

    def do_GET(self):
        self.answer(404)

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET

    def read_body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self.keep(self.chunks())
        length = self.headers.get("Content-Length", "0").strip()
        if not length.isdecimal():
            raise ValueError("not a length")
        return self.keep(self.pieces(int(length)))

    def keep(self, pieces):
        """Reads the body, and takes room for it piece by piece. A body without room is read to its end."""
        queue, kept, size = self.server.queue, [], REPORT_BYTES
        fits = queue.reserve(size)
        try:
            for piece in pieces:
                fits = fits and queue.reserve(len(piece))
                if fits:
                    kept.append(piece)
                    size += len(piece)
        except BaseException:
            queue.release(size)
            raise
        if not fits:
            too_large = size + PIECE_BYTES > BUFFER_BYTES_MAX
            queue.release(size)
            raise Refused(413 if too_large else 429)
        return b"".join(kept)

    def pieces(self, length):
        while length:
            piece = self.rfile.read(min(length, PIECE_BYTES))
            if not piece:
                raise ValueError("cut short")
            length -= len(piece)
            yield piece

    def chunks(self):
        while True:
            size = self.rfile.readline(1024).split(b";")[0].strip()
            if not size or size.startswith((b"-", b"+")):
                raise ValueError("not a size of a chunk")
            if int(size, 16) == 0:
                break
            yield from self.pieces(int(size, 16))
            if self.rfile.readline(3).strip():
                raise ValueError("no end of a chunk")
        while self.rfile.readline(1024).strip():
            pass  # Trailers.

    def answer(self, status):
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments):
        """Logs nothing about agents' requests."""


class Refused(Exception):
    def __init__(self, status):
        super().__init__(status)
        self.status = status


class Sender:
    """Delivers the queue in order."""

    def __init__(self, queue, remote):
        self.queue = queue
        self.remote = remote
        self.deadline = None
        self.hurried = threading.Event()
        self.attempts = 0

    def run(self):
        failures = 0
        while True:
            report = self.queue.first()
            status, retry_after = self.attempt(report)
            if is_settled(status):
                self.queue.remove_first()
                failures = 0
            else:
                failures += 1
                self.wait(failures, retry_after)

    def attempt(self, report):
        """The status and `Retry-After`. No status if there was no complete answer."""
        self.attempts += 1
        try:
            return self.remote.post(report, self.attempt_seconds())
        except http.client.InvalidURL:
            return 400, None  # The report cannot be sent to any remote.
        except (OSError, http.client.HTTPException):
            return None, None
        except ValueError:
            return 400, None  # As above.

    def attempt_seconds(self):
        if self.deadline is None:
            return ATTEMPT_SECONDS
        return min(ATTEMPT_SECONDS, max(self.deadline - time.monotonic(), 0.01))

    def wait(self, failures, retry_after):
        longest = min(BACKOFF_SECONDS_MIN * 2**failures, BACKOFF_SECONDS_MAX)
        seconds = random.uniform(BACKOFF_SECONDS_MIN, longest)
        if retry_after and retry_after.isdecimal():
            seconds = min(max(seconds, int(retry_after)), BACKOFF_SECONDS_MAX)
        if self.hurried.is_set():
            time.sleep(BACKOFF_SECONDS_MIN)
        else:
            self.hurried.wait(seconds)

    def hurry(self, deadline):
        """Shortens all waits. Returns the number of attempts that began before."""
        self.deadline = deadline
        self.hurried.set()
        return self.attempts


class Remote:
    """One connection, opened when it is needed."""

    def __init__(self, origin):
        self.url = urllib.parse.urlsplit(origin)
        self.connection = None

    def post(self, report, seconds):
        if self.connection is not None:
            try:
                return self.exchange(report, seconds)
            except TimeoutError:
                raise
            except (OSError, http.client.HTTPException):
                pass  # A kept connection is often dead after a thaw, so a new one is tried.
        return self.exchange(report, seconds)

    def exchange(self, report, seconds):
        try:
            connection = self.connect(seconds)
            connection.request("POST", report.path, report.body, report.headers)
            response = connection.getresponse()
            response.read(ANSWER_BYTES_MAX)
        except BaseException:
            self.close()
            raise
        if response.will_close or not response.isclosed():
            self.close()
        return response.status, response.headers.get("Retry-After")

    def connect(self, seconds):
        if self.connection is None:
            if self.url.scheme == "https":
                self.connection = http.client.HTTPSConnection(
                    self.url.netloc, timeout=seconds, context=self.trust()
                )
            else:
                self.connection = http.client.HTTPConnection(self.url.netloc, timeout=seconds)
        elif self.connection.sock is not None:
            self.connection.sock.settimeout(seconds)
        return self.connection

    def trust(self):
        return ssl.create_default_context(cafile=os.environ.get("RELAY_CA"))

    def give_up(self):
        """Ends another thread's wait for an answer."""
        connection = self.connection
        if connection is not None and connection.sock is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # It is over already.

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def cost(body):
    return REPORT_BYTES + len(body)


def is_settled(status):
    """Whether the report was delivered, or refused for good."""
    return status is not None and status not in (408, 425, 429) and status < 500


def start(target):
    threading.Thread(target=target, daemon=True).start()


def main():
    Relay().run()
