"""bench/density.sh: see there."""

import argparse
import concurrent.futures
import json
import sys
import time

from measure import ROOT, processes, report
from measure.place import OURS, Place
from measure.rows import Row
from measure.running import Running

MIB = 1 << 20
SHARED = ("broker", "watchdog")

# What the targets are about: what each kernel adds, its sandbox's first process included; the one broker is told beside it.
ADDED = Row("density", "density", "what we add per kernel, PSS", "MiB", at_most=75)
IDLE = Row("idle", "density", "all of them idle", "% of a core", at_most=2)


def main():
    parser = argparse.ArgumentParser(prog="bench/density.sh")
    parser.add_argument("count", type=int, nargs="?", default=50)
    parser.add_argument("--json")
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args()
    notebook = json.loads((ROOT / "notebooks/quickstart.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    facts = report.conditions()
    with Place(INTERPRETER_KERNEL_LIMIT=str(options.count)) as place:
        kernels = []
        try:
            begin = time.perf_counter()
            kernels = [Running(place, OURS) for _ in range(options.count)]
            for kernel in kernels:
                kernel.client.wait(300)
                kernel.ready()
            answered = time.perf_counter() - begin

            # Two at a time, which is what the machine has cores for: the last cell fills its sandbox's memory.
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                outcomes = list(pool.map(lambda kernel: run(kernel, cells), kernels))
            ran = time.perf_counter() - begin
            time.sleep(3)
            parts = processes.parts_of(place)
            sums = processes.memory_by_part(parts)
            ours = [pid for part, pids in parts.items() if part != processes.OUTSIDE_OF_US for pid in pids]
            idle = 100 * processes.idle_share(ours, 10)
        finally:
            for kernel in kernels:
                kernel.close()
        added = {part: memory.pss / MIB for part, memory in sums.items() if part != processes.OUTSIDE_OF_US}
    per_kernel = sum(size for part, size in added.items() if part not in SHARED) / options.count
    verdicts = show(options.count, answered, ran, outcomes, parts, added, sums, per_kernel, idle)
    print("\n" + report.describe({**facts, "mode": f"{options.count} kernels at once"}))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"conditions": facts, "count": options.count, "outcomes": outcomes, "pss": added, "per_kernel": per_kernel, "idle": idle}, file, indent=1)
    alike = all(outcome == outcomes[0] for outcome in outcomes)
    if not alike:
        print("the kernels did not all give the same", file=sys.stderr)
    return 0 if alike and (all(verdicts) or not options.strict) else 1


def run(kernel, cells):
    """Each cell's end: ok, or the name of its error. Cells may raise; the notebook shows that too."""
    ends = []
    for code in cells:
        request = kernel.client.cell(code, stop_on_error=False)
        kernel.client.finish(request)
        reply = next(message for message in kernel.client.take() if message.parent == request.id and message.type == "execute_reply")
        ends.append(reply.content.get("ename") or reply.content["status"])
    return ends


def show(count, answered, ran, outcomes, parts, added, sums, per_kernel, idle):
    print(f"{count} kernels answered after {answered:.1f} s and had run {len(outcomes[0])} cells each after {ran:.1f} s; the cells ended: {', '.join(outcomes[0])}\n")
    for part, pids in sorted(parts.items()):
        if part in added:
            each = f"{added[part] / count:8.1f} MiB a kernel" if part not in SHARED else f"{added[part]:8.1f} MiB for all"
            print(f"  {part:32} {len(pids):4} processes  PSS {each}   (RSS {sums[part].rss / MIB / len(pids):.1f} MiB a process)")
    verdicts = [ADDED.judge(per_kernel), IDLE.judge(idle)]
    for row, value, met in zip((ADDED, IDLE), (per_kernel, idle), verdicts):
        print(f"\n{row.title}: {value:.2f} {row.unit}, target {row.target}: {'met' if met else 'missed'}", end="")
    print()
    return verdicts


if __name__ == "__main__":
    sys.exit(main())
