"""A configured folder is there before the first cell, and another comes out when the kernel is shut down."""

import os
import shutil
import signal
import time

import nbformat
import pytest
from kernels import eventually, patience
from nbclient import NotebookClient

pytestmark = pytest.mark.sandbox


@pytest.fixture
def place(site):
    folder = site.folder("work")
    (folder / "data/deep").mkdir(parents=True)
    (folder / "data/deep/numbers.txt").write_text("1 2 3")
    yield folder
    shutil.rmtree(folder)
    site.folder("work")


def folders(site, name="sandbox-folders"):
    site.install(name, "--upload", "data/", "--download", "out/")
    return name


def test_a_headless_run_finds_its_data_and_leaves_its_results(site, place):
    book = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("total = sum(map(int, open('data/deep/numbers.txt').read().split()))"),
            nbformat.v4.new_code_cell("import os\nos.makedirs('out/sub')\nopen('out/sub/total.txt', 'w').write(str(total))\nos.symlink('/etc/hostname', 'out/link')\nopen('out/.hidden', 'w')"),
        ]
    )
    NotebookClient(book, kernel_name=folders(site), resources={"metadata": {"path": str(place)}}, timeout=60).execute()
    assert (place / "out/sub/total.txt").read_text() == "6"
    assert sorted(p.name for p in (place / "out").iterdir()) == ["sub"]
    assert site.used() == 0


def test_sigterm_brings_the_results_too(site, start, place):
    kernel = start(name=folders(site))
    assert kernel.execute("open('out/x', 'w').write('x'); print(open('data/deep/numbers.txt').read())").stdout == "1 2 3\n"
    kernel.process.send_signal(signal.SIGTERM)
    assert kernel.wait_exit() == 143
    assert (place / "out/x").read_text() == "x"
    eventually(lambda: site.used() == 0, 3)


def test_a_restart_keeps_the_files_as_they_are_and_a_fresh_sandbox_gets_them_anew(site, start, place):
    kernel = start(name=folders(site))
    kernel.execute("open('data/deep/numbers.txt', 'w').write('changed')")
    kernel.manager.restart_kernel()
    kernel.connect()
    assert kernel.execute("print(open('data/deep/numbers.txt').read())").stdout == "changed\n"
    assert not (place / "out").exists()
    assert kernel.execute("%sandbox restart --fresh\nprint(open('data/deep/numbers.txt').read())").stdout.endswith("\n1 2 3\n")


def test_what_cant_be_brought_in_is_said_in_the_first_cell_and_can_be_mended(site, start, place):
    site.install("sandbox-folders", "--upload", "nowhere")
    kernel = start(name="sandbox-folders")
    error = kernel.execute("1").error
    assert "UploadFailed" in error and str(place / "nowhere") in error
    eventually(lambda: site.used() == 0, 5)
    (place / "nowhere").mkdir()
    assert kernel.execute("print(__import__('os').path.isdir('nowhere'))").stdout == "True\n"


def test_bounds_and_links_hold_for_configured_folders(site, start, place):
    (place / "data/link").symlink_to("/etc/hostname")
    kernel = start(name=folders(site), INTERPRETER_KERNEL_TRANSFER_LIMIT="1M")
    assert kernel.value("__import__('os').listdir('data')") == ["deep"]
    kernel.execute("open('out/large', 'wb').truncate(2 << 20)")
    kernel.manager.shutdown_kernel()
    assert not (place / "out").exists()
    assert "transferLimit" in kernel.printed


def test_a_kernel_that_is_killed_leaves_its_sandbox_to_nobody(site, start, place):
    kernel = start(name=folders(site))
    kernel.execute("open('out/x', 'w')")
    os.kill(kernel.process.pid, signal.SIGKILL)
    since = time.monotonic()
    eventually(lambda: site.used() == 0, 3)
    assert time.monotonic() - since < patience(3) and not (place / "out").exists()


def test_a_wrong_folder_is_refused_when_the_kernel_is_installed(site):
    for wrong in ("..", "/", "."):
        done = site.run("install", "--prefix", site.base / "prefix", "--name", "sandbox-wrong", "--upload", wrong)
        assert done.returncode == 2 and "upload" in done.stderr, (wrong, done.stderr)
