"""Contexts: a kernel each, in which executions take turns. What an execution prints goes to its client as E2B's events."""

import collections
import json
import threading
import time
import uuid

from kernels import Kernel, KernelError

KEEPALIVE = 5.0                 # seconds of silence after which the client is told that it goes on
INTERRUPT_AGAIN = 5.0           # code may swallow an interrupt
GRACE = 3.0                     # seconds that output may follow the reply
MIMES = {
    "text/plain": "text", "text/html": "html", "text/markdown": "markdown", "image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpeg",
    "application/pdf": "pdf", "text/latex": "latex", "application/json": "json", "application/javascript": "javascript",
    "e2b/data": "data", "e2b/chart": "chart",
}
# Set before the code and taken back after it, each as an execution of its own: the user's line numbers stay as they are.
SET_ENVIRONMENT = {
    "python": lambda v: "(lambda o, n: (setattr(o, '_ik_saved', {k: o.environ.get(k) for k in n}), o.environ.update(n)))(__import__('os'), %r)" % (v,),
    "javascript": lambda v: "Object.assign(process.env, %s)" % json.dumps(v),
    "typescript": lambda v: "Object.assign(process.env, %s)" % json.dumps(v),
    "r": lambda v: "invisible(Sys.setenv(%s))" % ", ".join("%s = %s" % (json.dumps(k), json.dumps(x)) for k, x in v.items()),
    "bash": lambda v: "export " + " ".join("%s='%s'" % (k, x.replace("'", "'\\''")) for k, x in v.items()),
}
RESET_ENVIRONMENT = {
    "python": lambda v: "(lambda o: [o.environ.pop(k, None) if x is None else o.environ.__setitem__(k, x)"
                        " for k, x in o.__dict__.pop('_ik_saved', {}).items()])(__import__('os'))",
    "javascript": lambda v: ";".join("delete process.env[%s]" % json.dumps(k) for k in v),
    "typescript": lambda v: ";".join("delete process.env[%s]" % json.dumps(k) for k in v),
    "r": lambda v: "invisible(Sys.unsetenv(c(%s)))" % ", ".join(json.dumps(k) for k in v),
    "bash": lambda v: "unset " + " ".join(v),
}


class Turns:
    """A lock that is granted in the order in which it was asked for."""

    def __init__(self):
        self.changed, self.waiting = threading.Condition(), collections.deque()

    def wait(self, seconds=None, ticket=None):
        """Asks for a turn, or goes on waiting with a ticket. (it is my turn, ticket)"""
        with self.changed:
            if ticket is None:
                ticket = object()
                self.waiting.append(ticket)
            mine = self.changed.wait_for(lambda: self.waiting[0] is ticket, seconds)
            return mine, ticket

    def leave(self, ticket):
        with self.changed:
            self.waiting.remove(ticket)
            self.changed.notify_all()


class Context:
    def __init__(self, language, cwd):
        self.id, self.language, self.cwd = str(uuid.uuid4()), language, cwd
        self.turns, self.removed = Turns(), False
        self.kernel = Kernel(language, cwd)

    def describe(self):
        return {"id": self.id, "language": self.language, "cwd": self.cwd}

    def prepare(self):
        """By who has the turn: there is a kernel and it serves."""
        if self.removed:
            raise KernelError("the context was removed")
        if not self.kernel.alive():
            self.kernel.close()
            self.kernel = Kernel(self.language, self.cwd)
        self.kernel.connect()

    def ready(self):
        """Returns when code can run."""
        _, ticket = self.turns.wait()
        try:
            self.prepare()
        finally:
            self.turns.leave(ticket)

    def restart(self):
        """Ends what runs, and returns when the new kernel serves."""
        self.kernel.kill("restart")
        self.ready()

    def remove(self):
        self.removed = True
        self.kernel.kill("removal")
        _, ticket = self.turns.wait()
        try:
            self.kernel.close()
        finally:
            self.turns.leave(ticket)

    def execute(self, code, variables, client):
        """Runs code and writes its events to the client; a client that leaves interrupts it."""
        mine, ticket = self.turns.wait(0)
        try:
            while not mine:
                mine, _ = self.turns.wait(0.25, ticket)
                if client.has_left():
                    return
                client.keep_alive(KEEPALIVE)
            try:
                self.prepare()
            except KernelError as error:
                client.fail(error)
                return
            try:
                if variables and self.language in SET_ENVIRONMENT:
                    self.run_silently(SET_ENVIRONMENT[self.language](variables))
                self.run(code, client)
            finally:
                if variables and self.language in RESET_ENVIRONMENT and self.kernel.alive():
                    self.run_silently(RESET_ENVIRONMENT[self.language](variables))
        finally:
            self.turns.leave(ticket)

    def run_silently(self, code):
        Execution(self.kernel, code, silent=True).run(None)

    def run(self, code, client):
        execution = Execution(self.kernel, code)
        execution.run(client)
        client.write([{"type": "end_of_execution"}])


class Execution:
    """One execute_request, from its sending to its reply and the end of its output."""

    def __init__(self, kernel, code, silent=False):
        self.kernel = kernel
        content = {"code": code, "silent": silent, "store_history": not silent, "user_expressions": {}, "allow_stdin": False, "stop_on_error": False}
        self.id = kernel.request(kernel.shell, "execute_request", content)
        self.replied = self.idle = self.counted = self.failed = False
        self.reply_time = None

    def run(self, client):
        kernel, interrupted = self.kernel, None
        while not self.is_over():
            sources = {kernel.iopub: 1, kernel.shell: 1, kernel.pidfd: 1}
            watched = client is not None and client.socket() is not None
            if watched:
                sources[client.socket()] = 1
            ready = kernel.poll(sources, 0.2 if self.replied else 1.0)
            events = self.read() if kernel.iopub in ready or kernel.shell in ready else []
            if kernel.pidfd in ready and not events and not self.is_over():
                # What it said last may still be on its way through ZeroMQ.
                events = self.read() if kernel.poll({kernel.iopub: 1}, 0.1) else []
                if not events:
                    events = [self.ended()]
                    self.replied = self.idle = True
            if client is None:
                continue
            if events:
                client.write(events)
            else:
                client.keep_alive(KEEPALIVE)
            if client.has_left() and (interrupted is None or time.monotonic() - interrupted > INTERRUPT_AGAIN):
                interrupted = time.monotonic()
                kernel.interrupt()

    def is_over(self):
        return self.replied and (self.idle or time.monotonic() - self.reply_time > GRACE)

    def read(self):
        """Takes all that is there; the output first, as a reply may overtake it."""
        events = []
        for sock in (self.kernel.iopub, self.kernel.shell):
            for _ in range(1000):
                message = self.kernel.receive(sock)
                if message is None:
                    break
                kind, parent, content, date = message
                if parent == self.id and isinstance(content, dict):
                    events += self.handle(kind, content, date)
        return events

    def handle(self, kind, content, date):
        if kind == "status":
            self.idle = self.idle or content.get("execution_state") == "idle"
        elif kind == "execute_reply":
            self.replied, self.reply_time = True, time.monotonic()
            if content.get("status") == "aborted":
                return [error("ExecutionAborted", "Execution was aborted")]
            if content.get("status") == "error" and not self.failed:
                return [error(content.get("ename"), content.get("evalue"), content.get("traceback"))]
        elif kind == "execute_input" and not self.counted:
            self.counted = True
            return [{"type": "number_of_executions", "execution_count": content.get("execution_count", 0)}]
        elif kind == "stream":
            return [{"type": "stderr" if content.get("name") == "stderr" else "stdout", "text": content.get("text", ""), "timestamp": date}]
        elif kind in ("display_data", "execute_result"):
            return [result(content.get("data") or {}, kind == "execute_result")]
        elif kind == "error":
            self.failed = True
            return [error(content.get("ename"), content.get("evalue"), content.get("traceback"))]
        return []

    def ended(self):
        if self.kernel.why_ended == "restart":
            return error("ContextRestarting", "Context was restarted while the execution was running")
        if self.kernel.why_ended == "removal":
            return error("UnexpectedEndOfExecution", "The context was removed while the execution was running")
        code = self.kernel.process.wait()
        return error("UnexpectedEndOfExecution", "The kernel ended (%s) before the execution did; its variables are lost%s" % (
            "signal %d" % -code if code < 0 else "exit code %d" % code, self.kernel.last_words()))


def error(name, value, traceback=()):
    return {"type": "error", "name": str(name), "value": str(value), "traceback": "\n".join(str(line) for line in traceback or ())}


def result(data, is_main):
    event = {"type": "result", "is_main_result": is_main}
    for mime, value in data.items():
        name = MIMES.get(mime)
        if name is None:
            if "/" in mime:
                event[mime] = value     # clients gather the keys they do not know as "extra"
        elif name == "text" and isinstance(value, str):
            # The repr of a string; its quotes are of no use to anybody.
            quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
            event["text"] = value[1:-1] if quoted else value
        else:
            event[name] = value.strip() if name in ("png", "jpeg", "pdf") and isinstance(value, str) else value
    return event
