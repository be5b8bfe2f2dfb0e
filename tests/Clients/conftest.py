"""Clients that people use, each on the kernel under test, in the site of tests/EndToEnd: the same checks that nothing is left.

IK_TEST_KERNEL   sandbox-python (default), or python3: the same tests with plain ipykernel
IK_TEST_RESULTS  folder where each client's results go as CLIENT.KERNEL.json, from which scripts/clients-table.py makes docs/clients.md
"""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

END_TO_END = Path(__file__).resolve().parents[1] / "EndToEnd"
sys.path.insert(0, str(END_TO_END))
_found = importlib.util.spec_from_file_location("end_to_end_conftest", END_TO_END / "conftest.py")
outer = importlib.util.module_from_spec(_found)
_found.loader.exec_module(outer)

import stacks  # noqa: E402

# The fixtures and hooks of the outer tests hold here too.
pytest_collection_modifyitems = outer.pytest_collection_modifyitems
pytest_runtest_setup = outer.pytest_runtest_setup
pytest_runtest_call = outer.pytest_runtest_call
pytest_runtest_teardown = outer.pytest_runtest_teardown
resting, nothing_left, start, kernel, wire, site = outer.resting, outer.nothing_left, outer.start, outer.kernel, outer.wire, outer.site


def pytest_configure(config):
    outer.pytest_configure(config)
    config.addinivalue_line("markers", "feature(name, client=None): the cell of the table in docs/clients.md that this test fills")
    config.clients_results = {}


def pytest_addoption(parser):
    parser.addoption("--stack", action="append", choices=list(stacks.NAMES), help="whose Jupyter: debian12 (this machine's) or debian13; both without it")


def pytest_generate_tests(metafunc):
    if "stack" in metafunc.fixturenames:
        metafunc.parametrize("stack", metafunc.config.getoption("--stack") or list(stacks.NAMES), indirect=True, scope="session")


@pytest.fixture(scope="session")
def stack(request, site):
    """A Jupyter to start programs of: this machine's, or that of Debian 13."""
    return stacks.Stack(request.param, site)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    mark = item.get_closest_marker("feature")
    if mark is None or (report.skipped and not hasattr(report, "wasxfail")) or (report.when != "call" and report.passed):
        return
    stack = getattr(item, "callspec", None) and item.callspec.params.get("stack")
    client = " ".join(filter(None, [mark.kwargs.get("client") or item.module.CLIENT, stacks.NAMES[stack] if stack else None]))
    features = item.config.clients_results.setdefault(client, {})
    features[mark.args[0]] = features.get(mark.args[0], True) and report.passed


def pytest_sessionfinish(session):
    if folder := os.environ.get("IK_TEST_RESULTS"):
        for client, features in session.config.clients_results.items():
            stacks.record(Path(folder), client, outer.KERNEL_UNDER_TEST, features)
