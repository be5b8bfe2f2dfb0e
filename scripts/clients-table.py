#!/usr/bin/python3
"""Writes the table of docs/clients.md from what the runs said: scripts/clients-table.py [--check] [RESULTS-FOLDER]

The runs (scripts/jupyterlab.sh, nbclient.sh, editors.sh; each for sandbox-python and for python3) leave CLIENT.KERNEL.json files in
out/clients. Fails when something works with plain ipykernel and not with ours and no reason for it is given below.
With --check nothing is written.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/clients.md"
BEGIN, END = "<!-- made by scripts/clients-table.py: begin -->", "<!-- made by scripts/clients-table.py: end -->"
OURS, PLAIN = "sandbox-python", "python3"

# Why something that works with plain ipykernel does not with ours: {(client, feature): reason}. Empty is how it should be.
REASONS = {}

CLIENTS = [
    "JupyterLab (Debian 13)",
    "nbclient, nbconvert, papermill (Debian 12)",
    "nbclient, nbconvert, papermill (Debian 13)",
    "VS Code (replayed)",
    "Polyglot (replayed)",
    "jupyter console",
]
FEATURES = [
    *("launch", "launcher", "run cells", "rich output", "matplotlib", "pandas", "display updates", "large output", "errors", "allow errors"),
    *("input()", "completion", "inspection", "widgets", "value sharing", "debugger", "interrupt", "timeout", "timeout with interrupt", "parameters"),
    *("restart", "restart and run all", "reload", "two notebooks", "two clients", "parallel runs", "kernel death", "shutdown"),
]
MARKS = {True: "✓", False: "✗", None: "·"}


def read(folder):
    found = {}
    for file in sorted(folder.glob("*.json")):
        told = json.loads(file.read_text())
        found.setdefault(told["client"], {})[told["kernel"]] = told["features"]
    return found


def table(found):
    """The lines of the table and of its footnotes, and what is worse than plain ipykernel without a reason."""
    clients = [client for client in CLIENTS if client in found]
    lines = ["| | " + " | ".join(clients) + " |", "|---|" + ":-:|" * len(clients)]
    notes, worse = [], []
    for feature in FEATURES:
        cells = []
        for client in clients:
            ours, plain = (found[client].get(kernel, {}).get(feature) for kernel in (OURS, PLAIN))
            if ours is None and plain is None:
                cells.append("")
                continue
            cell = f"{MARKS[ours]} {MARKS[plain]}"
            if plain and not ours:
                reason = REASONS.get((client, feature))
                if reason is None:
                    worse.append(f"{feature} in {client}")
                else:
                    notes.append(reason)
                    cell += f" ({len(notes)})"
            cells.append(cell)
        if any(cells):
            lines.append(f"| {feature} | " + " | ".join(cells) + " |")
    unknown = {feature for kernels in found.values() for told in kernels.values() for feature in told} - set(FEATURES)
    known_elsewhere = {feature for told in found.get("languages", {}).values() for feature in told}
    assert not unknown - known_elsewhere, f"not in the list of features: {unknown - known_elsewhere}"
    return lines + [""] + [f"({at}) {note}" for at, note in enumerate(notes, 1)], worse


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    folder = Path(arguments[0]) if arguments else ROOT / "out/clients"
    found = read(folder)
    if not found:
        sys.exit(f"no results in {folder}: run scripts/jupyterlab.sh, scripts/nbclient.sh and scripts/editors.sh first, also with --kernel python3")
    lines, worse = table(found)
    if worse:
        sys.exit("worse than plain ipykernel, without a reason in scripts/clients-table.py:\n  " + "\n  ".join(worse))
    missing = [client for client in CLIENTS if set(found.get(client, {})) != {OURS, PLAIN}]
    if missing:
        print("no results, or those of one kernel only, for: " + "; ".join(missing), file=sys.stderr)
    if "--check" not in sys.argv:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(before + BEGIN + "\n\n" + "\n".join(lines).rstrip() + "\n\n" + END + rest.split(END)[1])
    sys.exit(1 if missing else 0)


main()
