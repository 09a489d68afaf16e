"""A server that has nothing to do with the extension, on the port that the extension wants."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Stranger:
    """Answers every POST 404, as long as this process lives."""

    def __init__(self, port: int) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", port), _NotFound)
        threading.Thread(target=server.serve_forever, daemon=True).start()


class _NotFound(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        # Read to its end: bytes left unread would make the close a reset.
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """The record of what was posted tells it all."""
