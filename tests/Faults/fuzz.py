#!/usr/bin/env python3
"""Mutated input at both open ends, with valid traffic in between: fuzz.py zmq|relay [COUNT] [--seed N] [--seconds S]

zmq: Jupyter messages, mutated in their frames, their JSON and their signatures, to all sockets of a running kernel.
relay: byte streams of the relay's protocol, mutated before and behind their checksums, to a running relay.
(What a hostile sandbox sends the other way is tests/Kernel.Tests/Remote/RelayLinkFuzzTests.cs.)

Nothing may crash, hang or grow. Valid requests in between must be answered as ever.
"""

import argparse
import hashlib
import hmac
import json
import os
import random
import shutil
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("EndToEnd", "Relay")]

import kernels  # noqa: E402
import zmq  # noqa: E402
from bridge import Bridge, processes_of, relay  # noqa: E402

PATIENCE = 60
ODD_JSON = [
    b"", b"{", b"[]", b"null", b"true", b"-0", b"1e999", b"NaN", b'"', b'"\xff"', b'"\\ud800"', b'{"a":1,"a":2}', b"\xef\xbb\xbf{}", b"{}\0",
    b"[" * 3000, b'{"a":' * 3000, b'{"msg_id":7}', b'{"msg_type":null}', b'{"msg_id":"","msg_type":""}', b"9" * 5000, b'{"\\u0000":0}',
]  # fmt: skip


def flip(chance, data):
    """A copy with some bytes changed, cut out, repeated or put in."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : at + chance.choice((1, 3, 50))]
        elif kind == 2:
            data[at:at] = data[at : at + chance.choice((1, 8, 100))]
        elif kind == 3:
            data[at:at] = chance.randbytes(chance.choice((1, 4, 60)))
        elif at < len(data):
            data[at] = chance.choice(b"\x00\xff\x7f\x80{}[]\",:0")
    return bytes(data)


class Growth:
    """Memory and descriptors of a process, before and after."""

    def __init__(self, pid):
        self.pid, self.before = pid, self.now(pid)

    @staticmethod
    def now(pid):
        status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        return int(status["VmRSS"].split()[0]) / 1024, len(os.listdir(f"/proc/{pid}/fd"))

    def check(self, megabytes, descriptors=8):
        memory, files = self.now(self.pid)
        print(f"memory {self.before[0]:.0f} MiB before, {memory:.0f} MiB after; descriptors {self.before[1]}, {files}")
        assert memory < self.before[0] + megabytes and files <= self.before[1] + descriptors


class JupyterFuzz:
    """The messages: seven in eight fail at framing or signature, one in eight is signed and wrong inside."""

    # What would end the kernel or its cell is for a valid client to say.
    REQUESTS = {
        "shell": [
            ("kernel_info_request", {}), ("complete_request", {"code": "pri", "cursor_pos": 3}), ("is_complete_request", {"code": "x ="}),
            ("inspect_request", {"code": "print", "cursor_pos": 2, "detail_level": 0}), ("comm_info_request", {"target_name": "x"}),
            ("history_request", {"hist_access_type": "tail", "n": 2, "output": False, "raw": True}),
            ("comm_open", {"comm_id": "c1", "target_name": "none", "data": {}}), ("comm_msg", {"comm_id": "c1", "data": {"a": 1}}),
            ("comm_close", {"comm_id": "c1", "data": {}}), ("execute_request", {"code": "pass", "silent": True, "allow_stdin": False}),
        ],
        "control": [("kernel_info_request", {}), ("debug_request", {"seq": 1, "type": "request", "command": "debugInfo"})],
        "stdin": [("input_reply", {"value": "x", "status": "ok"})],
    }  # fmt: skip

    def __init__(self, chance, key):
        self.chance, self.key, self.number = chance, key, 0

    def sign(self, parts):
        return hmac.new(self.key, b"".join(parts), hashlib.sha256).hexdigest().encode()

    def message(self, channel):
        chance = self.chance
        self.number += 1
        kind, content = chance.choice(self.REQUESTS[channel])
        header = {"msg_id": f"f{self.number}", "msg_type": kind, "session": "fuzz", "username": "f", "date": "2026-01-01T00:00:00Z", "version": "5.3"}
        parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
        if chance.randrange(8) == 0:
            at = chance.randrange(4)
            parts[at] = chance.choice(ODD_JSON) if chance.randrange(2) else flip(chance, parts[at])
            if any(word in parts[0] for word in (b"shutdown", b"interrupt")):
                parts[0] = b"{}"
            return [b"<IDS|MSG>", self.sign(parts), *parts, *([chance.randbytes(9)] if chance.randrange(4) == 0 else [])]
        frames = [b"<IDS|MSG>", self.sign(parts), *parts]
        # Behind this the signature never fits again.
        spoilt = chance.randrange(6)
        if spoilt == 0:
            frames[1] = flip(chance, frames[1])
        elif spoilt == 1:
            at = chance.randrange(2, 6)
            frames[at] = flip(chance, frames[at]) + b" "
        elif spoilt == 2:
            del frames[chance.randrange(1, 6) :]
        elif spoilt == 3:
            del frames[chance.randrange(6)]
        elif spoilt == 4:
            chance.shuffle(frames)
            frames.append(b"<IDS|MSG>")
        else:
            frames = [chance.randbytes(chance.choice((0, 1, 7, 300))) for _ in range(chance.randrange(1, 9))]
        return frames


def fuzz_zmq(count, chance, deadline):
    site = kernels.Site("sandbox-python")
    site.install()
    os.environ.update(site.environment)
    kernel = kernels.Kernel(site)
    context = zmq.Context()
    try:
        assert kernel.value("6 * 7") == 42
        info = json.loads(Path(kernel.manager.connection_file).read_text())
        fuzz = JupyterFuzz(chance, info["key"].encode())
        sockets = {}
        for name, kind in (("shell", zmq.DEALER), ("control", zmq.DEALER), ("stdin", zmq.DEALER), ("iopub", zmq.XSUB), ("hb", zmq.DEALER)):
            sockets[name] = context.socket(kind)
            sockets[name].linger = 0
            sockets[name].sndtimeo = PATIENCE * 1000
            sockets[name].connect(f"tcp://{info['ip']}:{info[name + '_port']}")
        growth, sent = None, 0
        while sent < count and time.monotonic() < deadline:
            for _ in range(min(5000, count - sent)):
                name = chance.choice(("shell", "shell", "control", "stdin", "iopub", "hb"))
                if name == "iopub":
                    frames = [chance.choice((b"\x00", b"\x01", b"\x02", b"")) + chance.randbytes(chance.randrange(20))]
                elif name == "hb":
                    frames = [b"", *(chance.randbytes(5) for _ in range(chance.randrange(3)))]
                else:
                    frames = fuzz.message(name)
                sockets[name].send_multipart(frames)
                sent += 1
                if sent % 64 == 0:
                    for sock in sockets.values():
                        while sock.poll(0):
                            sock.recv_multipart()
            assert kernel.process.poll() is None, kernel.printed
            assert kernel.value(f"{sent} * 2", timeout=PATIENCE) == sent * 2
            assert kernel.client.hb_channel.is_beating()
            growth = growth or Growth(kernel.process.pid)
        print(f"{sent} messages; a valid cell answered after every 5000")
        growth.check(megabytes=96)
    finally:
        for sock in context._sockets.copy():
            sock.close(0)
        context.term()
        kernel.manager.shutdown_kernel()
        kernel.close()
        for broker in kernels.brokers(site):
            kernels.kill(broker.pid, 15)
        kernels.eventually(lambda: not kernels.brokers(site), 30)
        left = [str(process) for process in kernels.processes_of(site)]
        site.remove()
        assert left == [], left
    return sent


class RelayFuzz:
    """The streams: a greeting of our own link and some frames; spoilt as bytes, or inside their checksums."""

    KINDS = (relay.BULK, relay.BULK_PART, relay.URGENT, relay.COMMAND, relay.ACK, relay.PING, relay.PONG, relay.HELLO, relay.EVENT, 0, 99)

    def __init__(self, chance, link):
        self.chance, self.link, self.received = chance, link, {"bulk": 0, "urgent": 0}

    def payload(self, kind):
        chance = self.chance
        if kind == relay.COMMAND:
            return chance.choice((b"", b"{", b"[]", b'{"op":"fly"}', b'{"op":7}', b'{"op":null,"bulk":"x"}', b"[" * 4000))
        if kind == relay.ACK:
            return chance.choice((b"", chance.randbytes(16), struct.pack(">QQ", 0, 0)))
        if kind == relay.HELLO:
            # One that is well-formed would be another bridge's, or say of ours what is not true: the relay has to believe it.
            spoilt = flip(chance, self.hello_payload())
            try:
                json.loads(spoilt)
            except ValueError:
                return spoilt
            return b"{}"
        frames = [chance.randbytes(chance.randrange(30)) for _ in range(chance.randrange(6))]
        whole = b"".join(b"".join(piece) for piece in relay.encode_message(chance.choice((0, 1, 2, 3, 4, 5, 255)), frames))
        return flip(chance, whole) if chance.randrange(2) else whole

    def hello_payload(self):
        return json.dumps({"version": 1, "role": "bridge", "link": self.link, "received": self.given}).encode()

    def stream(self):
        chance = self.chance
        parts = [relay.encode(relay.HELLO, 0, self.hello_payload())]
        numbers = dict(self.received)
        for _ in range(chance.randrange(6)):
            kind = chance.choice(self.KINDS)
            lane = "bulk" if kind in (relay.BULK, relay.BULK_PART) else "urgent"
            numbers[lane] += 1
            number = chance.choice((numbers[lane], numbers[lane], 0, 1 << 63))
            parts.append(relay.encode(kind, number if kind in (relay.BULK, relay.BULK_PART, relay.URGENT, relay.COMMAND) else 0, self.payload(kind)))
        whole = b"".join(parts)
        return flip(chance, whole) if chance.randrange(2) else whole


def attach(path, stream):
    """Plays a stream to the relay as an attach process would, and waits until the relay has let go of it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        try:
            socket.send_fds(connection, [b"A"], [theirs_in, theirs_out])
            os.close(theirs_in)
            os.close(theirs_out)
            try:
                os.write(ours_out, stream)
            except BrokenPipeError:
                pass  # it had seen enough
        finally:
            os.close(ours_out)
        try:
            assert connection.recv(1) in (b"", bytes((relay.GO_REPLACED[0],)), bytes((relay.GO_GARBAGE[0],)))
        finally:
            os.close(ours_in)


def fuzz_relay(count, chance, deadline):
    home = tempfile.mkdtemp(prefix="ik-fuzz-")
    spec = os.path.join(home, "jupyter", "kernels", "fake")
    os.makedirs(spec)
    fake = str(Path(__file__).parents[1] / "Relay/fake_kernel.py")
    Path(spec, "kernel.json").write_text(json.dumps({"argv": ["python3", fake, "{connection_file}"], "display_name": "fake", "language": "fake"}))
    os.environ["JUPYTER_PATH"] = os.path.join(home, "jupyter")
    directory = os.path.join(home, "relay")
    os.mkdir(directory, 0o700)
    bridge = Bridge(directory).attach()
    sent, growth = 0, None
    try:
        bridge.start("fake")
        fuzz = RelayFuzz(chance, bridge.link)
        while sent < count and time.monotonic() < deadline:
            fuzz.given = dict(bridge.received)
            bridge.cut()
            for _ in range(min(1000, count - sent)):
                attach(os.path.join(directory, "relay.sock"), fuzz.stream())
                sent += 1
            bridge.attach()
            # What the streams had of well-formed frames counts: this bridge goes on behind it.
            bridge.numbers.update(bridge.hello["received"])
            bridge.sent = {"bulk": [], "urgent": []}
            bridge.put("bulk", relay.BULK, b"")  # the end of a message that a stream may have left unfinished
            reply, _ = bridge.run("interrupts")
            assert reply.content["status"] == "ok", reply.content
            fuzz.received = dict(bridge.numbers)
            bridge.items.clear()
            growth = growth or Growth(bridge.hello["relay_pid"])
        print(f"{sent} streams; the kernel behind the relay answered after every 1000")
        growth.check(megabytes=32)
        bridge.close()
        assert not processes_of(home)
    except BaseException:
        ended = bridge.attach_process.wait(5) if bridge.attach_process else None
        print(f"after {sent} streams; attach ended with {ended}, {bridge.hello}, processes {processes_of(home)}; the relay's log:\n{Path(directory, 'relay.log').read_text()[-3000:]}")
        raise
    finally:
        for pid in processes_of(home):
            kernels.kill(pid)
        shutil.rmtree(home)
    return sent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("zmq", "relay"))
    parser.add_argument("count", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    options = parser.parse_args()
    since = time.monotonic()
    fuzz = fuzz_zmq if options.what == "zmq" else fuzz_relay
    sent = fuzz(options.count, random.Random(options.seed), since + options.seconds)
    print(f"{options.what}: {sent} in {time.monotonic() - since:.0f} s, seed {options.seed}: no crash, no hang, no growth")


if __name__ == "__main__":
    main()
