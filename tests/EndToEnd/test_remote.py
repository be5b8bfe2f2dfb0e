"""Cells on a service that is reached over TCP, as E2B is: found by E2B's own variables, told by nothing else."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from kernels import REPOSITORY, brokers, eventually, kill, processes_of
from service import KEY, Service, bare_root, copy_libraries
from test_bad_input import elsewhere, first_cell  # noqa: F401 (a fixture)

pytestmark = pytest.mark.sandbox


@pytest.fixture
def serve(site, nothing_left):
    """Starts services: serve("--limit", "1", ...)."""
    started = []

    def start_one(*arguments, **environment):
        started.append(Service(site, *arguments, **environment))
        return started[-1]

    yield start_one
    for service in started:
        service.close()


@pytest.fixture
def service(serve):
    return serve()


def test_the_quickstart_notebook_runs_there(site, service):
    target = site.folder("converted") / "remote.ipynb"
    done = subprocess.run(
        [sys.executable, "-m", "jupyter", "nbconvert", "--to", "notebook", "--execute", REPOSITORY / "notebooks/quickstart.ipynb"]
        + ["--allow-errors", f"--ExecutePreprocessor.kernel_name={site.kernel_name}", "--output", str(target)],
        env={**site.environment, **service.variables}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=80,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cells = {cell.id: cell for cell in nbformat.read(target, as_version=4).cells}
    assert "Hello from a sandbox" in "".join(o.get("text", "") for o in cells["output"].outputs)
    assert any("image/png" in output.get("data", {}) for output in cells["plot"].outputs)
    assert cells["error"].outputs[-1].ename == "ZeroDivisionError"
    assert "host name: sandbox" in "".join(o.get("text", "") for o in cells["where"].outputs)
    service.free_within(1)


def test_a_cell_runs_there_and_every_end_frees_the_place(service, start):
    ends = {
        "shutdown": lambda kernel: kernel.manager.shutdown_kernel(),
        "SIGTERM": lambda kernel: kill(kernel.process.pid, signal.SIGTERM),
        "SIGKILL": lambda kernel: kill(kernel.process.pid, signal.SIGKILL),
        "SIGKILL of the broker": lambda kernel: kill(brokers(kernel.site)[0].pid, signal.SIGKILL),  # then only the kernel knows of it
    }
    for name, end in ends.items():
        kernel = start(**service.variables)
        assert kernel.value("__import__('socket').gethostname()") == "sandbox"
        assert len(service.sandboxes()) == 1, name
        end(kernel)
        service.free_within(1)


READ_ALL = """
import contextlib, glob, os
places = glob.glob('/proc/[0-9]*/cmdline') + glob.glob('/proc/[0-9]*/environ')
places += [os.path.join(folder, file) for top in ('/tmp', '/run', '/etc', os.path.expanduser('~')) for folder, _, files in os.walk(top) for file in files]
print(dict(os.environ))
for place in places:
    with contextlib.suppress(OSError), open(place, errors='replace') as file:
        print(place, file.read(1 << 20))
"""


def test_the_key_is_in_no_command_line_log_or_cell(site, service, start):
    kernel = start(**service.variables, INTERPRETER_KERNEL_LOG="debug")
    seen = kernel.execute(READ_ALL)
    assert seen.status == "ok", seen.error
    assert "HOME" in seen.stdout and KEY not in seen.stdout and KEY not in kernel.printed
    lines = [Path(f"/proc/{process.pid}/cmdline").read_bytes() for process in processes_of(site)]
    assert lines and not any(KEY.encode() in line for line in lines)
    logs = [file.read_text(errors="replace") for folder in (site.logs, site.runtime, service.runtime) for file in folder.rglob("*") if file.is_file()]
    assert logs and not any(KEY in log for log in logs)


def test_doctor_tries_the_service_and_leaves_nothing_there(site, service):
    done = site.run("doctor", "--json", **service.variables)
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert done.returncode == 0, done.stdout
    wanted = {"service", "key", "slots", "create", "run", "clock", "ipykernel", "interrupt", "timeout", "pause", "kill"}
    assert wanted <= checks.keys() and all(checks[name]["ok"] for name in wanted), checks
    assert service.url in checks["service"]["detail"] and "v2" in checks["create"]["detail"]
    assert KEY not in done.stdout + done.stderr
    assert service.sandboxes() == []


def test_a_key_that_is_not_accepted_is_told_and_not_shown(site, service, elsewhere):  # noqa: F811
    wrong = "e2b_" + "0bad" * 10
    error = first_cell(elsewhere, (), **{**service.variables, "E2B_API_KEY": wrong})
    assert "E2B_API_KEY" in error and wrong not in error
    done = site.run("doctor", **{**service.variables, "E2B_API_KEY": wrong})
    assert done.returncode == 1 and "E2B_API_KEY" in done.stdout and wrong not in done.stdout


def test_wrong_variables_are_told_in_the_first_cell(elsewhere):  # noqa: F811
    error = first_cell(elsewhere, (), E2B_API_URL="not an address", E2B_API_KEY="two\nlines")
    assert "E2B_API_URL" in error and "E2B_API_KEY" in error and "two" not in error


def test_a_sandbox_that_somebody_killed_is_told(service, start):
    kernel = start(**service.variables, INTERPRETER_KERNEL_LIFETIME="15s")
    request = kernel.begin("import time; time.sleep(60)")
    [sandbox] = service.sandboxes()
    service.ask("DELETE", f"/sandboxes/{sandbox['sandboxID']}")
    result = kernel.result(request, timeout=20)
    assert result.status == "error" and "killed" in result.error, result.error


def test_the_services_own_limit_is_waited_for(serve, start):
    service = serve("--limit", "1")
    first = start(**service.variables)
    assert first.execute("1").status == "ok"
    second = start(wait=False, **service.variables)
    second.connect()
    request = second.client.execute("print('mine')", allow_stdin=False)
    told = []

    def has_told():
        told.append(second.client.get_iopub_msg(timeout=10))
        return told[-1]["msg_type"] == "stream" and "queue" in told[-1]["content"]["text"]

    eventually(has_told, 20)
    assert len(service.sandboxes()) == 1
    first.manager.shutdown_kernel()
    result = second.result(request, timeout=20)
    assert result.status == "ok" and result.stdout.endswith("mine\n")


def test_a_service_that_goes_away_is_told_and_hangs_nothing(site, start, serve):
    service = serve()
    kernel = start(**service.variables, INTERPRETER_KERNEL_LIFETIME="15s")
    request = kernel.begin("import time; time.sleep(120)")
    kill(service.process.pid, signal.SIGTERM)
    service.process.wait(20)
    result = kernel.result(request, timeout=40)
    assert result.status == "error" and ("reach" in result.error or "renew" in result.error or "gone" in result.error), result.error
    eventually(lambda: site.used() == 0, 30)


@pytest.fixture(scope="module")
def bare(site):
    root = bare_root(site.folder("bare"))
    yield root
    shutil.rmtree(root)


def test_a_template_without_ipykernel_names_one_that_has_it(serve, bare, elsewhere):  # noqa: F811
    service = serve("--root-filesystem", str(bare))
    error = first_cell(elsewhere, (), **service.variables, INTERPRETER_KERNEL_TEMPLATE="base")
    assert "'base'" in error and "ipykernel" in error and "code-interpreter-v1" in error and "pipInstall" in error
    assert service.sandboxes() == []


def test_ipykernel_is_installed_where_that_is_allowed(serve, bare, start):
    # The sandbox has no network, so that this pip brings what it installs with it, to where pip would put it.
    library = next((bare / "usr/lib").glob("python3.*/os.py")).parent
    copy_ipykernel(bare, bare / "usr/lib/wheels")
    (library / "pip").mkdir()
    (library / "pip/__main__.py").write_text(
        "import os, site, sys\n"
        "assert 'install' in sys.argv and '--user' in sys.argv and sys.argv[-1] == 'ipykernel', sys.argv\n"
        "os.makedirs(site.getusersitepackages())\n"
        "open(os.path.join(site.getusersitepackages(), 'installed.pth'), 'w').write('/usr/lib/wheels\\n')\n"
    )
    service = serve("--root-filesystem", str(bare))
    kernel = start(**service.variables, INTERPRETER_KERNEL_PIP_INSTALL="true")
    assert kernel.value("__import__('ipykernel').__file__").startswith("/usr/lib/wheels/"), kernel.printed


def copy_ipykernel(root, target):
    """ipykernel and all that it imports, as this machine has them."""
    listing = (
        "import sys, ipykernel.kernelapp, ipykernel.ipkernel, ipykernel_launcher as _\n"
        "print(*{m.partition('.')[0] for m, v in sys.modules.items() if '-packages/' in (getattr(v, '__file__', None) or '')})"
    )
    modules = subprocess.run(["/usr/bin/python3", "-c", listing], capture_output=True, text=True, check=True).stdout.split()
    target.mkdir()
    for module in {*modules, "ipykernel_launcher", "ipykernel"}:
        folder = Path("/usr/lib/python3/dist-packages")
        if (folder / module).is_dir():
            shutil.copytree(folder / module, target / module, ignore=shutil.ignore_patterns("__pycache__", "tests"))
        else:
            for file in [*folder.glob(module + ".py"), *folder.glob(module + ".*.so")]:
                shutil.copy(file, target)
    copy_libraries(root, target.rglob("*.so"))
