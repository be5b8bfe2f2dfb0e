"""Whatever breaks between the kernel and its sandbox, every output arrives, once and in its order."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import Harness, kernels
from schedules import Fault, schedule

SEEDS = range(9001, 9013)


@pytest.fixture(scope="module")
def site():
    place = kernels.Site("sandbox-python")
    before = dict(os.environ)
    place.install()
    os.environ.update(place.environment)
    yield place
    for broker in kernels.brokers(place):
        kernels.kill(broker.pid, 15)
    kernels.eventually(lambda: not kernels.processes_of(place), 20)
    os.environ.clear()
    os.environ.update(before)
    place.remove()


@pytest.fixture(scope="module")
def harness(site):
    one = Harness(site)
    yield one
    one.close()


def test_without_faults_the_oracle_agrees(harness):
    harness.run(1, [])


def test_the_oracle_sees_what_is_missing(harness, monkeypatch):
    monkeypatch.setattr("harness.expected", lambda seed: iter([("text", "0\n1\n3\n")]))
    with pytest.raises(AssertionError, match="output 0: text differs at 4"):
        harness.run(1, [])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_schedule_loses_and_repeats_nothing(harness, seed):
    harness.run(seed, schedule(seed, longest=2.0))


def test_a_peer_that_is_gone_without_a_word_is_noticed(harness):
    took, _ = harness.run(77, [Fault(0.2, "freeze")])
    assert took < kernels.patience(20)


def test_a_cut_of_some_seconds_is_told_quietly_and_then_everything_comes(harness):
    took, notices = harness.run(78, [Fault(0.2, "stall", 20.0)])
    assert took > 19 and any("sandbox" in notice for notice in notices), notices


@pytest.mark.slow
def test_a_cut_almost_as_long_as_the_lease_loses_nothing(harness):
    took, _ = harness.run(79, [Fault(0.2, "refuse", 38.0)])
    assert took > 37


def test_a_large_buffer_that_goes_in_while_the_line_breaks_comes_back_whole(harness):
    echo = (
        "def _open(comm, message):\n"
        "    @comm.on_msg\n"
        "    def _(message): comm.send({'n': message['content']['data']['n']}, buffers=message['buffers'])\n"
        "get_ipython().kernel.comm_manager.register_target('faults-echo', _open)"
    )
    assert harness.kernel.execute(echo).status == "ok"
    session = harness.kernel.client.session
    shell = harness.kernel.client.shell_channel.socket
    session.send(shell, "comm_open", {"comm_id": "f1", "target_name": "faults-echo", "data": {}})
    buffers = [os.urandom(8 << 20) for _ in range(3)]
    for n, buffer in enumerate(buffers):
        session.send(shell, "comm_msg", {"comm_id": "f1", "data": {"n": n}}, buffers=[buffer])
        time.sleep(0.05)
        harness.proxy.reset()
    back, deadline = [], time.monotonic() + 60
    while len(back) < len(buffers):
        assert time.monotonic() < deadline, f"{len(back)} of {len(buffers)} came back"
        message = harness.kernel.client.get_iopub_msg(timeout=60)
        if message["msg_type"] == "comm_msg":
            back.append((message["content"]["data"]["n"], bytes(message["buffers"][0])))
    assert [n for n, _ in back] == [0, 1, 2] and all(b == buffers[n] for n, b in back)


def test_an_interrupt_gets_through_once_the_line_is_back(harness):
    request = harness.kernel.begin("import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('stopped')")
    harness.proxy.refuse(True)
    harness.kernel.manager.interrupt_kernel()
    time.sleep(1)
    harness.proxy.refuse(False)
    assert harness.kernel.result(request, timeout=30).stdout == "stopped\n"


def test_input_is_asked_and_answered_over_a_broken_line(harness):
    client = harness.kernel.client
    request = client.execute("print(input('who? '))", allow_stdin=True)
    assert client.get_stdin_msg(timeout=30)["content"]["prompt"] == "who? "
    harness.proxy.reset()
    client.input("zwölf")
    harness.proxy.cut()
    assert harness.kernel.result(request, timeout=30).stdout == "zwölf\n"


@pytest.mark.parametrize(("what", "count"), [("zmq", 30_000), ("relay", 5_000)])
def test_mutated_input_costs_nobody_an_answer(what, count):
    # The beginning of what scripts/fuzz.sh plays, for 30 s at most.
    fuzz = Path(__file__).with_name("fuzz.py")
    done = subprocess.run([sys.executable, fuzz, what, str(count), "--seed", "1", "--seconds", "30"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "no crash, no hang, no growth" in done.stdout, done.stdout + done.stderr
