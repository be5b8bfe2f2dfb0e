"""A kernel that does what a test wants, in the words of the cell: `python3 fake_kernel.py CONNECTION_FILE [trait...]`.

Traits: interrupt-by-message ignores SIGINT; dies-early writes to stderr and exits 3 before it serves; orphan does not notice that its
parent is gone; hangs never serves."""

import hashlib
import hmac
import json
import os
import signal
import sys
import time
import uuid

import zmq

DELIMITER = b"<IDS|MSG>"


class FakeKernel:
    def __init__(self, connection_file, traits):
        with open(connection_file) as file:
            config = json.load(file)
        self.key, self.traits, self.interrupts = config["key"].encode(), traits, 0
        context = zmq.Context()
        self.sockets = {}
        for name, kind in (("shell", zmq.ROUTER), ("control", zmq.ROUTER), ("stdin", zmq.ROUTER), ("iopub", zmq.XPUB), ("hb", zmq.REP)):
            sock = context.socket(kind)
            sock.set(zmq.SNDHWM, 0)
            sock.bind("tcp://%s:%d" % (config["ip"], config[name + "_port"]))
            self.sockets[name] = sock
        if "interrupt-by-message" in traits:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def send(self, name, identities, kind, parent, content, buffers=()):
        header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "session": "fake", "username": "k",
                  "date": "2026-01-01T00:00:00.000000Z", "version": "5.3"}
        parts = [json.dumps(part).encode() for part in (header, parent, {}, content)]
        signature = hmac.new(self.key, b"".join(parts), hashlib.sha256).hexdigest().encode()
        self.sockets[name].send_multipart([*identities, DELIMITER, signature, *parts, *buffers])

    def publish(self, kind, parent, **content):
        self.send("iopub", [kind.encode()], kind, parent, content)

    def status(self, state, parent):
        self.publish("status", parent, execution_state=state)

    def run(self):
        poller = zmq.Poller()
        for sock in self.sockets.values():
            poller.register(sock, zmq.POLLIN)
        while True:
            for sock, _ in poller.poll():
                if sock is self.sockets["iopub"]:
                    topic = sock.recv()
                    if topic[0] == 1:
                        self.publish("iopub_welcome", {}, subscription="")
                elif sock is self.sockets["hb"]:
                    sock.send(sock.recv())
                else:
                    name = next(name for name, other in self.sockets.items() if other is sock)
                    self.serve(name, sock.recv_multipart())

    def serve(self, name, frames):
        at = frames.index(DELIMITER)
        expected = hmac.new(self.key, b"".join(frames[at + 2:at + 6]), hashlib.sha256).hexdigest().encode()
        assert frames[at + 1] == expected, "a wrong signature"
        identities, header, content = frames[:at], json.loads(frames[at + 2]), json.loads(frames[at + 5])
        kind = header["msg_type"]
        if kind == "kernel_info_request":
            self.status("busy", header)
            self.send(name, identities, "kernel_info_reply", header, {"status": "ok", "implementation": "fake"})
            self.status("idle", header)
        elif kind == "interrupt_request":
            self.interrupts += 1
            self.status("busy", header)
            self.send(name, identities, "interrupt_reply", header, {"status": "ok"})
            self.status("idle", header)
        elif kind == "execute_request":
            self.execute(name, identities, header, content["code"])

    def execute(self, name, identities, header, code):
        def reply(**content):
            self.send(name, identities, "execute_reply", header, {"status": "ok", "execution_count": 1, **content})

        def text(value):
            self.publish("stream", header, name="stdout", text=value)

        word, _, rest = code.partition(" ")
        if word == "reply-first":               # long before its outputs and its idle
            self.status("busy", header)
            reply()
            time.sleep(0.3)
            text("late")
            self.status("idle", header)
        elif word == "no-idle":
            reply()
        elif word == "die":
            self.status("busy", header)
            text("last words")
            time.sleep(0.05)
            os.write(2, b"".join(b"line %d\n" % i for i in range(int(rest))))
            os._exit(7)
        elif word == "flood":                   # COUNT SIZE: text with a picture every tenth time
            self.status("busy", header)
            count, size = map(int, rest.split())
            for number in range(count):
                text("%08d" % number + "x" * (size - 8))
                if number % 10 == 0:
                    self.publish("display_data", header, data={"text/plain": str(number)}, metadata={})
            self.status("idle", header)
            reply()
        elif word == "interrupts":
            self.status("busy", header)
            text(str(self.interrupts))
            self.status("idle", header)
            reply()
        elif word == "garbage":                 # no Jupyter messages at all
            self.sockets["iopub"].send_multipart([b"just", b"frames"])
            self.sockets["iopub"].send_multipart([b"t", DELIMITER, b"", b"{", b"[]", b"", b""])
            self.sockets["iopub"].send_multipart([b"t", DELIMITER, b"", b'{"msg_type": "status"}', b"[" * 5000, b"", b'"idle"'])
            self.status("idle", header)
            reply()


if __name__ == "__main__":
    traits = sys.argv[2:]
    if "dies-early" in traits:
        sys.stderr.write("no such module\n")
        sys.exit(3)
    if "hangs" in traits:
        time.sleep(1000)
    FakeKernel(sys.argv[1], traits).run()
