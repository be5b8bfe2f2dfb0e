"""The notebooks that come with us run, do what they say, and are committed as they come out."""

import os
import re
import shutil

import nbformat
import pytest
from kernels import PLAIN, REPOSITORY, eventually
from nbclient import NotebookClient

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.limit(240)]

FOLDER = REPOSITORY / "notebooks"
NAMES = ["timeouts", "files", "widgets", "parallel", "untrusted"]


class Client(NotebookClient):
    """Widgets have their other half in a browser; nbclient's own stand-in for it knows no ipywidgets as old as Debian 12's."""

    def handle_comm_msg(self, *_):
        return None


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def text(cell):
    """All that a reader sees of a cell's outputs."""
    seen = []
    for output in cell.outputs:
        seen += [output.get("text", ""), output.get("ename", ""), output.get("evalue", ""), output.get("data", {}).get("text/plain", "")]
    return "\n".join(seen)


@pytest.fixture
def run(site, monkeypatch):
    def run_one(name, **environment):
        work = site.folder("work")
        shutil.copytree(FOLDER, work, dirs_exist_ok=True)
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        book = read(name)
        assert book.metadata.kernelspec.name in (site.kernel_name, PLAIN)
        Client(book, timeout=120, kernel_name=book.metadata.kernelspec.name, resources={"metadata": {"path": str(work)}}).execute()
        eventually(lambda: site.used() == 0, 5)
        return {cell.id: text(cell) for cell in book.cells if cell.cell_type == "code"}

    yield run_one
    shutil.rmtree(site.base / "work", ignore_errors=True)
    site.folder("work")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_with_its_outputs_and_nothing_private(name):
    book = read(name)
    nbformat.validate(book)
    cells = {cell.id: cell for cell in book.cells if cell.cell_type == "code"}
    assert [cell.id for cell in cells.values() if cell.execution_count is None and not cell.metadata.get("tags")] == []
    assert sum(1 for cell in cells.values() if cell.outputs) >= len(cells) - 1, "almost every cell shows something"
    for cell in cells.values():
        assert ("raises-exception" in cell.metadata.get("tags", [])) == any(o.output_type == "error" for o in cell.outputs), cell.id
    assert not re.search(r"ik-e2e-|/work/|/root/\.local|Creating a sandbox", (FOLDER / f"{name}.ipynb").read_text())


def test_timeouts(run):
    seen = run("timeouts")
    assert "rung 1 of 4" in seen["loop"] and "still here" in seen["after-loop"]
    assert "rung 3 of 4" in seen["swallow"] and "variables: False | file: in a file" in seen["after-swallow"]
    assert "(%sandbox timeout)" in seen["sleep"] and "not stopped" in seen["none"]


def test_files(run, site):
    seen = run("files", INTERPRETER_KERNEL_TRANSFERS="notebook")
    assert "8 planets, the largest is Jupiter" in seen["put"] and "left out: 1 link" in seen["get"]
    assert (site.base / "work/results/moons.csv").read_text().splitlines()[1] == "Jupiter,95"
    assert sorted(os.listdir(site.base / "work/results")) == ["moons.csv"]
    assert "TransferRefused" in seen["refused-put"] and "TransferRefused" in seen["refused-get"]
    assert "embedded (this machine)" in seen["info"]


def test_widgets(run):
    pytest.importorskip("ipywidgets")
    seen = run("widgets")
    assert "n² = 49" in seen["move"] and "done: 20 of 20" in seen["progress"]


def test_parallel_runs(run):
    seen = run("parallel")
    assert re.findall(r"(\d) -> mine: (\d)", seen["same"]) == [(str(n), str(n)) for n in range(4)]
    assert re.findall(r"^\d -> .*", seen["bad"], re.MULTILINE) == ["0 -> well", "1 -> KernelDied", "2 -> CellTimeout", "3 -> well, too"]


def test_nothing_that_an_untrusted_notebook_tries_works(run):
    seen = run("untrusted")
    attempts = [line for cell in ("read", "write", "out", "harm") for line in seen[cell].splitlines() if line.strip()]
    assert len(attempts) == 21
    assert [line for line in attempts if not re.match(r".{34} no: ", line)] == []
    assert "TransferRefused" in seen["magic-put"] and "TransferRefused" in seen["magic-get"]
    assert seen["end"].strip() == "42"
