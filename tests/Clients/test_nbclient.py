"""Notebooks that run without a person, by nbconvert, nbclient and papermill: Debian 12's versions and Debian 13's."""

import re
import subprocess
import time
import uuid
from pathlib import Path

import nbformat
import pytest
from kernels import eventually, patience
from nbformat.v4 import new_code_cell, new_notebook

CLIENT = "nbclient, nbconvert, papermill"
DRIVER = Path(__file__).with_name("run_notebook.py")


@pytest.fixture
def notebook(site):
    """Writes a notebook file of the cells given; one of them may be a pair with its tags."""

    def write(*cells):
        content = new_notebook(cells=[new_code_cell(cell) if isinstance(cell, str) else new_code_cell(cell[0], metadata={"tags": cell[1]}) for cell in cells])
        content.metadata["kernelspec"] = {"name": site.kernel_name, "display_name": site.kernel_name, "language": "python"}
        path = site.folder("work") / f"{uuid.uuid4().hex}.ipynb"
        nbformat.write(content, path)
        return path

    return write


@pytest.fixture
def nbclient(site, stack):
    """nbclient's interface: returns the finished process and the notebook as it became."""

    def run(source, *options):
        target = source.with_suffix(".out.ipynb")
        done = stack.run("python3", DRIVER, site.kernel_name, source, target, *options)
        assert target.exists(), done.stderr
        return done, nbformat.read(target, as_version=4)

    return run


def nbconvert(stack, source, *options, to="notebook"):
    return stack.run("jupyter", "nbconvert", "--to", to, "--execute", source, "--output", f"{source.stem}.out", *options)


def converted(source):
    return nbformat.read(source.with_name(f"{source.stem}.out.ipynb"), as_version=4)


def text(cell):
    return "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.get("outputs", []))


@pytest.mark.feature("run cells")
def test_nbconvert_executes_a_notebook_and_writes_every_output(stack, notebook):
    source = notebook("import sys\nprint('out')\nprint('err', file=sys.stderr)", "x = 20\nx + 1", "display({'text/html': '<b>b</b>'}, raw=True)")
    done = nbconvert(stack, source)
    assert done.returncode == 0, done.stderr
    cells = converted(source).cells
    assert [cell.execution_count for cell in cells] == [1, 2, 3]
    assert {(output.name, output.text) for output in cells[0].outputs} == {("stdout", "out\n"), ("stderr", "err\n")}
    assert cells[1].outputs == [{"output_type": "execute_result", "execution_count": 2, "data": {"text/plain": "21"}, "metadata": {}}]
    assert cells[2].outputs[0].data == {"text/html": "<b>b</b>"}


@pytest.mark.feature("matplotlib")
@pytest.mark.limit(180)
def test_nbconvert_makes_a_page_with_a_plot_in_it(stack, notebook):
    source = notebook("import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()")
    done = nbconvert(stack, source, to="html")
    assert done.returncode == 0, done.stderr
    page = source.with_name(f"{source.stem}.out.html").read_text()
    assert len(re.search(r'src="data:image/png;base64,([^"]+)"', page).group(1)) > 5000


@pytest.mark.feature("errors")
def test_an_error_ends_the_run_with_its_traceback_and_status_one(stack, notebook):
    source = notebook("def broken():\n    raise ValueError('on purpose')\nbroken()", "print('must not run')")
    done = nbconvert(stack, source)
    assert done.returncode == 1
    assert "ValueError: on purpose" in re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)
    assert not source.with_name(f"{source.stem}.out.ipynb").exists()


@pytest.mark.feature("allow errors")
def test_with_allow_errors_the_run_goes_on_and_the_error_is_in_the_notebook(stack, notebook):
    source = notebook("1 / 0", "print('goes on')")
    done = nbconvert(stack, source, "--allow-errors")
    assert done.returncode == 0, done.stderr
    cells = converted(source).cells
    assert (cells[0].outputs[0].output_type, cells[0].outputs[0].ename) == ("error", "ZeroDivisionError")
    assert text(cells[1]) == "goes on\n"


@pytest.mark.feature("timeout")
def test_a_cell_over_its_timeout_ends_the_run(notebook, nbclient):
    since = time.monotonic()
    done, _ = nbclient(notebook("import time; time.sleep(600)"), "--timeout", "2")
    assert done.returncode == 1
    assert "CellTimeoutError" in done.stderr
    assert time.monotonic() - since < patience(60)


@pytest.mark.feature("timeout with interrupt")
def test_a_cell_over_its_timeout_is_interrupted_when_that_is_asked_for_and_the_rest_runs(notebook, nbclient):
    # nbclient interrupts again when nothing came of it after the same time once more: not to be outrun on a crowded machine.
    limit = int(patience(3))
    done, ran = nbclient(notebook("kept = 'kept'", "while True: pass", "print(kept)"), "--timeout", limit, "--interrupt", "--allow-errors")
    assert done.returncode == 0, done.stderr
    assert ran.cells[1].outputs[-1].ename == "KeyboardInterrupt"
    assert text(ran.cells[2]) == "kept\n", ran.cells[2]


@pytest.mark.feature("parallel runs")
@pytest.mark.limit(240)
def test_three_notebooks_at_once_run_beside_each_other_and_mix_nothing_up(site, stack, notebook):
    # Each waits until all of them run: a rendezvous on the notebook side is not to be had, so by the clock of one machine.
    sources = [notebook(f"import time\nbegun = time.time()\nmine = {at}", "time.sleep(6)", "print(mine, begun, time.time())") for at in range(3)]
    running = [
        stack.popen("jupyter", "nbconvert", "--to", "notebook", "--execute", source, "--output", f"{source.stem}.out", stderr=subprocess.PIPE, text=True)
        for source in sources
    ]
    for process in running:
        _, printed = process.communicate(timeout=200)
        assert process.returncode == 0, printed
    told = [text(converted(source).cells[2]).split() for source in sources]
    assert [line[0] for line in told] == ["0", "1", "2"]
    assert max(float(line[1]) for line in told) < min(float(line[2]) for line in told), f"they ran one after the other: {told}"


@pytest.mark.feature("kernel death")
def test_a_kernel_that_dies_ends_the_run_at_once(stack, notebook):
    since = time.monotonic()
    done = nbconvert(stack, notebook("import os\nos.kill(os.getpid(), 9)", "print('must not run')"))
    assert done.returncode != 0
    assert re.search(r"[Kk]ernel died|DeadKernelError|SIGKILL|signal 9", done.stderr), done.stderr
    assert time.monotonic() - since < patience(60)


@pytest.mark.feature("shutdown")
def test_a_run_that_is_ended_by_a_signal_takes_its_kernel_with_it(site, stack, notebook):
    marker = site.folder("work") / uuid.uuid4().hex
    source = notebook("import time\nprint('here', flush=True)", "time.sleep(600)")
    process = stack.popen("python3", DRIVER, site.kernel_name, source, marker, stderr=subprocess.DEVNULL)
    try:
        kernel_files = site.base / "tmp", site.base / "jrt"
        eventually(lambda: any(list(folder.glob("**/*.json")) for folder in kernel_files), 30)
        time.sleep(2)  # into the second cell, or just before it: either has to end
        process.terminate()
        process.wait(30)
    finally:
        process.kill()
    # That no kernel, sandbox or file stays is asserted for every test.


@pytest.mark.feature("parameters")
def test_parameters_are_put_in_and_used(site, stack, notebook, nbclient):
    source = notebook(("who, times = 'nobody', 1", ["parameters"]), "print(who * times)")
    if stack.run("python3", "-c", "import papermill").returncode == 0:
        target = source.with_suffix(".pm.ipynb")
        done = stack.run("papermill", source, target, "-k", site.kernel_name, "-p", "who", "Ada ", "-p", "times", "3", "--no-progress-bar")
        assert done.returncode == 0, done.stderr
        ran = nbformat.read(target, as_version=4)
        assert ran.metadata.papermill.exception is None
    else:  # Debian 12 has no papermill
        done, ran = nbclient(source, "--parameters", '{"who": "Ada ", "times": 3}')
        assert done.returncode == 0, done.stderr
    assert [cell.metadata.get("tags") for cell in ran.cells[:2]] == [["parameters"], ["injected-parameters"]]
    assert text(ran.cells[2]) == "Ada Ada Ada \n"
    assert ran.metadata.language_info.name == "python"


@pytest.mark.feature("parameters")
def test_papermill_writes_what_ran_before_an_error(site, stack, notebook, nbclient):
    source = notebook(("divisor = 1", ["parameters"]), "print('before')", "1 // divisor", "print('must not run')")
    if stack.run("python3", "-c", "import papermill").returncode == 0:
        target = source.with_suffix(".pm.ipynb")
        done = stack.run("papermill", source, target, "-k", site.kernel_name, "-p", "divisor", "0", "--no-progress-bar")
        assert done.returncode == 1
        assert "ZeroDivisionError" in done.stderr
        ran = nbformat.read(target, as_version=4)
    else:
        done, ran = nbclient(source, "--parameters", '{"divisor": 0}')
        assert done.returncode == 0, done.stderr
    printed = [text(cell) for cell in ran.cells]
    assert "before\n" in printed and "must not run\n" not in printed
    assert any(output.get("ename") == "ZeroDivisionError" for cell in ran.cells for output in cell.get("outputs", []))


@pytest.mark.feature("large output")
@pytest.mark.limit(240)
def test_a_lot_of_output_arrives_whole(stack, notebook):
    source = notebook("for i in range(50_000):\n    print('line', i)", "print('x' * 5_000_000)")
    done = nbconvert(stack, source)
    assert done.returncode == 0, done.stderr
    cells = converted(source).cells
    assert "".join(output.text for output in cells[0].outputs) == "".join(f"line {i}\n" for i in range(50_000))
    assert len(text(cells[1])) == 5_000_001
    assert "Timeout waiting for IOPub" not in done.stderr


@pytest.mark.sandbox
@pytest.mark.feature("timeout")
def test_our_own_cell_timeout_is_an_error_in_the_notebook(notebook, nbclient):
    done, ran = nbclient(notebook("%%timeout 2s\nwhile True: pass", "print('kept going')"), "--allow-errors")
    assert done.returncode == 0, done.stderr
    assert ran.cells[0].outputs[-1].ename == "CellTimeout"
    assert text(ran.cells[1]) == "kept going\n"
