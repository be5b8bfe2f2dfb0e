"""However a kernel ends, its sandbox is gone and its slot free within a second; a restart keeps the sandbox, not the namespace."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jupyter_client import BlockingKernelClient
from kernels import PLAIN, brokers, eventually, kill, patience, processes_of, sandboxed_processes

WITHIN = 1.0


def gone(site):
    """Checks that no process of a sandbox is left and that no slot is in use."""

    def no_sandbox_is_left():
        return not sandboxed_processes(site)

    def no_slot_is_used():
        return site.used() == 0

    since = time.monotonic()
    eventually(no_sandbox_is_left, WITHIN, every=0.01)
    eventually(no_slot_is_used, WITHIN, every=0.01)
    taken = time.monotonic() - since
    # Asking takes a start of the command line itself, some 0.1 s, which is not the product's delay.
    assert taken < patience(WITHIN + 0.3), f"{taken:.2f} s"
    print(f"\nsandbox gone and slot free after {taken:.2f} s")


def running(kernel):
    """The kernel has its sandbox once a cell has run."""
    assert kernel.execute("import os; kept = 'kept'; open('kept.txt', 'w').write('kept')").status == "ok"
    if kernel.site.sandboxed:
        assert kernel.site.used() == 1 and sandboxed_processes(kernel.site)
    return kernel


@pytest.mark.sandbox
def test_shutdown_by_request(site, kernel):
    running(kernel)
    kernel.client.shutdown()
    since = time.monotonic()
    assert kernel.wait_exit(patience(2.4)) == 0, kernel.printed  # at 2.5 s a launcher sends SIGTERM
    assert time.monotonic() - since < patience(1.0)
    gone(site)
    assert site.status()["ended"][0]["reason"] == "released"  # the kernel's own doing is not told as a death


def test_a_shutdown_request_is_answered(kernel, wire):
    running(kernel)
    client = wire(kernel.connection).listen()
    asked = client.send("control", "shutdown_request", {"restart": False})
    content = client.reply(asked, "control", timeout=5).content
    assert (content["status"], content["restart"]) == ("ok", False)
    kernel.wait_exit(patience(5))


def test_shutdown_while_a_cell_is_busy(site, kernel):
    running(kernel)
    kernel.begin("import time; time.sleep(600)")
    since = time.monotonic()
    kernel.manager.shutdown_kernel()
    assert time.monotonic() - since < patience(4)


@pytest.mark.sandbox
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_signal_ends_the_kernel_and_the_sandbox(site, kernel, number, busy):
    running(kernel)
    if busy:
        kernel.begin("while True: print('x' * 1000)")
    os.kill(kernel.process.pid, number)
    gone(site)
    code = kernel.wait_exit(patience(2))
    assert code == -signal.SIGKILL if number == signal.SIGKILL else code == 143


@pytest.mark.sandbox
def test_sigkill_while_the_sandbox_is_being_created(site, start):
    for delay in (0.05, 0.15, 0.3):
        kernel = start()
        kernel.client.execute("1")
        time.sleep(delay)
        kill(kernel.process.pid)
        kernel.wait_exit(patience(2))
        eventually(lambda: site.used() == 0 and not sandboxed_processes(site), 3)


@pytest.fixture
def launched(site, nothing_left):
    """A kernel whose parent is a process of its own."""
    parent = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("launcher.py")), site.kernel_name],
        env=site.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    told = json.loads(parent.stdout.readline())
    client = BlockingKernelClient(connection_file=told["connection_file"])
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield parent, told["pid"], client
    client.stop_channels()
    kill(parent.pid)
    parent.wait()
    kill(told["pid"])
    Path(told["connection_file"]).unlink(missing_ok=True)


@pytest.mark.sandbox
def test_sigkill_of_the_parent(site, launched):
    parent, pid, client = launched
    client.execute_interactive("1", timeout=60, output_hook=lambda message: None)
    assert site.used() == 1
    kill(parent.pid)
    parent.wait()
    gone(site)
    eventually(lambda: not any(process.pid == pid for process in processes_of(site)), 2)


@pytest.mark.sandbox
@pytest.mark.limit(150)
def test_sigkill_of_the_broker(site, kernel):
    running(kernel)
    request = kernel.begin("import time; time.sleep(600)")
    for broker in brokers(site):
        kill(broker.pid)
    taken = eventually(lambda: not sandboxed_processes(site), 65)
    print(f"\nsandbox gone {taken:.1f} s after its broker")
    result = kernel.result(request, 65)
    assert result.status == "error" and "Lost" in result.error, result.error
    assert kernel.wait_exit(patience(10)) == 5


@pytest.mark.sandbox
def test_a_kernel_started_after_the_brokers_death_finds_a_new_one(site, start):
    for broker in brokers(site):
        kill(broker.pid)
    eventually(lambda: not brokers(site), 2)
    running(start())
    assert len(brokers(site)) == 1


@pytest.mark.sandbox
def test_two_kernels_started_at_once_without_a_broker_share_one(site, start):
    for broker in brokers(site):
        kill(broker.pid)
    eventually(lambda: not brokers(site), 2)
    both = [start(wait=False), start(wait=False)]
    for kernel in both:
        kernel.connect()
    requests = [kernel.client.execute("1") for kernel in both]
    assert [kernel.result(request).status for kernel, request in zip(both, requests)] == ["ok", "ok"]
    assert len(brokers(site)) == 1 and site.used() == 2


def test_restart_keeps_the_connection_file_and_gives_a_fresh_namespace(kernel):
    running(kernel)
    before, pid = kernel.connection, kernel.process.pid
    kernel.manager.restart_kernel(now=False)
    kernel.connect()
    assert kernel.connection == before and kernel.process.pid != pid
    result = kernel.execute("print('kept' in globals())")
    assert (result.stdout, result.reply["content"]["execution_count"]) == ("False\n", 1)


@pytest.mark.sandbox
def test_restart_keeps_the_sandbox_and_its_files(site, kernel):
    running(kernel)
    claim = site.status()["claims"][0]["sandbox"]
    kernel.manager.restart_kernel(now=False)
    kernel.connect()
    assert kernel.execute("print(open('kept.txt').read())").stdout == "kept\n"
    assert [one["sandbox"] for one in site.status()["claims"]] == [claim]
    # The old kernel process is not kept along with it.
    assert kernel.value("sum(b'ipykernel' in open(f'/proc/{p}/cmdline', 'rb').read() for p in __import__('os').listdir('/proc') if p.isdigit())") == 1


@pytest.mark.sandbox
def test_restart_of_a_busy_kernel_keeps_the_sandbox(kernel):
    running(kernel)
    kernel.begin("while True: pass")
    kernel.manager.restart_kernel(now=False)
    kernel.connect()
    assert kernel.execute("print(open('kept.txt').read())").stdout == "kept\n"


@pytest.mark.sandbox
def test_restart_by_sigkill_gives_a_new_sandbox(site, kernel):
    running(kernel)
    kernel.manager.restart_kernel(now=True)
    kernel.connect()
    assert kernel.execute("import os; print(os.path.exists('kept.txt'))").stdout == "False\n"
    assert site.used() == 1


@pytest.mark.sandbox
def test_a_kernel_that_dies_ends_its_requests_with_the_reason(site, kernel):
    running(kernel)
    asked = [kernel.client.execute(code) for code in ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "1 + 1")]
    first = kernel.result(asked[0], 30)
    assert first.status == "error" and ("SIGKILL" in first.error or "signal 9" in first.error), first.error
    assert kernel.wait_exit(patience(5)) == 4
    assert "SIGKILL" in kernel.printed or "signal 9" in kernel.printed
    gone(site)


@pytest.mark.sandbox
def test_a_kernel_that_exits_by_itself_ends_its_requests_with_its_exit_code(kernel):
    running(kernel)
    result = kernel.execute("import os, sys; print('last words', file=sys.__stderr__, flush=True); os.write(2, b'really last words\\n'); os._exit(17)", timeout=30)
    assert result.status == "error" and "17" in result.error, result.error
    assert kernel.wait_exit(patience(5)) == 4


@pytest.mark.sandbox
def test_a_sandbox_killed_from_outside_ends_its_requests(site, kernel):
    running(kernel)
    request = kernel.begin("import time; time.sleep(600)")
    done = site.run("sandbox", "kill", site.status()["claims"][0]["sandbox"])
    assert done.returncode == 0, done.stderr
    result = kernel.result(request, 30)
    assert result.status == "error" and "SandboxKilled" in result.error, result.error
    assert kernel.wait_exit(patience(10)) == 5


@pytest.mark.sandbox
def test_a_second_kernel_waits_for_the_only_slot_and_says_so(site, start):
    first = running(start(INTERPRETER_KERNEL_LIMIT="1"))
    second = start(INTERPRETER_KERNEL_LIMIT="1")
    request = second.client.execute("print('at last')", allow_stdin=False)
    eventually(lambda: site.status()["queued"] == 1, 5)
    time.sleep(1.5)  # progress shows after a second
    first.manager.shutdown_kernel()
    result = second.result(request, 20)
    assert "at last\n" in result.stdout
    assert any(m["msg_type"] in ("stream", "display_data", "update_display_data") for m in result.messages if "at last" not in str(m["content"]))


def test_the_plain_kernel_ends_too(start):
    """The positive control of this file's means: they see a kernel of somebody else come and go."""
    kernel = start(name=PLAIN)
    assert any(process.pid == kernel.process.pid for process in processes_of(kernel.site))
    kill(kernel.process.pid)
    assert kernel.wait_exit(patience(2)) == -signal.SIGKILL
