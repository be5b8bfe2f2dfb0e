"""The outer tests drive the built executable as a Jupyter client does. Nothing of the user's is touched.

IK_TEST_KERNEL      the kernel under test: sandbox-python (default), or python3, the plain one, to check the tests themselves
IK_TEST_EXECUTABLE  another build of interpreter-kernel than out/interpreter-kernel/interpreter-kernel
IK_TEST_ROOT_FILESYSTEM  a directory with a root file system that sandboxes are made from, instead of this machine's own
"""

import contextlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import kernels  # noqa: E402
import leftovers  # noqa: E402

KERNEL_UNDER_TEST = os.environ.get("IK_TEST_KERNEL", "sandbox-python")
DEFAULT_LIMIT = 90


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): how long this test may take; 90 s without it")
    config.addinivalue_line("markers", "sandbox: says something about the sandbox, so makes no sense for the plain kernel")
    config.addinivalue_line("markers", "slow: takes more than some seconds; left out by --quick")


def pytest_collection_modifyitems(config, items):
    if KERNEL_UNDER_TEST == kernels.PLAIN:
        dropped = [item for item in items if item.get_closest_marker("sandbox")]
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


@contextlib.contextmanager
def limited(item, what, seconds):
    def over(*_):
        raise TimeoutError(f"{what} of {item.name} took more than {seconds} s")

    seconds = kernels.patience(seconds)
    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _limit(item):
    mark = item.get_closest_marker("limit")
    return mark.args[0] if mark else DEFAULT_LIMIT


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    with limited(item, "the set-up", 120):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    with limited(item, "the test", _limit(item)):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    with limited(item, "the tear-down", 60):
        yield


@pytest.fixture(scope="session")
def site():
    """Installs the kernel into a folder of its own and starts the broker once, so that what stays for it is known."""
    outside = leftovers.cgroups()
    place = kernels.Site(KERNEL_UNDER_TEST)
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(place.environment)
    tempfile.tempdir = None  # it remembers the one of before
    try:
        if place.sandboxed:
            assert place.executable.exists(), f"{place.executable} is not there: run scripts/build.sh"
            place.install()
        warm = kernels.Kernel(place)
        try:
            assert warm.execute("1").status == "ok", warm.printed
            warm.manager.shutdown_kernel()
        finally:
            warm.close()
        if place.sandboxed:
            kernels.eventually(lambda: place.used() == 0, 5)
        yield place
        stop_broker(place)
        end = leftovers.Baseline(place)
        end.cgroups = outside
        end.sockets.clear()
        left = end.left(5) + [f"mount {mount}" for mount in leftovers.mounts(place)]
        left += [f"folder {leftovers.HOSTS / host}" for host in place.hosts if (leftovers.HOSTS / host).exists()]
        assert left == [], "after the broker's end: " + "\n".join(left)
    finally:
        for process in kernels.processes_of(place):
            kernels.kill(process.pid)
        os.environ.clear()
        os.environ.update(before)
        if not os.environ.get("IK_TEST_KEEP"):
            place.remove()


def stop_broker(place):
    """Ends the broker the polite way; it takes everything of its own with it."""
    for broker in kernels.brokers(place):
        kernels.kill(broker.pid, signal.SIGTERM)
    kernels.eventually(lambda: not kernels.brokers(place), 15)


@pytest.fixture(scope="session")
def resting(site):
    """The machine while no kernel runs."""
    time.sleep(0.3)
    return leftovers.Baseline(site)


@pytest.fixture(autouse=True)
def nothing_left(site, resting):
    """Every test ends with the machine as it was."""
    resting.allow_what_is_there()  # what an earlier test left is that test's failure, not this one's
    yield
    left = resting.left()
    if site.sandboxed and site.used() != 0:
        left.append(f"slots in use: {site.status()}")
    for process in leftovers.processes(site):  # so that one test's failure stays its own
        kernels.kill(process.pid)
    assert left == [], "left behind:\n" + "\n".join(left)


@pytest.fixture
def start(site, nothing_left):
    """Starts kernels: start() the one under test, start(name=...) another. They are ended with the test."""
    started = []

    def start_one(*arguments, **options):
        kernel = kernels.Kernel(site, *arguments, **options)
        started.append(kernel)
        return kernel

    yield start_one
    for kernel in started:
        kernel.close()


@pytest.fixture
def kernel(start):
    return start()


@pytest.fixture
def wire(nothing_left):
    """Opens clients that see raw frames: wire(kernel.connection)."""
    opened = []

    def open_one(*arguments, **options):
        client = kernels.WireClient(*arguments, **options)
        opened.append(client)
        return client

    yield open_one
    for client in opened:
        client.close()
