"""The other end of the link, for tests: starts `relay.py attach` as envd would, speaks frames over its pipes, and gives up its
attachment wherever a test wants it cut."""

import importlib.util
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import time
import uuid

RELAY = os.path.join(os.path.dirname(__file__), "..", "..", "src", "Kernel", "Relay", "relay.py")
PYTHON = "/usr/bin/python3"
# What the kernel runs: the head of the file alone.
with open(os.path.join(os.path.dirname(__file__), "..", "..", "src", "Kernel", "Remote", "RelayFile.cs")) as _file:
    HEAD = re.search(r'"""(import sys; .+)"""', _file.read()).group(1)

_spec = importlib.util.spec_from_file_location("relay", RELAY)
relay = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(relay)
relay.import_for_daemon()

PATIENCE = 30.0


class Ended(Exception):
    """The attachment ended."""


class Bridge:
    """Exactly-once on this side too: it remembers what it received, and sends again what the relay has not."""

    def __init__(self, directory, *options):
        self.directory, self.options = str(directory), options
        self.direct = False                             # attach processes that listen, as on an embedded host
        self.link = str(uuid.uuid4())
        self.attach_process = None
        self.hello = None
        self.received = {"bulk": 0, "urgent": 0}
        self.sent = {"bulk": [], "urgent": []}          # (number, frame)
        self.inbox, self.pieces = relay.Inbox(), []
        self.items = []                                 # ("event", dict) | (channel, frames, Message), in the order they came
        self.duplicates = 0
        self.acknowledging = True
        self.frames_read = []                           # kinds, for tests about order
        self.acknowledged_by_relay = {"bulk": 0, "urgent": 0}
        self.pongs = 0

    # -- the attachment

    def attach(self, hello=True, timeout=PATIENCE):
        self.inbox = relay.Inbox()
        command = [PYTHON, "-S", "-c", HEAD, RELAY, "attach", "--serve", "--dir", self.directory, *self.options]
        if self.direct:
            self.attach_process = self.start_listening(command)
        else:
            self.attach_process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            os.set_blocking(self.attach_process.stdout.fileno(), False)
        if hello:
            self.hello = None
            self.write(relay.encode(relay.HELLO, 0, json.dumps(
                {"version": 1, "role": "bridge", "link": self.link, "received": self.received, "checksums": not self.direct}).encode()))
            self.read_until(lambda: self.hello, timeout)
            for lane in ("urgent", "bulk"):
                for number, frame in self.sent[lane]:
                    if number > self.hello["received"][lane]:
                        self.write(frame)
        return self

    def start_listening(self, command):
        path = os.path.join(self.directory, "direct.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            process = subprocess.Popen(command, stdin=listener, stdout=subprocess.PIPE, start_new_session=True)
        with socket.socket(socket.AF_UNIX) as way:
            way.connect(path)
            os.unlink(path)
            process.stdout.close()
            process.stdin, process.stdout = way.makefile("wb"), way.makefile("rb", buffering=0)
        return process

    def cut(self):
        """As a broken network does: both directions at once, the attach process lives on until it is told."""
        process, self.attach_process = self.attach_process, None
        if process is not None:
            process.stdin.close()
            process.stdout.close()
            process.wait(PATIENCE)

    def write(self, data):
        self.attach_process.stdin.write(data)
        self.attach_process.stdin.flush()

    def read_some(self, timeout=0.0, limit=1 << 16):
        out = self.attach_process.stdout.fileno()
        if not select.select([out], [], [], timeout)[0]:
            return False
        if not self.inbox.read(out, limit):
            raise Ended
        for kind, number, payload in self.inbox.take_frames():
            self.on_frame(kind, number, bytes(payload))
        return True

    def read_until(self, condition, timeout=PATIENCE):
        end = time.monotonic() + timeout
        while not condition():
            left = end - time.monotonic()
            assert left > 0, "it did not come within %s s; items: %s" % (timeout, [i[0] if i[0] != "event" else i for i in self.items][-20:])
            self.read_some(left)
        return condition()

    # -- frames

    def on_frame(self, kind, number, payload):
        self.frames_read.append(kind)
        if kind == relay.HELLO:
            self.hello = json.loads(payload)
            self.inbox.checked = self.hello["checksums"]
        elif kind == relay.ACK:
            bulk, urgent = struct.unpack(">QQ", payload)
            self.acknowledged_by_relay = {"bulk": bulk, "urgent": urgent}
            for lane, upto in (("bulk", bulk), ("urgent", urgent)):
                self.sent[lane] = [entry for entry in self.sent[lane] if entry[0] > upto]
        elif kind == relay.PONG:
            self.pongs += 1
        else:
            lane = "urgent" if kind in (relay.URGENT, relay.NOTICE) else "bulk"
            assert number <= self.received[lane] + 1, "a gap"
            if number <= self.received[lane]:
                self.duplicates += 1
                return
            self.received[lane] = number
            if self.acknowledging:
                self.acknowledge()
            if kind == relay.BULK_PART:
                self.pieces.append(payload)
            elif kind in (relay.EVENT, relay.NOTICE):
                self.items.append(("event", json.loads(payload)))
            else:
                if kind == relay.BULK:
                    payload, self.pieces = b"".join(self.pieces) + payload, []
                channel, frames = relay.decode_message(payload)
                try:
                    message = Message(channel, frames)
                except (ValueError, RecursionError):
                    message = None                      # the relay passes on what it need not understand
                self.items.append((channel, frames, message))

    def acknowledge(self):
        try:
            self.write(relay.encode(relay.ACK, 0, struct.pack(">QQ", self.received["bulk"], self.received["urgent"])))
        except BrokenPipeError:
            raise Ended from None

    def put(self, lane, kind, payload):
        number = self.numbers[lane] = self.numbers.get(lane, 0) + 1
        frame = relay.encode(kind, number, payload)
        self.sent[lane].append((number, frame))
        if self.attach_process is not None:
            self.write(frame)

    @property
    def numbers(self):
        return self.__dict__.setdefault("_numbers", {})

    def command(self, op, **content):
        content.setdefault("bulk", self.numbers.get("bulk", 0))
        self.put("urgent", relay.COMMAND, json.dumps({"op": op, **content}).encode())

    def send(self, channel, frames):
        pieces = [b"".join(piece) for piece in relay.encode_message(channel, frames)]
        if channel in (relay.CONTROL, relay.STDIN, relay.INTERRUPT):
            self.put("urgent", relay.URGENT, *pieces)
            return
        for piece in pieces[:-1]:
            self.put("bulk", relay.BULK_PART, piece)
        self.put("bulk", relay.BULK, pieces[-1])

    # -- Jupyter

    def request(self, kind, content, channel=None, identity=b"client", buffers=(), parent=None):
        msg_id = uuid.uuid4().hex
        header = {"msg_id": msg_id, "msg_type": kind, "session": "test", "username": "t",
                  "date": "2026-01-01T00:00:00.000000Z", "version": "5.3"}
        self.send(channel or relay.SHELL, [identity, b"<IDS|MSG>", b"", json.dumps(header).encode(), b"{}", b"{}",
                                           json.dumps(content).encode(), *buffers])
        return msg_id

    def execute(self, code, **content):
        return self.request("execute_request", {"code": code, "silent": False, "store_history": True, "user_expressions": {},
                                                "allow_stdin": True, "stop_on_error": True, **content})

    def start(self, kernel="python3", session="session-1", **content):
        self.command("start", kernel=kernel, session=session, **content)
        return self.event("started", "start_failed")

    def event(self, *names, timeout=PATIENCE):
        """The next event of one of these names; taken off the list, so that a second one is a new one."""
        def found():
            return next((item for item in self.items if item[0] == "event" and item[1]["op"] in names), None)
        item = self.read_until(found, timeout)
        self.items.remove(item)
        return item[1]

    def messages(self, parent=None, channel=None, kind=None, newest_first=False):
        for item in reversed(self.items) if newest_first else list(self.items):
            if item[0] == "event":
                continue
            message = item[2]
            if message is not None and (parent in (None, message.parent.get("msg_id")) and channel in (None, message.channel)
                    and kind in (None, message.kind)):
                yield message

    def reply(self, msg_id, timeout=PATIENCE):
        return self.read_until(lambda: next(self.messages(msg_id, relay.SHELL, newest_first=True), None), timeout)

    def text(self, msg_id):
        return "".join(m.content["text"] for m in self.messages(msg_id, relay.IOPUB, "stream"))

    def run(self, code):
        msg_id = self.execute(code)
        return self.reply(msg_id), self.text(msg_id)

    def close(self):
        """Ends the daemon, and says what is left of it."""
        if self.attach_process is None:
            self.attach()
        pid = self.hello["relay_pid"]
        self.command("exit")
        end = time.monotonic() + PATIENCE
        while alive(pid):
            assert time.monotonic() < end, "the daemon does not exit"
            try:
                self.read_some(0.01)
            except Ended:
                select.select([], [], [], 0.005)
        self.cut()


class Message:
    def __init__(self, channel, frames):
        at = frames.index(b"<IDS|MSG>")
        self.channel, self.identities, self.signature = channel, frames[:at], frames[at + 1]
        self.header, self.parent, self.metadata, self.content = (json.loads(bytes(frame)) for frame in frames[at + 2:at + 6])
        self.buffers, self.kind = frames[at + 6:], self.header["msg_type"]


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def processes_of(directory):
    """Every process that has the relay's directory on its command line: attach, daemon, kernel."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/cmdline" % name, "rb") as file:
                    line = file.read()
            except OSError:
                continue
            if str(directory).encode() in line:
                found[int(name)] = line.replace(b"\0", b" ").decode()
    return found


def kill(pid, number=signal.SIGKILL):
    os.kill(pid, number)
