"""The code interpreter of a sandbox: E2B's routes on port 49999 (e2b-wire.md section 5), over Jupyter kernels in the same sandbox.

    client == host == 127.0.0.1:49999 (this process) == ZeroMQ == ipykernel, and any other Jupyter kernel of the template

Started by the sandbox's agent when the first request comes, as an ordinary program of the sandbox's user. It prints "ready" when
it listens; before that, why it can't. Each request has a thread; a context has one execution at a time. An execution whose
client hangs up is interrupted, so the thread watches its client and its kernel with one poll.

/execute answers lines of JSON, pure ASCII (clients decode piece by piece), each batch in one write on a socket without Nagle's
algorithm: delayed acknowledgements would cost 40 ms a line.
"""

import json
import os
import select
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from contexts import Context
from kernels import KernelError, normal_language

PORT = 49999
HOME = "/home/user"
MAX_BODY = 64 << 20
WRITE_PATIENCE = 120.0          # seconds a client may leave its output unread before it counts as gone
MAX_CONTEXTS = 64


class Contexts:
    def __init__(self):
        self.lock, self.by_id, self.defaults = threading.Lock(), {}, {}

    def create(self, language, cwd):
        if not os.path.isdir(cwd):
            raise KernelError("the directory '%s' does not exist" % cwd)
        context = Context(language, cwd)
        with self.lock:
            if len(self.by_id) >= MAX_CONTEXTS:
                context.kernel.kill("removal")
                raise KernelError("there are %d contexts already; remove one" % MAX_CONTEXTS)
            self.by_id[context.id] = context
        return context

    def default(self, language):
        """The context of a language, made when it is first asked for."""
        with self.lock:
            context = self.defaults.get(language)
            if context is None:
                context = self.defaults[language] = Context(language, HOME)
                self.by_id[context.id] = context
        return context

    def find(self, identity):
        with self.lock:
            return self.by_id.get(identity)

    def all(self):
        with self.lock:
            return list(self.by_id.values())

    def remove(self, context):
        with self.lock:
            self.by_id.pop(context.id, None)
            if self.defaults.get(context.language) is context:
                del self.defaults[context.language]
        context.remove()


class Client:
    """Who waits for the events of an execution."""

    def __init__(self, handler):
        self.handler, self.begun, self.gone, self.quiet = handler, False, False, False
        self.last_write = time.monotonic()

    def socket(self):
        """What to poll for its leaving; None when there is nothing to learn from it any more."""
        return None if self.gone or self.quiet else self.handler.connection.fileno()

    def has_left(self):
        if not self.gone and not self.quiet and select.select([self.handler.connection], [], [], 0)[0]:
            try:
                # It has nothing more to say: bytes are those of a next request, which nobody will read.
                self.quiet = len(self.handler.connection.recv(1, socket.MSG_PEEK)) > 0
                self.gone = not self.quiet
            except OSError:
                self.gone = True
        return self.gone

    def begin(self):
        if not self.begun:
            self.begun = True
            self.handler.head(200, "application/x-ndjson", {"Transfer-Encoding": "chunked"})

    def write(self, events):
        if self.gone:
            return
        text = "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events).encode("ascii")
        try:
            self.begin()
            self.handler.connection.sendall(b"%x\r\n%s\r\n" % (len(text), text))
            self.last_write = time.monotonic()
        except OSError:
            self.gone = True

    def keep_alive(self, interval):
        if time.monotonic() - self.last_write >= interval:
            self.write([{"type": "keepalive"}])

    def fail(self, reason):
        """Nothing could be run at all."""
        if self.begun:
            self.write([{"type": "error", "name": "KernelError", "value": str(reason), "traceback": ""}, {"type": "end_of_execution"}])
        else:
            self.handler.text(500, str(reason))
            self.gone = True

    def end(self):
        if self.begun and not self.gone:
            try:
                self.handler.connection.sendall(b"0\r\n\r\n")
            except OSError:
                self.gone = True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = WRITE_PATIENCE
    contexts = None

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        if self.path == "/health":
            self.answer_when_ready()
        elif self.path == "/contexts":
            self.contexts.default("python")
            self.answer(200, [context.describe() for context in self.contexts.all()])
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self):
        body = self.body()
        if body is None:
            return
        route = self.path.split("?")[0].strip("/").split("/")
        if route == ["execute"]:
            self.execute(body)
        elif route == ["contexts"]:
            self.create(body)
        elif len(route) == 3 and route[0] == "contexts" and route[2] == "restart":
            self.with_context(route[1], Context.restart)
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_DELETE(self):
        route = self.path.strip("/").split("/")
        if len(route) == 2 and route[0] == "contexts":
            self.with_context(route[1], self.contexts.remove)
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_OPTIONS(self):
        self.head(200, "text/plain", {"Access-Control-Allow-Methods": "DELETE, GET, OPTIONS, POST", "Access-Control-Allow-Headers": "*", "Content-Length": "0"})

    def answer_when_ready(self):
        try:
            self.contexts.default("python").ready()
        except KernelError as reason:
            self.text(500, str(reason))
        else:
            self.answer(200, "OK")

    def with_context(self, identity, action):
        context = self.contexts.find(identity)
        if context is None:
            self.text(404, "Context %s not found" % identity)
            return
        try:
            action(context)
        except KernelError as reason:
            self.text(500, str(reason))
        else:
            self.answer(200, None)

    def create(self, body):
        cwd, language = body.get("cwd") or HOME, body.get("language") or "python"
        if not isinstance(cwd, str) or not isinstance(language, str):
            self.answer(422, {"detail": "cwd and language must be strings"})
            return
        try:
            context = self.contexts.create(normal_language(language), cwd)
            context.ready()
        except KernelError as reason:
            self.text(500, str(reason))
        else:
            self.answer(200, context.describe())

    def execute(self, body):
        code, identity, language, variables = (body.get(name) for name in ("code", "context_id", "language", "env_vars"))
        if not isinstance(code, str) or not all(isinstance(v, (str, type(None))) for v in (identity, language)):
            self.answer(422, {"detail": "code must be a string; so must context_id and language, where given"})
            return
        if variables is not None and not (isinstance(variables, dict) and all(k and "=" not in k and isinstance(v, str) for k, v in variables.items())):
            self.answer(422, {"detail": "env_vars must map names to strings"})
            return
        if identity and language:
            self.text(400, "Only one of context_id or language can be provided")
            return
        try:
            context = self.contexts.find(identity) if identity else self.contexts.default(normal_language(language or "python"))
        except KernelError as reason:
            self.text(500, str(reason))
            return
        if context is None:
            self.text(404, "Context %s not found" % identity)
            return
        client = Client(self)
        context.execute(code, variables, client)
        client.end()

    def body(self):
        """The JSON object that was sent; None when an error was answered."""
        try:
            data = self.read_chunks() if "chunked" in self.headers.get("Transfer-Encoding", "").lower() else self.read_length()
            value = json.loads(data) if data else {}
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
        self.answer(422, {"detail": "the body must be a JSON object of at most %d bytes" % MAX_BODY})
        return None

    def read_length(self):
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY:
            raise ValueError("too long")
        return self.rfile.read(length)

    def read_chunks(self):
        data = bytearray()
        while True:
            size = int(self.rfile.readline(1024).split(b";")[0], 16)
            if not 0 <= size <= MAX_BODY - len(data):
                raise ValueError("too long")
            if size == 0:
                while self.rfile.readline(1024) not in (b"\r\n", b"\n", b""):
                    pass
                return bytes(data)
            data += self.rfile.read(size)
            self.rfile.readline(1024)

    def answer(self, status, value):
        self.reply(status, "application/json", json.dumps(value).encode())

    def text(self, status, text):
        self.reply(status, "text/plain; charset=utf-8", text.encode("utf-8", "replace"))

    def reply(self, status, kind, data):
        self.head(status, kind, {"Content-Length": str(len(data))}, data)

    def head(self, status, kind, headers, data=b""):
        """Head and body in one write."""
        self.close_connection = True
        fields = {"Content-Type": kind, "Access-Control-Allow-Origin": "*", "Connection": "close", **headers}
        lines = ["HTTP/1.1 %d %s" % (status, self.responses[status][0]), *("%s: %s" % field for field in fields.items()), "", ""]
        self.connection.sendall("\r\n".join(lines).encode("latin-1") + data)


def main():
    # The kernel first: it takes the longest, and the rest starts beside it.
    contexts = Contexts()
    failure = None
    try:
        contexts.default("python")
    except KernelError as error:
        failure = error         # told to whoever runs code; contexts of other languages may work
    Handler.contexts = contexts
    try:
        ThreadingHTTPServer.request_queue_size = 128
        ThreadingHTTPServer.daemon_threads = True
        server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    except OSError as error:
        sys.exit("port %d can't be listened on: %s" % (PORT, error.strerror))
    print("ready" if failure is None else "ready, but: %s" % failure, flush=True)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    server.serve_forever(poll_interval=3600)


if __name__ == "__main__":
    main()
