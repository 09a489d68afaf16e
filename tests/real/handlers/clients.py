"""A function that runs the client in its event, and returns what it printed and how long it took."""

import os
import subprocess
import time


def handler(event, _context):
    began = time.monotonic()
    client = subprocess.run(event["command"], cwd=os.path.dirname(__file__), capture_output=True, check=False)
    return {"printed": client.stdout.decode(), "error": client.stderr.decode(), "seconds": time.monotonic() - began}
