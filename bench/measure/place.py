"""Where a run happens: a temporary folder with kernelspecs, connection files and a broker of its own. Nothing of it stays."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.parse
import uuid
from pathlib import Path

import kernels

OURS, PLAIN = "sandbox-python", kernels.PLAIN


class Place(kernels.Site):
    """A site with, where asked for, a service over TCP and a line to it that is slower than loopback."""

    def __init__(self, against=None, delay=0.0, rate=0, **environment):
        super().__init__(OURS)
        if not self.executable.exists():
            self.remove()
            raise SystemExit(f"{self.executable} is not there: run scripts/build.sh")
        self.environment.update(environment)
        self.folder("work")
        self.against, self.helpers = against, []
        self.commands = {PLAIN: ["/usr/bin/python3" if sys.executable.startswith("/usr") else sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]}
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ended from outside, a run leaves nothing either
        try:
            self.commands[OURS] = json.loads((self.install() / "kernel.json").read_text())["argv"]
            if against:
                self._use_service(against, delay, rate)
        except BaseException:
            self.close()
            raise

    def _use_service(self, against, delay, rate):
        key = os.environ.get("E2B_API_KEY", "")
        if against == "serve":
            key, file = uuid.uuid4().hex, self.base / "key"
            file.write_text(key)
            file.chmod(0o600)
            port = free_port()
            against = f"http://127.0.0.1:{port}"
            self._helper([str(self.executable), "serve", "--listen", against, "--api-key-file", str(file)], "Serving")
        if delay or rate:
            address = urllib.parse.urlsplit(against)
            line = self._helper([sys.executable, "-B", str(Path(__file__).with_name("slow_line.py")), f"{address.hostname}:{address.port or 80}", str(delay), str(rate)], "127.0.0.1:")
            against = f"http://{line.strip()}"
        self.environment.update(E2B_API_URL=against, E2B_SANDBOX_URL=against, E2B_API_KEY=key)

    def _helper(self, command, word):
        log = open(self.logs / f"helper-{len(self.helpers)}.log", "wb")  # noqa: SIM115 (the process has it)
        process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        log.close()
        self.helpers.append(process)
        line = process.stdout.readline()
        if word not in line:
            raise SystemExit(f"{' '.join(command[:2])} did not start:\n{(self.logs / f'helper-{len(self.helpers) - 1}.log').read_text()}")
        return line

    def broker(self):
        return Broker(self.runtime / "broker.sock")

    def close(self):
        """Ends the broker and whatever else of this place runs, by pid, and says what would not go."""
        for process in kernels.brokers(self):
            kernels.kill(process.pid, signal.SIGTERM)
        left = []
        with contextlib.suppress(AssertionError):
            kernels.eventually(lambda: not kernels.brokers(self), 20)
        for helper in reversed(self.helpers):
            helper.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                helper.wait(20)
            helper.stdout.close()
        try:
            kernels.eventually(lambda: not kernels.processes_of(self), 5)
        except AssertionError:
            left = [str(process) for process in kernels.processes_of(self)]
            for process in kernels.processes_of(self):
                kernels.kill(process.pid)
        if not os.environ.get("IK_TEST_KEEP"):
            self.remove()
        return left

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for left in self.close():
            print(f"left behind: {left}", file=sys.stderr)


class Broker:
    """The broker's own interface, because a command of ours would take longer than what is to be seen."""

    def __init__(self, path):
        self.connection = http.client.HTTPConnection("localhost", timeout=30)
        self.connection.sock = socket.socket(socket.AF_UNIX)
        self.connection.sock.settimeout(30)
        self.connection.sock.connect(str(path))

    def status(self):
        self.connection.request("GET", "/claims")
        return json.loads(self.connection.getresponse().read())

    def close(self):
        self.connection.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
