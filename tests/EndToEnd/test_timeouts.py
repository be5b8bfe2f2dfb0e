"""A cell over its limit is stopped by the gentlest means that works, and the cell says which: limits, rungs, what survives."""

import json
import re
import shutil
import subprocess
import time

import nbformat
import pytest
from kernels import patience
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

pytestmark = pytest.mark.sandbox  # plain ipykernel has no limits
LIMIT = 2.0

SPIN = "def spin():\n    while True: pass\n"
LOOP = "while True: pass"
SLEEP = "import time; time.sleep(600)"
SUBPROCESSES = "import subprocess; subprocess.run(['sh', '-c', 'sh -c \"sleep 602; true\"; true'])"
INPUT = "input('? ')"
# No signal interrupts a mutex; libc's sleep would return early.
GIL = "import ctypes; c, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64); [c.pthread_mutex_lock(mutex) for _ in range(2)]"
# In a function, because Python 3.11 has no handler for what is raised at the jump of a bare loop.
SWALLOW = "while True:\n    try:\n        spin()\n    except KeyboardInterrupt:\n        caught = True"
SWALLOW_ONCE = "try:\n    spin()\nexcept KeyboardInterrupt:\n    spin()"
END_WELL = "try:\n    spin()\nexcept KeyboardInterrupt:\n    print('never mind')"
IGNORE = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"


def prepare(kernel):
    kernel.execute("kept = 'kept'; open('kept.txt', 'w').write('kept')\n" + SPIN)
    return kernel.site.status()["claims"][0]["sandbox"]


def timed_out(kernel, code, timeout=60, **options):
    """Runs a cell with a limit of two seconds, checks that its error says the same everywhere, and returns that text and the seconds it took."""
    since = time.monotonic()
    result = kernel.result(kernel.client.execute(f"%%timeout {LIMIT:g}s\n{code}", **{"allow_stdin": False, **options}), patience(timeout))
    taken = time.monotonic() - since
    errors = [m["content"] for m in result.messages if m["msg_type"] == "error"]
    assert len(errors) == 1, result.messages
    reply = result.reply["content"]
    assert (reply["status"], reply["ename"], errors[0]["ename"]) == ("error", "CellTimeout", "CellTimeout"), result.error
    assert reply["evalue"] == errors[0]["evalue"] and reply["evalue"] in errors[0]["traceback"][-1]
    assert f"may run {LIMIT:g}s (%%timeout)" in reply["evalue"]
    return reply["evalue"], re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(errors[0]["traceback"])), taken


@pytest.mark.parametrize("code", [LOOP, SLEEP, SUBPROCESSES, INPUT], ids=["loop", "sleep", "subprocesses", "input"])
def test_one_interrupt_stops_ordinary_code_and_variables_are_kept(kernel, code):
    sandbox = prepare(kernel)
    text, traceback, taken = timed_out(kernel, "before = 1\n" + code, allow_stdin=code is INPUT)
    assert "rung 1 of 4" in text and "variables and files are kept" in text, text
    assert LIMIT <= taken < patience(LIMIT + 1.5), taken
    assert "KeyboardInterrupt" in traceback and code.split("(")[0].split(";")[-1].strip() in traceback, "the line is visible"
    assert re.search(r"> 3 ", traceback), "and has the number that it has in the cell"
    assert kernel.execute("print(kept, before)").stdout == "kept 1\n"
    assert [claim["sandbox"] for claim in kernel.site.status()["claims"]] == [sandbox]
    assert kernel.value("[p for p in __import__('os').popen('ps ax').read().splitlines() if 'sleep 60' in p and 'popen' not in p]") == []


def test_the_second_interrupt_stops_code_that_catches_the_first(kernel):
    prepare(kernel)
    text, _, taken = timed_out(kernel, SWALLOW_ONCE)
    assert "rung 2 of 4" in text and "variables and files are kept" in text, text
    assert LIMIT + 2 <= taken < patience(LIMIT + 4), taken
    assert kernel.execute("print(kept)").stdout == "kept\n"


def test_code_that_catches_the_interrupt_and_ends_well_has_timed_out_all_the_same(kernel):
    prepare(kernel)
    text, _, _ = timed_out(kernel, END_WELL)
    assert "caught the interrupt" in text and "rung 1 of 4" in text, text
    assert kernel.execute("print(kept)").stdout == "kept\n"


@pytest.mark.parametrize("code", [GIL, SWALLOW, IGNORE], ids=["holds the interpreter lock", "catches every interrupt", "ignores SIGINT"])
def test_code_that_no_interrupt_stops_costs_the_variables_and_keeps_the_files(kernel, code):
    sandbox = prepare(kernel)
    text, _, taken = timed_out(kernel, code)
    assert "rung 3 of 4" in text and "variables are lost" in text and "files are kept" in text, text
    assert LIMIT + 4 <= taken < patience(LIMIT + 10), taken
    result = kernel.execute("print('kept' in globals(), open('kept.txt').read())")
    assert (result.stdout, result.reply["content"]["execution_count"]) == ("False kept\n", 1)
    assert [claim["sandbox"] for claim in kernel.site.status()["claims"]] == [sandbox]


@pytest.mark.slow
def test_when_the_relay_does_nothing_any_more_the_sandbox_is_replaced(kernel):
    sandbox = prepare(kernel)
    text, _, taken = timed_out(kernel, "import os, signal, time; os.kill(os.getppid(), signal.SIGSTOP)\ntime.sleep(600)", timeout=60)
    assert "rung 4 of 4" in text and "variables and files are lost" in text, text
    assert taken < patience(LIMIT + 35), taken
    result = kernel.execute("import os; print('kept' in globals(), os.path.exists('kept.txt'))")
    assert (result.stdout, result.reply["content"]["execution_count"]) == ("False False\n", 1)
    claims = [claim["sandbox"] for claim in kernel.site.status()["claims"]]
    assert len(claims) == 1 and claims != [sandbox]


@pytest.mark.parametrize("code", [LOOP, SWALLOW], ids=["interrupted", "restarted"])
def test_the_cells_behind_are_not_run(kernel, code):
    prepare(kernel)
    first, second = kernel.client.execute(f"%%timeout {LIMIT:g}s\n{code}"), kernel.client.execute("ran = True")
    assert "CellTimeout" in kernel.result(first, patience(30)).error
    assert kernel.result(second, patience(30)).status == "aborted"
    assert kernel.value("'ran' in globals()") is False


def test_the_cells_behind_run_on_lost_variables_when_the_user_wants_that(start):
    kernel = start(INTERPRETER_KERNEL_CONTINUE_AFTER_TIMEOUT="true", INTERPRETER_KERNEL_TIMEOUT_GRACES="200ms,200ms,5s")
    prepare(kernel)
    first, second = kernel.client.execute(f"%%timeout {LIMIT:g}s\n{SWALLOW}"), kernel.client.execute("print('kept' in globals())")
    assert "rung 3 of 4" in kernel.result(first, patience(30)).error
    assert kernel.result(second, patience(30)).stdout == "False\n"


def test_a_cell_within_its_limit_is_left_alone_and_so_is_what_comes_after_it(kernel):
    assert kernel.execute("%%timeout 1s\nimport time; time.sleep(0.5); print('through')").stdout == "through\n"
    assert kernel.execute("time.sleep(1.5); print('through')").stdout == "through\n"


def test_the_configured_limit_holds_and_metadata_narrows_it(start, wire):
    kernel = start(INTERPRETER_KERNEL_CELL_TIMEOUT="3s")
    since = time.monotonic()
    assert "3s (cellTimeout)" in kernel.execute(SLEEP).error
    assert 3 <= time.monotonic() - since < patience(6)
    client = wire(kernel.connection).listen()
    for metadata, expected in (({"timeout": 1}, "1s (the cell's metadata)"), ({"interpreter_kernel": {"timeout": "1h"}}, "3s (cellTimeout)")):
        header = client.header("execute_request")
        content = {"code": LOOP, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
        client.send_parts("shell", [json.dumps(part).encode() for part in (header, {}, metadata, content)])
        reply = client.reply(header["msg_id"], timeout=patience(30)).content
        if reply["status"] == "aborted":
            continue  # ipykernel goes on aborting for a moment after a failed cell
        assert expected in reply["evalue"], reply
        time.sleep(0.5)


def test_the_option_of_the_kernelspec_sets_the_limit(site, start):
    site.install("sandbox-short", "--timeout", "1s")
    assert "1s (cellTimeout)" in start(name="sandbox-short").execute(LOOP).error


def test_the_notebooks_limit_is_for_all_cells_together(start):
    kernel = start(INTERPRETER_KERNEL_NOTEBOOK_TIMEOUT="3s")
    assert kernel.execute("import time; time.sleep(2)").status == "ok"
    time.sleep(2)  # nobody's time
    assert "all cells together may run 3s (notebookTimeout)" in kernel.execute(SLEEP).error
    assert "was not run" in kernel.execute("1").error


def test_another_cell_magic_may_follow(kernel):
    assert kernel.execute("%%timeout 5s\n%%bash\necho through").stdout == "through\n"


def test_a_magic_that_is_no_duration_is_explained(kernel):
    result = kernel.execute("%%timeout soon\n1")
    assert result.status == "error" and "'soon' is no duration" in result.stream("stderr")


# --- headless runs ---------------------------------------------------------------------------------------------------


def notebook(site, *cells, **options):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    return book, NotebookClient(book, kernel_name=site.kernel_name, resources={"metadata": {"path": str(site.folder("work"))}}, **options)


@pytest.mark.parametrize("code", [LOOP, SWALLOW], ids=["interrupted", "restarted"])
def test_a_headless_run_fails_at_the_cell_with_the_reason(site, code):
    book, client = notebook(site, SPIN, f"%%timeout {LIMIT:g}s\n{code}", "print('not this one')")
    with pytest.raises(CellExecutionError, match="CellTimeout"):
        client.execute()
    assert "rung" in book.cells[1].outputs[-1]["evalue"]
    assert book.cells[2].outputs == []


def test_nbclients_own_timeout_interrupts_as_with_ipykernel(site):
    limits = {LOOP: 3}
    book, client = notebook(
        site, "kept = 1", LOOP, "print(kept)", timeout_func=lambda cell: limits.get(cell.source), interrupt_on_timeout=True, allow_errors=True
    )
    client.execute()
    assert book.cells[1].outputs[-1]["ename"] == "KeyboardInterrupt"
    assert book.cells[2].outputs[-1]["text"] == "1\n"


def test_nbclients_own_timeout_without_interrupt_ends_the_run(site):
    _, client = notebook(site, LOOP, timeout=3)
    with pytest.raises(CellTimeoutError):
        client.execute()


# --- precision, and other languages ----------------------------------------------------------------------------------


def test_the_first_interrupt_comes_within_a_tenth_of_a_second_of_the_limit(kernel):
    code = (
        "%%timeout 250ms\n"
        "import time\n"
        "began = time.monotonic()\n"
        "try:\n"
        "    spin()\n"
        "except KeyboardInterrupt:\n"
        "    late.append(time.monotonic() - began - 0.25)\n"
        "    raise\n"
    )
    kernel.execute(SPIN)
    slowest = []
    # Ten in a row, found by trying until they show: a busy machine makes one of them late now and then, a wait in the path all.
    # `bench/run.sh --rows timeout` gives the 99th percentile of 200, on a machine with nothing else to do.
    while not slowest or (slowest[-1] >= 100 and len(slowest) < 10):
        kernel.execute("late = []")
        for _ in range(10):
            assert "rung 1 of 4" in kernel.execute(code).error
            time.sleep(0.05)  # ipykernel aborts what comes right after an error
        late = [1000 * seconds for seconds in kernel.value("late")]
        assert len(late) == 10
        assert min(late) > -100  # the clock starts some milliseconds before the code does
        slowest.append(max(late))
    assert slowest[-1] < 100, slowest


def has_r():
    return shutil.which("Rscript") is not None and subprocess.run(["Rscript", "-e", "library(IRkernel)"], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_r(), reason="r-cran-irkernel is not installed")
def test_a_loop_in_r_is_stopped(site, start):
    site.install("sandbox-r", "--kernel", "ir")
    kernel = start(name="sandbox-r")
    kernel.execute("kept <- 'kept'")
    text, _, taken = timed_out(kernel, "while (TRUE) {}")
    assert "rung 1 of 4" in text, text
    assert LIMIT <= taken < patience(LIMIT + 2)
    assert "kept" in kernel.execute("cat(kept)").stdout
