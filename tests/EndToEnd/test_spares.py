"""Warm spares: the next notebook finds a kernel that waits for it, and nobody finds anything of an earlier one."""

import signal
import time

import pytest
from kernels import Kernel, brokers, eventually, kill, patience, processes_of
from test_bad_input import elsewhere  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.sandbox, pytest.mark.limit(150)]


@pytest.fixture
def spared(elsewhere):  # noqa: F811
    """A site whose broker keeps one spare, and how a kernel is started there."""
    started = []

    def start_one(**options):
        started.append(Kernel(elsewhere, INTERPRETER_KERNEL_SPARES="1", **options))
        return started[-1]

    start_one.site = elsewhere
    yield start_one
    for kernel in started:
        kernel.close()


def a_spare_waits(site):
    eventually(lambda: site.status()["spares"] == 1, 40)


def test_the_next_kernel_has_it_with_nothing_of_the_one_before(spared):
    first = spared()
    assert first.execute("x = 1; open('left.txt', 'w').write('x')").status == "ok"
    a_spare_waits(spared.site)
    status = spared.site.status()
    assert (status["used"], len(status["claims"])) == (1, 1)

    since = time.monotonic()
    second = spared()
    assert second.value("(len(In), 'x' in globals(), [name for name in __import__('os').listdir('.') if name != '.ipython'])") == (2, False, [])
    print(f"\nfirst cell with a spare after {time.monotonic() - since:.2f} s")
    assert spared.site.status()["used"] == 2
    log = (spared.site.runtime / "broker.log").read_text()
    assert "has the spare" in log
    result = second.execute("7")
    assert result.reply["content"]["execution_count"] == 2
    # One session from the first message to the last, or JupyterLab takes the kernel for a restarted one.
    assert {message["header"]["session"] for message in [*result.messages, result.reply]} == {kernel_session(second)}


def kernel_session(kernel):
    return kernel.ask(kernel.client.kernel_info())["header"]["session"]


def attachments(site):
    return {process.pid for process in processes_of(site) if " attach --serve " in process.command}


@pytest.mark.slow
def test_it_waits_with_its_attachment_for_as_long_as_it_takes(spared):
    spared().manager.shutdown_kernel()
    a_spare_waits(spared.site)
    waiting = attachments(spared.site)
    assert len(waiting) == 1
    time.sleep(33)  # an attachment that nobody speaks through is closed after 30 s, but for this one
    assert spared().value("1 + 1") == 2
    assert attachments(spared.site) == waiting


def test_it_can_be_interrupted_and_restarted_like_any_other(spared):
    spared().manager.shutdown_kernel()
    a_spare_waits(spared.site)
    kernel = spared()
    request = kernel.begin("import time; time.sleep(60)")
    kernel.manager.interrupt_kernel()
    assert kernel.result(request, 20).error.startswith("KeyboardInterrupt")
    assert kernel.execute("kept = 1; open('kept.txt', 'w').write('1')").status == "ok"
    kernel.manager.restart_kernel()
    kernel.connect()
    assert kernel.value("('kept' in globals(), open('kept.txt').read())") == (False, "1")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_broker_however_that_ends(spared, end):
    spared().manager.shutdown_kernel()
    a_spare_waits(spared.site)
    broker, = brokers(spared.site)
    kill(broker.pid, end)
    eventually(lambda: not processes_of(spared.site), patience(10))


def test_it_makes_room_for_one_that_would_have_to_wait(spared):
    spared().manager.shutdown_kernel()
    a_spare_waits(spared.site)
    other = Kernel(spared.site, INTERPRETER_KERNEL_LIMIT="1", INTERPRETER_KERNEL_WAIT="never")
    try:
        assert other.value("1 + 1") == 2
        assert spared.site.status()["spares"] == 0
    finally:
        other.close()
