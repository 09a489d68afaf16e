"""A foreign server on the port that the extension wants."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class PortSquatter:
    """Answers every POST with 404 until this process ends."""

    def __init__(self, port: int) -> None:
        server = ThreadingHTTPServer(("127.0.0.1", port), _NotFound)
        threading.Thread(target=server.serve_forever, daemon=True).start()


class _NotFound(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        # Reads the body to its end, because unread bytes would turn the close into a reset.
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Logs nothing, because the posts are recorded anyway."""
