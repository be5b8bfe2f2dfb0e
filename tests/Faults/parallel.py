#!/usr/bin/env python3
"""Many notebooks by fewer converters against a smaller limit: parallel.py [--notebooks 40] [--workers 15] [--limit 10] [--seconds 24]

The sandboxes come from a service of its own (`interpreter-kernel serve`) that would allow more, so that one too many would be
seen: what it runs is counted every 5 ms. All notebooks have to succeed; the slots have to be granted in the order of the claims;
and the whole may take 15 % longer than the ideal schedule: that of notebooks which each take what one alone takes here.
"""

import argparse
import heapq
import http.client
import json
import math
import os
import queue
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "EndToEnd"))

import kernels  # noqa: E402
from service import KEY, Service  # noqa: E402

TOLERANCE = 0.15


def notebook(path, kernel, number, seconds):
    """Works for a while (elsewhere, as far as this machine's two cores are concerned: it sleeps) and says what it found."""
    codes = [f"import time\nnumber = {number}", f"time.sleep({seconds})", "print(number * number)"]
    cells = [{"cell_type": "code", "id": f"c{i}", "metadata": {}, "execution_count": None, "outputs": [], "source": code} for i, code in enumerate(codes)]
    metadata = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}}
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))


def convert(site, environment, path, number):
    """Executes it; answers how long that took and what went wrong, if anything did."""
    since = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", "--log-level", "WARN", str(path)],
        env=environment, cwd=path.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    took = time.monotonic() - since
    if done.returncode != 0:
        return took, f"{path.name}: {done.stderr[-2000:]}"
    outputs = json.loads(path.read_text())["cells"][2]["outputs"]
    return took, None if [o.get("text") for o in outputs] == [[f"{number * number}\n"]] else f"{path.name}: {outputs}"


class Sampler(threading.Thread):
    """Counts the service's running sandboxes every 5 ms."""

    def __init__(self, service):
        super().__init__()
        self.service, self.most, self.samples, self.done = service, 0, 0, threading.Event()

    def run(self):
        # One connection for all: each of its own would keep a port of this machine for a minute, and kernels need ports.
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=30)
        while not self.done.wait(0.005):
            connection.request("GET", "/v2/sandboxes?state=running", headers={"X-API-Key": KEY})
            self.most = max(self.most, len(json.loads(connection.getresponse().read())))
            self.samples += 1
        connection.close()


def ideal(count, workers, slots, seconds):
    """The end of the last of `count` equal jobs, where a job needs a worker and a slot for all of its time."""
    free = [0.0] * min(workers, slots)
    for _ in range(count):
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def displacement(log):
    """How many places a claim got its slot earlier or later than it was opened, at most."""
    opened = re.findall(r"Claim (\S+) opened", log)
    granted = re.findall(r"Claim (\S+) got its slot", log)
    assert sorted(opened) == sorted(granted), "claims were opened that never got a slot"
    return max(abs(opened.index(claim) - place) for place, claim in enumerate(granted))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notebooks", type=int, default=40)
    parser.add_argument("--workers", type=int, default=15)
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=24)
    options = parser.parse_args()
    site = kernels.Site("sandbox-python")
    site.install()
    service = Service(site, "--limit", str(options.limit + 10))
    environment = {**site.environment, **service.variables, "INTERPRETER_KERNEL_LIMIT": str(options.limit)}
    folder = site.folder("notebooks")
    try:
        warm = folder / "warm.ipynb"
        notebook(warm, site.kernel_name, 1, 0)
        _, problem = convert(site, environment, warm, 1)
        assert problem is None, problem
        notebook(warm, site.kernel_name, 1, options.seconds)
        single, problem = convert(site, environment, warm, 1)
        assert problem is None, problem

        [broker] = kernels.brokers(site)
        log = site.runtime / "broker.log"
        before = log.stat().st_size
        waiting, problems = queue.SimpleQueue(), []
        for number in range(options.notebooks):
            path = folder / f"notebook-{number}.ipynb"
            notebook(path, site.kernel_name, number, options.seconds)
            waiting.put((path, number))

        def work():
            while True:
                try:
                    path, number = waiting.get_nowait()
                except queue.Empty:
                    return
                _, problem = convert(site, environment, path, number)
                problems.extend([problem] if problem else [])

        sampler = Sampler(service)
        sampler.start()
        workers = [threading.Thread(target=work) for _ in range(options.workers)]
        since = time.monotonic()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        wall = time.monotonic() - since
        left = len(service.sandboxes())
        sampler.done.set()
        sampler.join()
        best = ideal(options.notebooks, options.workers, options.limit, single)
        moved = displacement(log.read_text()[before:])
        verdicts = {
            f"{options.notebooks - len(problems)} of {options.notebooks} notebooks succeeded": not problems,
            f"at most {sampler.most} sandboxes at once in {sampler.samples} samples, limit {options.limit}": sampler.most <= options.limit,
            f"{left} left when the last converter ended": left == 0,
            f"slots granted within {moved} places of the order of the claims": moved <= 1,
            f"{wall:.1f} s; ideal {best:.1f} s ({math.ceil(options.notebooks / options.limit)} times {single:.1f} s): {wall / best - 1:+.1%}": wall <= best * (1 + TOLERANCE),
        }
        for text, holds in verdicts.items():
            print(f"{'ok  ' if holds else 'FAIL'} {text}")
        print("\n".join(problems[:3]))
        return 0 if all(verdicts.values()) else 1
    finally:
        for broker in kernels.brokers(site):
            kernels.kill(broker.pid, 15)
        kernels.eventually(lambda: not kernels.brokers(site), 30)
        service.close()
        rest = [str(process) for process in kernels.processes_of(site)]
        if not os.environ.get("IK_TEST_KEEP"):
            site.remove()
        assert rest == [], rest


if __name__ == "__main__":
    sys.exit(main())
