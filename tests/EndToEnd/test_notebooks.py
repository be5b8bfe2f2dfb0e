"""Notebooks run without a person: nbconvert and nbclient, with a lot of output, errors and timeouts."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from kernels import PLAIN, REPOSITORY, eventually
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat.v4 import new_code_cell, new_notebook


def notebook(*cells):
    return new_notebook(cells=[new_code_cell(source) for source in cells])


def nbconvert(site, source, kernel, *options, timeout=300):
    """Executes a notebook file as a user does on the command line and returns what it became."""
    target = site.folder("converted") / f"{source.stem}-{kernel}.ipynb"
    done = subprocess.run(
        [sys.executable, "-m", "jupyter", "nbconvert", "--to", "notebook", "--execute", str(source), "--output", str(target)]
        + [f"--ExecutePreprocessor.kernel_name={kernel}", "--log-level=WARN", *options],
        env=site.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return nbformat.read(target, as_version=4), done.stderr


def outputs(executed):
    """Each cell's outputs as they must be equal: neighbours of one stream joined, since their cuts are a matter of time."""
    cells = []
    for cell in executed.cells:
        joined = []
        for output in cell.outputs:
            if output.output_type == "stream" and joined and joined[-1].output_type == "stream" and joined[-1].name == output.name:
                joined[-1].text += output.text
            else:
                joined.append(output.copy())
        cells.append(joined)
    return cells


@pytest.mark.slow
@pytest.mark.limit(420)
def test_a_notebook_with_a_lot_of_output_gives_what_plain_ipykernel_gives(site):
    source = site.folder("work") / "volume.ipynb"
    nbformat.write(
        notebook(
            "for i in range(200_000):\n    print('line', i)",
            "display({'text/plain': '0123456789' * 2_000_000}, raw=True)",
            "import sys\nfor i in range(100):\n    print('out', i, flush=True)\nprint('to stderr', file=sys.stderr)",
            "def fail():\n    raise ValueError('é \U0001f34e')\nfail()",
            "display({'text/html': '<b>still here</b>', 'text/plain': 'x'}, raw=True, metadata={'a': 1}); {'a': [1, 2.5, None]}",
        ),
        source,
    )
    executed = {kernel: nbconvert(site, source, kernel, "--allow-errors") for kernel in (site.kernel_name, PLAIN)}
    ours, plain = (outputs(executed[kernel][0]) for kernel in (site.kernel_name, PLAIN))
    assert ours[0] == [{"output_type": "stream", "name": "stdout", "text": "".join(f"line {i}\n" for i in range(200_000))}]
    assert len(ours[1][0].data["text/plain"]) == 20_000_000
    for cell, (here, there) in enumerate(zip(ours, plain)):
        assert here == there, f"cell {cell} differs"
    assert [cell.execution_count for cell in executed[site.kernel_name][0].cells] == [1, 2, 3, 4, 5]
    assert "Timeout waiting for IOPub" not in executed[site.kernel_name][1]


def test_a_cell_that_takes_too_long_is_interrupted_and_the_notebook_goes_on(site):
    client = NotebookClient(
        notebook("kept = 'kept'", "while True: pass", "print(kept)"), kernel_name=site.kernel_name, timeout=3, interrupt_on_timeout=True, allow_errors=True
    )
    executed = client.execute()
    assert executed.cells[1].outputs[-1].ename == "KeyboardInterrupt"
    assert executed.cells[2].outputs == [{"output_type": "stream", "name": "stdout", "text": "kept\n"}]


def test_a_timeout_without_interrupt_ends_the_run(site):
    with pytest.raises(CellTimeoutError):
        NotebookClient(notebook("import time; time.sleep(600)"), kernel_name=site.kernel_name, timeout=2).execute()


def test_an_error_ends_the_run_with_its_traceback(site):
    with pytest.raises(CellExecutionError, match="ValueError: on purpose"):
        NotebookClient(notebook("raise ValueError('on purpose')", "1"), kernel_name=site.kernel_name, timeout=30).execute()


@pytest.mark.sandbox
def test_a_kernel_that_dies_tells_nbclient_why(site):
    with pytest.raises(CellExecutionError, match=r"SIGKILL|signal 9"):
        NotebookClient(notebook("import os; os.kill(os.getpid(), 9)", "1"), kernel_name=site.kernel_name, timeout=60).execute()


@pytest.mark.sandbox
def test_nothing_of_the_start_stays_in_the_notebook(site):
    executed = NotebookClient(notebook("1 + 1"), kernel_name=site.kernel_name, timeout=60).execute()
    results = [output for output in executed.cells[0].outputs if output.output_type == "execute_result"]
    assert [output.data["text/plain"] for output in results] == ["2"]
    # A line about a slow start is allowed to have been there, not to remain.
    assert len(executed.cells[0].outputs) == 1, executed.cells[0].outputs


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.limit(400)
def test_the_quickstart_ends_well_twice_and_its_notebook_proves_where_it_ran(site, tmp_path):
    executed = REPOSITORY / "out/quickstart/quickstart.ipynb"
    # What it builds is up to date, or else the SDK leaves files of its own in the folder for temporary ones: not in ours.
    subprocess.run([str(REPOSITORY / "scripts/build.sh")], env=dict(os.environ, TMPDIR=str(tmp_path)), check=True, capture_output=True)
    for _ in range(2):
        executed.unlink(missing_ok=True)
        # Only the user's own folders are set apart; all else is as for a user.
        environment = {key: value for key, value in site.environment.items() if not key.startswith(("JUPYTER", "IPYTHON"))}
        done = subprocess.run(
            [str(REPOSITORY / "scripts/quickstart.sh")], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, done.stderr
        assert str(executed) in done.stdout
    cells = {cell.id: cell for cell in nbformat.read(executed, as_version=4).cells}

    def text(cell):
        return "".join(output.get("text", "") for output in cells[cell].outputs)

    assert "Hello from a sandbox" in text("output")
    assert any("image/png" in output.get("data", {}) for output in cells["plot"].outputs)
    assert cells["error"].outputs[-1].ename == "ZeroDivisionError"
    assert [o.data["text/plain"] for o in cells["display"].outputs if "100 %" in o.data["text/plain"]], "the display was not updated"
    assert "host name: sandbox" in text("where")
    assert "('1.1.1.1', 53) not reached" in text("network") and " reached\n" not in text("network").replace("not reached", "")
    assert "/usr can't be written" in text("files") and "that look like secrets: []" in text("files")
    assert not Path("/usr/written-from-a-cell").exists()
    assert "stopped after" in text("limits") and "ended with 0 " not in text("limits")
    eventually(lambda: site.used() == 0, 3)
