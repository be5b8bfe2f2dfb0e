#!/usr/bin/env python3
"""Many short lives of sandboxes: cycles.py [COUNT] [--workers 4]

Each cycle claims a sandbox from the broker, runs a command in it and ends in one of the ways that there are: the claim is
closed, released, its process killed, or its sandbox killed by somebody else. At the end memory, descriptors, threads, mounts,
cgroups and disk must be where they were after the first tenth.
"""

import argparse
import base64
import http.client
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "EndToEnd"))

import kernels  # noqa: E402
import leftovers  # noqa: E402


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self.path))


def claim(broker, key):
    """An open claim and the sandbox that it holds."""
    connection = Connection(broker)
    connection.request("POST", "/claims", json.dumps({"key": key, "limit": 8}), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    while True:
        event = json.loads(answer.readline())
        if event["event"] == "ready":
            return connection, event["claim"], event["sandbox"]
        assert event["event"] in ("queued", "creating"), event


def run(sandbox, word):
    """Runs echo in it, by envd's own protocol."""
    connection = Connection(sandbox["unixSocket"])
    body = json.dumps({"process": {"cmd": "/bin/echo", "args": [word]}, "stdin": False}).encode()
    headers = {"Content-Type": "application/connect+json", "E2b-Sandbox-Id": sandbox["id"], "E2b-Sandbox-Port": "49983"}
    if sandbox.get("envdAccessToken"):
        headers["X-Access-Token"] = sandbox["envdAccessToken"]
    connection.request("POST", "/process.Process/Start", struct.pack(">BI", 0, len(body)) + body, headers)
    answer = connection.getresponse()
    printed = b""
    while True:
        flags, length = struct.unpack(">BI", answer.read(5))
        message = json.loads(answer.read(length))
        if flags & 2:
            break
        printed += base64.b64decode(message["event"].get("data", {}).get("stdout", ""))
    connection.close()
    assert printed.decode() == word + "\n", printed


def cycle(broker, number, chance):
    way = chance.choice(["close", "release", "kill", "stranger"])
    word = f"cycle-{number}"
    if way == "kill":
        with subprocess.Popen([sys.executable, __file__, "--hold", str(broker), str(number)], stdout=subprocess.PIPE) as holder:
            said = holder.stdout.readline()
            holder.kill()
        assert said == b"held\n", said
        return
    connection, name, sandbox = claim(broker, f"{number:016x}")
    run(sandbox, word)
    if way != "close":
        other = Connection(broker if way == "release" else sandbox["unixSocket"])
        other.request("DELETE", f"/claims/{name}" if way == "release" else f"/sandboxes/{sandbox['id']}")
        answer = other.getresponse()
        assert answer.status == 204, (way, answer.status, answer.read())
        other.close()
    connection.close()


def hold(broker, number):
    """The process that is to be killed: it claims, runs, says so and never lets go."""
    held = claim(broker, f"{number:016x}")
    run(held[2], f"cycle-{number}")
    print("held", flush=True)
    signal.pause()


def used(site, pid):
    """What the broker with its host holds, and what there is of sandboxes on the machine."""
    status = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return {
        "memory MiB": round(int(status["VmRSS"].split()[0]) / 1024, 1),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
        "mounts": len(leftovers.mounts(site)),
        "cgroups": sum(1 for c in leftovers.cgroups() if any(mark in c for mark in site.marks)),
        "files": sum(leftovers.files(site).values()),
        "processes": len(kernels.sandboxed_processes(site)),
    }


# What may be more at the end than after the first tenth: the heap, the thread pool and kept connections breathe.
SLACK = {"memory MiB": 24, "threads": 8, "descriptors": 16}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=2000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--hold", nargs=2, metavar=("BROKER", "NUMBER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        return hold(options.hold[0], int(options.hold[1]))
    site = kernels.Site("sandbox-python")
    site.install()
    os.environ.update(site.environment)
    kernel = kernels.Kernel(site)
    assert kernel.execute("1").status == "ok"
    [broker] = kernels.brokers(site)
    path = site.runtime / "broker.sock"
    before, since, failures = None, time.monotonic(), []

    def work(numbers, seed):
        chance = random.Random(seed)
        for number in numbers:
            try:
                cycle(path, number, chance)
            except Exception as problem:  # noqa: BLE001 (counted and told)
                failures.append(f"cycle {number}: {problem!r}")

    def play(first, last):
        threads = [threading.Thread(target=work, args=(range(first + n, last, options.workers), first + n)) for n in range(options.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kernels.eventually(lambda: site.used() == 1, 30)
        time.sleep(1)
        return used(site, broker.pid)

    tenth = options.count // 10
    try:
        before = play(0, tenth)
        after = play(tenth, options.count)
        print(f"{options.count} cycles in {time.monotonic() - since:.0f} s, {len(failures)} failed")
        print(f"{'':12} {'first tenth':>12} {'end':>12}")
        grown = []
        for name in before:
            more = after[name] > before[name] + SLACK.get(name, 0)
            grown += [name] if more else []
            print(f"{name:12} {before[name]:12} {after[name]:12}{'  GREW' if more else ''}")
        assert kernel.value("6 * 7") == 42
    finally:
        kernel.manager.shutdown_kernel()
        kernel.close()
        kernels.kill(broker.pid, 15)
        kernels.eventually(lambda: not kernels.brokers(site), 30)
    left = [str(process) for process in kernels.processes_of(site)]
    site.remove()
    print("\n".join(failures[:5]))
    print("left on the machine: " + (", ".join(left) or "nothing"))
    return 1 if failures or grown or left else 0


if __name__ == "__main__":
    sys.exit(main())
