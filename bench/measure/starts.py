"""From nothing to the first result, and from the wish to end to the end. Ours and plain in turn."""

import time

import kernels

from .place import OURS, PLAIN
from .running import Running, free_slot


def measure(place, results, groups, count):
    """`count` pairs of starts; every other one ends by looking at the slot instead of at the process."""
    warm_up(place)
    broker = place.broker()
    seconds = {kind: {"info": [], "first": [], "exit": []} for kind in (OURS, PLAIN)}
    slots = []
    for turn in range(count):
        for kind in (OURS, PLAIN):
            with Running(place, kind) as kernel:
                kernel.ready()
                first = kernel.first_cell()
                seconds[kind]["info"].append(kernel.info_seconds)
                seconds[kind]["first"].append(first)
                if kind == OURS and turn % 2 and "shutdown" in groups:
                    slots.append(to_free_slot(place, broker, kernel))
                else:
                    seconds[kind]["exit"].append(kernel.shut_down())
            if kind == OURS:
                free_slot(place, broker, 1)
                time.sleep(0.1)  # what ends behind the scenes is not plain's to pay for
    broker.close()

    def milliseconds(kind, what):
        return [value * 1000 for value in seconds[kind][what]]

    if "start" in groups:
        results.compare("start-info", milliseconds(OURS, "info"), milliseconds(PLAIN, "info"))
        results.compare("start-cold", milliseconds(OURS, "first"), milliseconds(PLAIN, "first"))
    if "shutdown" in groups:
        results.compare("shutdown-exit", milliseconds(OURS, "exit"), milliseconds(PLAIN, "exit"))
        if slots:
            results.tell("shutdown-slot", [value * 1000 for value in slots])
        else:
            results.skip("shutdown-slot", "it takes two starts")


def measure_warm(place, results, count):
    """The same where spares are kept. Each start waits until there is one; it is made while no kernel runs, ours or plain."""
    warm_up(place)
    broker = place.broker()
    first = {OURS: [], PLAIN: []}
    for _ in range(count):
        for kind in (OURS, PLAIN):
            kernels.eventually(lambda: broker.status()["spares"] > 0, 60)
            with Running(place, kind) as kernel:
                kernel.ready()
                first[kind].append(kernel.first_cell() * 1000)
                kernel.shut_down()
            if kind == OURS:
                free_slot(place, broker, 1)
    broker.close()
    results.compare("start-warm", first[OURS], first[PLAIN])


def warm_up(place):
    """One start of each that does not count: files come into memory, the broker runs, kernel_info is known."""
    for kind in (OURS, PLAIN):
        with Running(place, kind) as kernel:
            kernel.ready()
            kernel.first_cell()
            kernel.shut_down()


def to_free_slot(place, broker, kernel):
    before = broker.status()["used"]
    request = kernel.client.build("shutdown_request", {"restart": False})
    begin = time.perf_counter()
    kernel.client.control.send_multipart(request.frames)
    seconds = free_slot(place, broker, before) - begin
    kernel.await_exit(30)
    return seconds
