"""An interrupt stops the cell and nothing else, soon, whatever the cell does."""

import signal
import time

import pytest
from kernels import patience


def interrupted(kernel, code, timeout=20):
    """Runs a cell, interrupts it, and returns its result and how long it took from the interrupt to the end."""
    kernel.execute("kept = 'kept'")
    request = kernel.begin(code)
    since = time.monotonic()
    kernel.manager.interrupt_kernel()
    result = kernel.result(request, timeout)
    return result, time.monotonic() - since


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(600)", "import subprocess; subprocess.run(['sleep', '600'])"])
def test_a_cell_is_interrupted_and_variables_are_kept(kernel, code):
    result, seconds = interrupted(kernel, code)
    assert result.status == "error" and "KeyboardInterrupt" in result.error
    assert seconds < patience(2)
    assert kernel.execute("print(kept)").stdout == "kept\n"


@pytest.mark.sandbox  # plain ipykernel loses what a client that is not reading can not take, idle included
def test_an_interrupt_overtakes_the_outputs_in_flight(kernel):
    code = (
        "import time\n"
        "count = 0\n"
        "try:\n"
        "    while True:\n"
        "        display({'text/plain': 'x' * 2000}, raw=True)\n"
        "        count += 1\n"
        "except KeyboardInterrupt:\n"
        "    stopped = time.time()\n"
    )
    kernel.execute("kept = 'kept'")
    request = kernel.begin(code)
    time.sleep(3)  # nobody reads meanwhile
    sent = time.time()
    kernel.manager.interrupt_kernel()
    result = kernel.result(request, 60)
    stopped, count = kernel.value("(stopped, count)")
    assert stopped - sent < patience(1)
    # Every one of them arrives, but for the one that the interrupt may have hit.
    assert abs(sum(m["msg_type"] == "display_data" for m in result.messages) - count) <= 1
    assert kernel.execute("print(kept)").stdout == "kept\n"


def test_an_interrupt_while_input_is_awaited_ends_the_cell(kernel, wire):
    client = wire(kernel.connection).listen()
    request = client.execute("input('? ')", allow_stdin=True)
    assert client.receive("stdin") is not None
    kernel.manager.interrupt_kernel()
    reply = client.reply(request, timeout=30).content
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
    assert kernel.execute("1").status == "ok"


def test_an_interrupt_of_an_idle_kernel_changes_nothing(kernel):
    kernel.execute("kept = 'kept'")
    kernel.manager.interrupt_kernel()
    time.sleep(0.5)
    assert kernel.execute("print(kept)").stdout == "kept\n"


def test_the_cells_behind_an_interrupted_one_are_aborted(kernel, wire):
    client = wire(kernel.connection).listen()
    first, second = client.execute("while True: pass"), client.execute("ran = True")
    client.began(first)
    kernel.manager.interrupt_kernel()
    assert [client.reply(request, timeout=30).content["status"] for request in (first, second)] == ["error", "aborted"]


def test_an_interrupt_request_is_answered(kernel, wire):
    client = wire(kernel.connection).listen()
    busy = client.execute("while True: pass")
    client.began(busy)
    asked = client.send("control", "interrupt_request", {})
    assert client.reply(asked, "control", timeout=30).type == "interrupt_reply"
    assert client.reply(busy, timeout=30).content["status"] == "error"


@pytest.mark.sandbox
def test_sigint_to_the_process_interrupts_the_cell(kernel):
    request = kernel.begin("while True: pass")
    kernel.process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in kernel.result(request, 30).error
    assert kernel.execute("1").status == "ok"
