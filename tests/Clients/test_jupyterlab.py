"""JupyterLab of Debian 13 in a browser. The checks themselves are in jupyterlab.mjs; here is the server, and that nothing is left."""

import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import stacks
from kernels import PLAIN, eventually, free_ports, kill, patience

HERE = Path(__file__).parent
TOKEN = "for-the-tests"


@pytest.fixture
def lab(site, nothing_left):
    """A JupyterLab server on loopback, its kernels ours, its Python and that of the sandboxes the same Debian 13."""
    stack = stacks.Stack("debian13", site)
    if not site.sandboxed:  # plain ipykernel leaves the sources of debugged cells behind
        stack.environment["TMPDIR"] = str(site.folder("lab-tmp"))
    work, port = site.folder("lab"), free_ports(1)[0]
    log = open(site.logs / "jupyterlab.log", "wb")
    server = stack.popen(
        *("jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
        *(f"--ServerApp.root_dir={work}", f"--IdentityProvider.token={TOKEN}", "--LabApp.extension_manager=readonly"),
        f"--ServerApp.cookie_secret_file={site.folder('lab-tmp')}/cookie-secret",
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"

    def answers():
        assert server.poll() is None, Path(log.name).read_text()
        try:
            request = urllib.request.Request(f"{url}/api/status", headers={"Authorization": f"token {TOKEN}"})
            return urllib.request.urlopen(request, timeout=5).status == 200
        except (urllib.error.URLError, OSError):
            return False

    try:
        eventually(answers, 60)
        yield url, work, stack
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        finally:
            kill(server.pid)
            log.close()


def kernelspec(site, stack):
    """The folder of the kernelspec as a person's JupyterLab finds it."""
    if site.sandboxed:
        return Path(stack.environment["JUPYTER_PATH"]) / "kernels" / site.kernel_name
    return Path(stacks.root_filesystem()) / "usr/share/jupyter/kernels" / PLAIN


@pytest.mark.limit(900)
def test_everything_that_a_person_does_in_jupyterlab_works(site, lab):
    url, work, stack = lab
    spec = kernelspec(site, stack)
    results = site.folder("results") / "jupyterlab.json"
    logo = next(spec / name for name in ("logo-svg.svg", "logo-64x64.png") if (spec / name).exists())
    environment = {
        **os.environ,
        "HOME": str(site.folder("home")),
        "XDG_RUNTIME_DIR": str(site.folder("browser")),  # where the browser keeps settings of the desktop
        "LAB_URL": url,
        "LAB_TOKEN": TOKEN,
        "LAB_WORK": str(work),
        "LAB_KERNEL": site.kernel_name,
        "LAB_DISPLAY": json.loads((spec / "kernel.json").read_text())["display_name"],
        "LAB_LOGO": str(logo),
        "LAB_RESULTS": str(results),
        "LAB_PATIENCE": str(int(patience(20) * 1000)),
    }
    try:
        done = subprocess.run(["node", str(HERE / "jupyterlab.mjs")], env=environment, stdin=subprocess.DEVNULL, timeout=880)
        told = json.loads(results.read_text())
    finally:
        if folder := os.environ.get("IK_TEST_RESULTS"):
            save(Path(folder), site, results, work)
    assert [one["name"] for one in told["results"] if not one["ok"]] == []
    assert done.returncode == 0


def save(folder, site, results, work):
    """What the checks said; and the pages as they were when one failed."""
    if results.exists():
        features = {one["feature"]: one["ok"] for one in json.loads(results.read_text())["results"]}
        stacks.record(folder, "JupyterLab (Debian 13)", site.kernel_name, features)
    if (work / "failures").exists():
        shutil.copytree(work / "failures", folder / f"failures-{site.kernel_name}", dirs_exist_ok=True)
