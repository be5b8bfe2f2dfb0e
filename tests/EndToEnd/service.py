"""A sandbox service of its own for a test: `interpreter-kernel serve`, reached over TCP as E2B is."""

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import leftovers
from kernels import eventually, kill

KEY = "e2b_" + "5e" * 20


class Service:
    """The service and what a kernel's environment has to say to reach it."""

    def __init__(self, site, *arguments, **environment):
        self.site = site
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.state = site.folder(f"service-{self.port}")
        key_file = self.state / "key"
        key_file.write_text(KEY + "\n")
        key_file.chmod(0o600)
        self.runtime = self.state / "rt"
        self.runtime.mkdir(mode=0o700)
        self.log = site.logs / f"service-{self.port}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(site.executable), "serve", "--listen", self.url, "--api-key-file", str(key_file), *arguments],
                env={**site.environment, "INTERPRETER_KERNEL_RUNTIME_DIR": str(self.runtime), **environment},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        eventually(self.answers, 20)

    @property
    def variables(self):
        """E2B's own variables, with which any of its clients finds this service."""
        return {"E2B_API_URL": self.url, "E2B_SANDBOX_URL": self.url, "E2B_API_KEY": KEY}

    def ask(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method, headers={"X-API-Key": KEY, "Content-Type": "application/json"})
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(request, data, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def answers(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            self.ask("GET", "/v2/sandboxes")
        except (OSError, urllib.error.URLError):
            return False
        return True

    def sandboxes(self):
        """What counts against the limit."""
        return self.ask("GET", "/v2/sandboxes?state=running")

    def free_within(self, seconds):
        return eventually(lambda: not self.sandboxes(), seconds, every=0.005)

    def close(self):
        kill(self.process.pid, 15)
        self.process.wait(20)
        left = [str(path) for path in self.runtime.rglob("*")]
        hosts = [str(leftovers.HOSTS / host) for host in self.site.hosts if (leftovers.HOSTS / host).exists() and self._is_mine(host)]
        assert left == [] and hosts == [], f"the service left {left} {hosts}"

    def _is_mine(self, host):
        return host in self.log.read_text()


def bare_root(root):
    """A root file system with a shell, some tools and Python, but neither ipykernel nor pyzmq: like E2B's template `base`."""
    programs = [shutil.which(name) for name in ("bash", "sh", "python3", "env", "kill", "sleep", "cat", "ls", "setsid", "date", "mkdir", "true")]
    programs[2] = os.path.realpath("/usr/bin/python3")
    version = Path(programs[2]).name
    library = Path("/usr/lib") / version
    for folder in ("usr/bin", "usr/lib", "usr/lib64", "etc", "usr/local/bin"):
        (root / folder).mkdir(parents=True)
    for link in ("bin", "lib", "lib64"):
        (root / link).symlink_to("usr/" + link)
    for program in programs:
        copy_into(root, program)
    copy_libraries(root, [*programs, *library.glob("lib-dynload/*.so")])
    unneeded = shutil.ignore_patterns("dist-packages", "test", "__pycache__", "idlelib", "tkinter", "lib2to3", "ensurepip", "config-*")
    shutil.copytree(library, root / "usr/lib" / version, ignore=unneeded, symlinks=True)
    (root / "usr/bin/python3").symlink_to(version)
    return root


def copy_libraries(root, binaries):
    """The shared libraries that these need."""
    for binary in binaries:
        said = subprocess.run(["ldd", os.path.realpath(binary)], capture_output=True, text=True).stdout
        for line in said.splitlines():
            for file in re.findall(r"(/\S+) \(0x", line):
                copy_into(root, file)


def copy_into(root, file):
    target = root / ("usr" + file if re.match(r"/(bin|lib|lib64)/", file) else file[1:])
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(file), target)
