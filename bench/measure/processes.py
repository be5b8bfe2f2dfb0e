"""Memory and processor time of processes, as /proc tells them."""

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import kernels

# Which part of ours a command line belongs to; the first that fits. The kernel in the sandbox is not ours: plain has it too.
PARTS = (
    ("kernel", re.compile(r"interpreter-kernel kernel\b")),
    ("broker", re.compile(r"interpreter-kernel broker\b")),
    ("host", re.compile(r"interpreter-kernel serve\b")),
    ("relay", re.compile(r"relay-[0-9a-f]+\.py")),
    ("ipykernel inside", re.compile(r"ipykernel_launcher|-m ipykernel")),
    ("first process of the sandbox", re.compile(r"agent")),
    ("runtime", re.compile(r"^\S*(runc|crun|runsc|conmon)\b")),
    ("watchdog", re.compile(r"^/bin/sh -c if read")),
)
OUTSIDE_OF_US = "ipykernel inside"


@dataclass
class Memory:
    """In bytes. `peak` is of the resident set, since the last reset."""

    pss: int = 0
    rss: int = 0
    peak: int = 0

    def __add__(self, other):
        return Memory(self.pss + other.pss, self.rss + other.rss, self.peak + other.peak)


def memory_of(pid):
    sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE))
    peak = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return Memory(int(sizes["Pss"]) * 1024, int(sizes["Rss"]) * 1024, int(peak[1]) * 1024)


def reset_peak(pid):
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_seconds(pid):
    """What it has used, with threads that have ended, in nanoseconds; ticks of 10 ms would show nothing of an idle process.
    The number is the one that clock_getcpuclockid(3) makes of a pid."""
    return time.clock_gettime(~pid << 3 | 2)


def parts_of(place):
    """The processes of our part of a place by what they are: {part: [pid]}. What is under `python -m` of the host is not ours."""
    found = {}
    for process in kernels.processes_of(place):
        part = next((name for name, pattern in PARTS if pattern.search(process.command)), None)
        if part == OUTSIDE_OF_US and not process.sandboxed or "slow_line.py" in process.command:
            continue
        found.setdefault(part or f"other: {process.command[:60]}", []).append(process.pid)
    return found


def memory_by_part(parts):
    sums = {}
    for part, pids in parts.items():
        for pid in pids:
            with contextlib.suppress(OSError, KeyError, TypeError):
                sums[part] = sums.get(part, Memory()) + memory_of(pid)
    return sums


def idle_share(pids, seconds):
    """How much of one core these processes use while nobody asks anything of them."""
    before = {pid: cpu_seconds(pid) for pid in pids}
    begin = time.perf_counter()
    time.sleep(seconds)
    elapsed = time.perf_counter() - begin
    return sum(cpu_seconds(pid) - used for pid, used in before.items()) / elapsed
