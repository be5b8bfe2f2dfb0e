"""What a run says: a table on the terminal, all figures as JSON, the table in docs/performance.md."""

import datetime
import json
import os
import platform
import re
import subprocess

from . import ROOT

DOCS = ROOT / "docs/performance.md"


def conditions():
    """What one has to know to compare two tables."""
    model = re.search(r"^model name\s*:\s*(.*)$", open("/proc/cpuinfo").read(), re.MULTILINE)
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    import ipykernel
    import zmq

    return {
        "when": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit or "unknown",
        "processors": os.cpu_count(),
        "model": model[1] if model else platform.machine(),
        "python": platform.python_version(),
        "ipykernel": ipykernel.__version__,
        "libzmq": zmq.zmq_version(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def number(value):
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def cells(result):
    """One line of the table: what, ours, plain, ratio, its spread, target, verdict."""
    row = result.row
    if result.skipped:
        return [row.title, "", "", "", "", row.target, f"skipped: {result.skipped}"]
    unit = f" {row.unit}" if row.unit else ""
    ratio = f"{result.ratio:.2f}" if result.ratio is not None else ""
    spread = "{:.2f}–{:.2f}".format(*result.spread) if result.spread else ""
    verdict = {None: "", True: "met", False: "missed"}[result.met]
    return [row.title, number(result.ours_value) + unit, number(result.plain_value) + (unit if result.plain_value is not None else ""), ratio, spread, row.target, verdict]


HEAD = ["", "ours", "plain", "ratio", "spread", "target", ""]


def as_text(lines):
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    aligned = ["  ".join(text.ljust(width) if column in (0, 6) else text.rjust(width) for column, (text, width) in enumerate(zip(line, widths))).rstrip() for line in lines]
    return "\n".join(aligned)


def as_markdown(lines):
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([rows[0], "|---|---:|---:|---:|---:|---:|---|", *rows[1:]])


def describe(facts):
    return (
        f"{facts['when']}, {facts['commit']}: {facts['processors']} cores of {facts['model']}, Python {facts['python']}, ipykernel {facts['ipykernel']}, "
        f"libzmq {facts['libzmq']}; load before the run {', '.join(map(str, facts['load']))}; {facts['mode']}."
    )


def print_table(results, facts):
    print(as_text([HEAD, *(cells(result) for result in results)]))
    print("\n" + describe(facts))


def write_json(path, results, facts):
    rows = {
        result.row.key: {
            "title": result.row.title,
            "unit": result.row.unit,
            "ours": result.ours_value,
            "plain": result.plain_value,
            "ratio": result.ratio,
            "spread": result.spread,
            "target": result.row.target or None,
            "met": result.met,
            "skipped": result.skipped,
            "all_ours": result.ours,
            "all_plain": result.plain,
        }
        for result in results
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"conditions": facts, "rows": rows}, file, indent=1, ensure_ascii=False)


def write_docs(mark, lines, note):
    """Replaces what stands between the markers of this table."""
    text = DOCS.read_text(encoding="utf-8")
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    if begin not in text or end not in text:
        raise SystemExit(f"{DOCS} has no markers {begin} … {end}")
    before, after = text.split(begin)[0], text.split(end)[1]
    DOCS.write_text(f"{before}{begin}\n{as_markdown(lines)}\n\n{note}\n{end}{after}", encoding="utf-8")
