"""A Jupyter client that costs little and still checks every byte.

Requests are built and signed before the clock runs; what arrives is only kept, and verified when the clock has stopped.
"""

import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass

import zmq

DELIMITER = b"<IDS|MSG>"

# What an idle status is at most; larger contents are not searched while the clock runs.
SMALL = 256


class Mismatch(Exception):
    """Something arrived that is not what had to arrive: then no figure is worth anything."""


@dataclass(frozen=True)
class Request:
    id: str
    frames: list


@dataclass(frozen=True)
class Message:
    type: str
    parent: str
    content: dict
    buffers: list


class Client:
    """DEALERs on shell and control and a SUB on iopub, as every client has them."""

    def __init__(self, connection, timeout=60):
        self.key = hmac.new(connection["key"].encode(), digestmod=hashlib.sha256)
        self.session = uuid.uuid4().hex
        self.context = zmq.Context()
        self.shell, self.control, self.iopub = (self._connect(connection, name) for name in ("shell", "control", "iopub"))
        self.wait(timeout)
        self.kept = []

    def _connect(self, connection, name):
        sock = self.context.socket(zmq.SUB if name == "iopub" else zmq.DEALER)
        sock.linger = 0
        sock.rcvhwm = sock.sndhwm = 0
        sock.reconnect_ivl = 5  # ms; the default of 100 would round the times of a start
        if name == "iopub":
            sock.subscribe(b"")
        else:
            sock.identity = self.session.encode()
        sock.connect(f"{connection['transport']}://{connection['ip']}:{connection[name + '_port']}")
        return sock

    def wait(self, seconds):
        """How long a message may take; after that the measurement fails."""
        for sock in (self.shell, self.control, self.iopub):
            sock.rcvtimeo = int(seconds * 1000)

    def sign(self, parts):
        mac = self.key.copy()
        for part in parts:
            mac.update(part)
        return mac.hexdigest().encode()

    # -- before the clock runs

    def build(self, kind, content, buffers=()):
        identity = uuid.uuid4().hex
        header = {"msg_id": identity, "session": self.session, "username": "bench", "date": "2026-01-01T00:00:00.000000Z", "msg_type": kind, "version": "5.3"}
        parts = [json.dumps(header).encode(), b"{}", b"{}", json.dumps(content).encode()]
        return Request(identity, [DELIMITER, self.sign(parts), *parts, *buffers])

    def cell(self, code, **content):
        request = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
        return self.build("execute_request", {**request, **content})

    # -- while it runs

    def finish(self, request, reply=True):
        """Sends a request and keeps all that comes, until both the idle and the reply are there."""
        self.shell.send_multipart(request.frames)
        self.until_idle(request)
        if reply:
            self.kept.append(self.shell.recv_multipart(copy=False))

    def until_idle(self, request):
        parent, kept, receive = request.id.encode(), self.kept, self.iopub.recv_multipart
        while True:
            frames = receive(copy=False)
            kept.append(frames)
            content = frames[-1] if len(frames) == 7 else None
            if content is not None and len(content) < SMALL and b'"idle"' in content.bytes and parent in frames[-3].bytes:
                return

    # -- afterwards

    def take(self):
        """What was kept, each message verified."""
        kept, self.kept = self.kept, []
        return [self.read(frames) for frames in kept]

    def read(self, frames):
        frames = [frame.buffer if isinstance(frame, zmq.Frame) else frame for frame in frames]
        at = next((index for index, frame in enumerate(frames) if len(frame) == len(DELIMITER) and bytes(frame) == DELIMITER), None)
        if at is None or len(frames) < at + 6:
            raise Mismatch(f"{len(frames)} frames that are no message")
        if bytes(frames[at + 1]) != self.sign(frames[at + 2 : at + 6]):
            raise Mismatch("a message with a wrong signature")
        header, parent, content = (json.loads(bytes(frames[at + index])) for index in (2, 3, 5))
        return Message(header["msg_type"], parent.get("msg_id", ""), content, frames[at + 6 :])

    def outcome(self, request):
        """The verified messages of one request, without its busy, idle and input; its reply must say ok."""
        messages = [message for message in self.take() if message.parent == request.id]
        replies = [message for message in messages if message.type.endswith("_reply")]
        if len(replies) != 1 or replies[0].content["status"] != "ok":
            raise Mismatch(f"the replies were {[reply.content for reply in replies]}")
        return [message for message in messages if message.type not in ("status", "execute_input", replies[0].type)]

    def run(self, code):
        """A cell that is no part of a measurement."""
        request = self.cell(code)
        self.finish(request)
        return self.outcome(request)

    def close(self):
        self.context.destroy(linger=0)
