import json
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from bridge import PATIENCE, PYTHON, Bridge, kill, processes_of  # noqa: E402

FAKE = os.path.join(os.path.dirname(__file__), "fake_kernel.py")


@pytest.fixture
def directory(monkeypatch):
    """A directory for one relay, with kernelspecs of the test's own beside it. Afterwards nothing may run that names it."""
    path = tempfile.mkdtemp(prefix="ik-relay-")
    for name, traits, extra in (
            ("fake", [], {"env": {"FROM_SPEC": "1 ${HOME}", "ABSENT": "${NOT_SET_ANYWHERE}"}}),
            ("fake-message", ["interrupt-by-message"], {"interrupt_mode": "Message"}),
            ("fake-dies", ["dies-early"], {}), ("fake-hangs", ["hangs"], {}), ("fake-orphan", ["orphan"], {})):
        spec = os.path.join(path, "jupyter", "kernels", name)
        os.makedirs(spec)
        with open(os.path.join(spec, "kernel.json"), "w") as file:
            json.dump({"argv": ["python3", FAKE, "{connection_file}", *traits], "display_name": name, "language": "fake", **extra}, file)
    monkeypatch.setenv("JUPYTER_PATH", os.path.join(path, "jupyter"))
    relay = os.path.join(path, "relay")
    os.mkdir(relay, 0o700)
    yield relay
    left = processes_of(path)
    for pid in left:
        try:
            kill(pid)
        except ProcessLookupError:
            continue
    shutil.rmtree(path)
    assert not left, "left running: %s" % left


@pytest.fixture
def bridge(directory):
    """A bridge with its daemon up; ended properly afterwards."""
    bridge = Bridge(directory).attach()
    yield bridge
    bridge.close()
    assert sorted(name for name in os.listdir(directory) if name not in ("relay.log", "relay.lock")) == []


@pytest.fixture
def attach():
    """Starts attach processes; any still there at the end is killed."""
    started = []

    def start(directory, *options, **keywords):
        from bridge import RELAY
        process = subprocess.Popen([PYTHON, "-S", RELAY, "attach", "--dir", directory, *options],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **keywords)
        started.append(process)
        return process
    yield start
    for process in started:
        process.stdin.close()
        process.stdout.close()
        process.stderr.close()
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE)
