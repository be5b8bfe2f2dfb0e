"""Runs a notebook by nbclient's interface, under whichever Python starts this: run_notebook.py KERNEL IN OUT [options].

With --parameters it makes the calls that papermill's engine makes, for a Jupyter that has no papermill.
"""

import argparse
import json
import sys

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell

parser = argparse.ArgumentParser()
parser.add_argument("kernel")
parser.add_argument("source")
parser.add_argument("target")
parser.add_argument("--timeout", type=int)
parser.add_argument("--interrupt", action="store_true")
parser.add_argument("--allow-errors", action="store_true")
parser.add_argument("--parameters", type=json.loads)
options = parser.parse_args()
notebook = nbformat.read(options.source, as_version=4)


def papermill(client):
    """papermill 2.6: parameterize.py, clientwrap.py and engines.py, without its bookkeeping."""
    defaults = next(at for at, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    given = new_code_cell("# Parameters\n" + "".join(f"{name} = {value!r}\n" for name, value in options.parameters.items()))
    given.metadata["tags"] = ["injected-parameters"]
    notebook.cells.insert(defaults + 1, given)
    client.reset_execution_trackers()
    with client.setup_kernel():
        for at, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, at)
            except CellExecutionError:
                break
        answer = client.wait_for_reply(client.kc.kernel_info())
        notebook.metadata["language_info"] = answer["content"]["language_info"]
        client.set_widgets_metadata()


client = NotebookClient(
    notebook,
    kernel_name=options.kernel,
    timeout=options.timeout,
    startup_timeout=60,
    interrupt_on_timeout=options.interrupt,
    allow_errors=options.allow_errors,
)
try:
    if options.parameters is None:
        client.execute()
    else:
        papermill(client)
except Exception as problem:  # noqa: BLE001 (told to the test, whatever it is)
    print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
    sys.exit(1)
finally:
    nbformat.write(notebook, options.target)
