#!/usr/bin/env python3
"""Plays many schedules and prints what came of them: run.py COUNT [--first SEED] [--longest SECONDS]"""

import argparse
import os
import statistics
import sys
import time
import traceback

from harness import Harness, kernels
from schedules import schedule


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--longest", type=float, default=4.0)
    options = parser.parse_args()
    site = kernels.Site("sandbox-python")
    site.install()
    os.environ.update(site.environment)
    times, failed, since = [], [], time.monotonic()
    harness = Harness(site)
    try:
        for seed in range(options.first, options.first + options.count):
            faults = schedule(seed, options.longest)
            try:
                took, notices = harness.run(seed, faults)
                times.append(took)
                print(f"seed {seed}: complete in {took:.2f} s, {len(notices)} notices; " + ", ".join(map(str, faults)), flush=True)
            except AssertionError:
                failed.append(seed)
                print(f"seed {seed}: FAILED; " + ", ".join(map(str, faults)), flush=True)
                traceback.print_exc()
                harness.close()
                harness = Harness(site)
    finally:
        harness.close()
        for broker in kernels.brokers(site):
            kernels.kill(broker.pid, 15)
        kernels.eventually(lambda: not kernels.processes_of(site), 20)
        site.remove()
    print(f"{len(times)} of {options.count} schedules complete and exact, {len(failed)} not ({failed}); "
          f"cell p50 {statistics.median(times) if times else 0:.2f} s, most {max(times, default=0):.2f} s; {time.monotonic() - since:.0f} s in all")  # fmt: skip
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
