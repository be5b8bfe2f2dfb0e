"""bench/notebooks.sh: see there."""

import argparse
import json
import statistics
import subprocess
import sys
import time

from measure import report
from measure.place import OURS, PLAIN, Place
from measure.rows import Row

ROW = Row("notebooks", "notebooks", "notebooks of 3 cells, one after another", "s", at_most=1.0)
TURNS = 4
CELLS = (
    ("values = [n * n for n in range(100)]\nsum(values)", {"text/plain": "328350"}),
    ("for n in values[:5]: print(n)", "0\n1\n4\n9\n16\n"),
    ("from IPython.display import HTML\nHTML(f'<b>{max(values)}</b>')", {"text/html": "<b>9801</b>"}),
)


def main():
    parser = argparse.ArgumentParser(prog="bench/notebooks.sh")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--json")
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args()
    facts = report.conditions()
    seconds = {OURS: [], PLAIN: []}
    with Place() as place:
        for kind in (OURS, PLAIN):
            execute(place, kind, 1)  # files come into memory, the broker runs
        for turn in range(TURNS):
            share = options.count // TURNS + (turn < options.count % TURNS)
            for kind in (OURS, PLAIN):
                seconds[kind].append(execute(place, kind, share))
    ours, plain = sum(seconds[OURS]), sum(seconds[PLAIN])
    ratios = [mine / theirs for mine, theirs in zip(seconds[OURS], seconds[PLAIN])]
    met = ROW.judge(ours / plain)
    print(f"{options.count} {ROW.title}: ours {ours:.1f} s, plain {plain:.1f} s, ratio {ours / plain:.2f} ({min(ratios):.2f}–{max(ratios):.2f}, median {statistics.median(ratios):.2f}),", end=" ")
    print(f"target {ROW.target}: {'met' if met else 'missed'}\n\n{report.describe({**facts, 'mode': f'{options.count} notebooks'})}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"conditions": facts, "seconds": seconds, "ratio": ours / plain, "met": met}, file, indent=1)
    return 1 if options.strict and not met else 0


def execute(place, kind, count):
    """One nbconvert executes `count` notebooks, each with a kernel of its own; what they hold afterwards is checked."""
    folder = place.folder("notebooks")
    files = []
    for number in range(count):
        cells = [{"cell_type": "code", "id": f"cell{index}", "metadata": {}, "execution_count": None, "outputs": [], "source": code} for index, (code, _) in enumerate(CELLS)]
        metadata = {"kernelspec": {"name": kind, "display_name": kind, "language": "python"}}
        files.append(folder / f"notebook-{number}.ipynb")
        files[-1].write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", "--log-level", "WARN", *map(str, files)],
        env=place.environment, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60 + 30 * count,
    )
    seconds = time.perf_counter() - begin
    if done.returncode != 0:
        raise SystemExit(f"nbconvert failed with {kind}:\n{done.stderr}")
    for file in files:
        for cell, (_, expected) in zip(json.loads(file.read_text())["cells"], CELLS):
            output = cell["outputs"][0]
            got = "".join(output["text"]) if isinstance(expected, str) else {kind: "".join(text) for kind, text in output["data"].items() if kind in expected}
            if len(cell["outputs"]) != 1 or got != expected:
                raise SystemExit(f"{file.name}, executed by {kind}, holds {cell['outputs']} instead of {expected}")
        file.unlink()
    return seconds


if __name__ == "__main__":
    sys.exit(main())
