"""bench/run.sh: see there."""

import argparse
import sys
import traceback

import zmq
from measure import messages, report, resources, starts
from measure.place import OURS, PLAIN, Place
from measure.rows import GROUPS, Results
from measure.running import Running
from measure.wire import Mismatch

# How often: quick, thorough.
STARTS = (4, 15)
BLOCKS, BLOCK = (5, 18), 50  # with the first, which warms up, under the 1,000 results after which IPython warns of its cache
ROUNDS = (3, 9)
INTERRUPTS = (5, 25)
TIMEOUTS = (20, 200)
IDLE_SECONDS = (4, 20)


def main():
    options = parse()
    thorough = 0 if options.quick else 1
    facts = report.conditions()
    facts["mode"] = mode_of(options)
    results, failed = Results(with_targets=not (options.delay or options.rate)), []
    line = (options.against, options.delay, options.rate)
    if "start" in options.groups:
        # In a place of its own: elsewhere a spare that is being made would disturb what is measured.
        with Place(*line, INTERPRETER_KERNEL_SPARES="1", INTERPRETER_KERNEL_REMOTE_SPARES="1") as place:
            attempt(failed, "start with a spare", True, lambda: starts.measure_warm(place, results, STARTS[thorough]))
    with Place(*line) as place:
        attempt(failed, "start and shutdown", options.groups & {"start", "shutdown"}, lambda: starts.measure(place, results, options.groups, STARTS[thorough]))
        if options.groups - {"start", "shutdown"}:
            attempt(failed, "the running kernels", True, lambda: with_pair(place, results, failed, options, thorough))
    print()
    report.print_table(results, facts)
    if options.json:
        report.write_json(options.json, results, facts)
    if options.docs:
        report.write_docs(options.mark, [report.HEAD, *(report.cells(result) for result in results)], report.describe(facts))
    for what in failed:
        print(f"NOT MEASURED: {what}", file=sys.stderr)
    missed = [result.row.title for result in results if result.met is False]
    if missed:
        print(f"{len(missed)} targets missed: {', '.join(missed)}")
    return 1 if failed or (options.strict and missed) else 0


def with_pair(place, results, failed, options, thorough):
    """All that needs two running kernels."""
    groups, rounds = options.groups, ROUNDS[thorough]
    with Running(place, OURS) as ours, Running(place, PLAIN) as plain:
        pair = {OURS: ours.ready(), PLAIN: plain.ready()}
        for kernel in pair.values():
            kernel.first_cell()
        parts = None
        if "memory" in groups:
            parts = resources.after_start(place, pair, results)
        attempt(failed, "idle", "idle" in groups, lambda: resources.idle(place, pair, results, IDLE_SECONDS[thorough]))
        attempt(failed, "stdout", groups & {"stdout", "memory"}, lambda: messages.stdout(pair, results, rounds))
        if parts:
            resources.at_peak(parts, pair, results)
        attempt(failed, "1+1", "roundtrip" in groups, lambda: messages.roundtrip(pair, results, BLOCKS[thorough], BLOCK, 2 * options.delay))
        attempt(failed, "prints", "prints" in groups, lambda: messages.prints(pair, results, rounds))
        attempt(failed, "displays", "displays" in groups, lambda: messages.displays(pair, results, rounds))
        attempt(failed, "50 MiB display", "display" in groups, lambda: messages.display_large(pair, results, rounds))
        attempt(failed, "comm", "comm" in groups, lambda: messages.comm(pair, results, rounds))
        attempt(failed, "interrupt", "interrupt" in groups, lambda: messages.interrupt(pair, results, INTERRUPTS[thorough]))
        attempt(failed, "timeout", "timeout" in groups, lambda: messages.timeout(pair[OURS], results, TIMEOUTS[thorough]))
        for kernel in pair.values():
            kernel.shut_down()


def attempt(failed, what, wanted, measure):
    """One thing that can't be measured must not cost the others; it is said at the end, and in the exit code."""
    if not wanted:
        return
    print(f"measuring {what}", file=sys.stderr, flush=True)
    try:
        measure()
    except (Mismatch, zmq.ZMQError, OSError, ValueError, KeyError) as problem:  # zmq.Again: it did not come in time
        failed.append(f"{what}: {type(problem).__name__}: {problem}")
        traceback.print_exc()


def parse():
    parser = argparse.ArgumentParser(prog="bench/run.sh")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", default=",".join(GROUPS))
    parser.add_argument("--json")
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--against")
    parser.add_argument("--delay", type=duration, default=0.0)
    parser.add_argument("--rate", type=rate, default=0)
    options = parser.parse_args()
    options.groups = set(options.rows.split(","))
    if unknown := options.groups - set(GROUPS):
        parser.error(f"no rows {', '.join(sorted(unknown))}; there are: {', '.join(GROUPS)}")
    if (options.delay or options.rate) and not options.against:
        parser.error("--delay and --rate are of the line to a service: add --against serve")
    options.mark = "results" if not options.against else "far results" if options.delay or options.rate else "tcp results"
    return options


def mode_of(options):
    where = "embedded sandboxes" if not options.against else "sandboxes over TCP" + (f" from {options.against}" if options.against != "serve" else "")
    line = (f", {options.delay * 1000:g} ms each way" if options.delay else "") + (f", {options.rate / 1e6:g} Mbit/s" if options.rate else "")
    return where + line + (", quick" if options.quick else "")


def duration(text):
    for unit, factor in (("ms", 0.001), ("s", 1.0)):
        if text.endswith(unit):
            return float(text[: -len(unit)]) * factor
    return float(text) / 1000


def rate(text):
    return float(text[:-1]) * {"K": 1e3, "M": 1e6, "G": 1e9}[text[-1].upper()]


if __name__ == "__main__":
    sys.exit(main())
