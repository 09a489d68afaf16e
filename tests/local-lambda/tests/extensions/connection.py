"""The part of `http.client` that extensions need. The tests start many hundred interpreters, and importing
`http.client` takes longer than the rest of a start."""

import socket


class Connection:
    def __init__(self, address):
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        # No timeout: Lambda may freeze the process while it waits for an answer.
        self.timeout = None
        self.sock = None

    def connect(self):
        self.sock = socket.create_connection((self.host, self.port), self.timeout)

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def request(self, method, path, body, headers):
        if self.sock is None:
            self.connect()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.sock.sendall("\r\n".join([*lines, "", body or ""]).encode())

    def getresponse(self):
        return Response(self.sock.makefile("rb"))


class Response:
    def __init__(self, stream):
        self.stream = stream
        self.status = int(self.line().split()[1])
        self.headers = Headers()
        while line := self.line():
            name, _, value = line.decode().partition(":")
            self.headers.fields.append((name, value.strip()))

    def read(self, size_max=None):
        if self.headers["Transfer-Encoding"] == "chunked":
            body = b"".join(self.chunks())
        else:
            body = self.exactly(int(self.headers["Content-Length"] or 0), size_max)
        return body[:size_max]

    def chunks(self):
        while size := int(self.line(), 16):
            yield self.exactly(size)
            self.line()
        self.line()

    def exactly(self, size, size_max=None):
        size = size if size_max is None else min(size, size_max)
        data = self.stream.read(size)
        if len(data) < size:
            raise ConnectionError("the answer is cut short")
        return data

    def line(self):
        line = self.stream.readline()
        if not line:
            raise ConnectionError("there is no answer")
        return line.strip()


class Headers:
    """Finds names in any case. `fields` has them as they were written."""

    def __init__(self):
        self.fields = []

    def __getitem__(self, wanted):
        values = [value for name, value in self.fields if name.lower() == wanted.lower()]
        return values[0] if values else None

    def __contains__(self, name):
        return self[name] is not None

    def items(self):
        return self.fields
