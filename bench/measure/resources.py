"""Memory of each process after its start and at its peak, and what an idle kernel costs."""

import time

from . import processes
from .place import OURS, PLAIN

MIB = 1 << 20
SMALL_PARTS = ("first process of the sandbox", "watchdog", "runtime")


def after_start(place, pair, results):
    """Right after the first cell; then the peaks begin anew."""
    time.sleep(1)
    parts = processes.parts_of(place)
    sums = processes.memory_by_part(parts)
    plain = processes.memory_of(pair[PLAIN].pid)
    ours = processes.memory_of(pair[OURS].pid)
    results.compare("memory-start", [ours.rss / MIB], [plain.rss / MIB])
    results.compare("memory-start-pss", [ours.pss / MIB], [plain.pss / MIB])
    for part in ("relay", "broker", "host"):
        if part in sums:
            results.tell(f"memory-{part}", [sums[part].pss / MIB])
    results.tell("memory-other", [sum(memory.pss for part, memory in sums.items() if part in SMALL_PARTS or part.startswith("other")) / MIB])
    results.tell("memory-all", [sum(memory.pss for part, memory in sums.items() if part != processes.OUTSIDE_OF_US) / MIB])
    for pid in [pair[PLAIN].pid, *(pid for pids in parts.values() for pid in pids)]:
        processes.reset_peak(pid)
    return parts


def at_peak(parts, pair, results):
    sums = processes.memory_by_part(parts)
    results.compare("memory-peak", *([processes.memory_of(pair[kind].pid).peak / MIB] for kind in (OURS, PLAIN)))
    for part in ("relay", "broker", "host"):
        if part in sums:
            results.tell(f"memory-{part}-peak", [sums[part].peak / MIB])


def idle(place, pair, results, seconds):
    parts = processes.parts_of(place)
    ours = [pid for part, pids in parts.items() if part != processes.OUTSIDE_OF_US for pid in pids]
    time.sleep(1)
    results.compare("idle", [100 * processes.idle_share(ours, seconds)], [100 * processes.idle_share([pair[PLAIN].pid], seconds)])
