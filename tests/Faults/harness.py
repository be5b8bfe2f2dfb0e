"""One kernel behind the fault proxy, and the oracle."""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from queue import Empty

sys.path.insert(0, str(Path(__file__).parents[1] / "EndToEnd"))

import kernels  # noqa: E402
from proxy import FaultProxy  # noqa: E402
from schedules import cell, expected, play  # noqa: E402
from service import Service  # noqa: E402


class Harness:
    """A service, the proxy before it, and a kernel that knows only the proxy."""

    def __init__(self, site, **settings):
        self.site = site
        self.service = Service(site)
        self.proxy = FaultProxy(self.service.port)
        variables = {**self.service.variables, "E2B_API_URL": self.proxy.url, "E2B_SANDBOX_URL": self.proxy.url}
        self.kernel = kernels.Kernel(site, **variables, **settings)

    def close(self):
        self.kernel.manager.shutdown_kernel()
        self.kernel.close()
        self.service.free_within(10)
        self.proxy.close()
        self.service.close()

    def kill_attach(self):
        """The process that carries the relay's bytes ends, as by the sandbox's out-of-memory killer. The relay itself stays."""
        for process in kernels.sandboxed_processes(self.site):
            if " attach " in process.command and not _has_threads(process.pid):
                with contextlib.suppress(OSError):
                    os.kill(process.pid, signal.SIGKILL)

    def run(self, seed, faults, timeout=120):
        """One cell under one schedule. Returns (seconds, notices); raises AssertionError where anything is missing, twice or out of place."""
        client = self.kernel.client
        since = time.monotonic()
        request = client.execute(cell(seed), allow_stdin=False)
        player = threading.Thread(target=play, args=(faults, self.proxy, self.kill_attach), daemon=True)
        player.start()
        got, notices = self._outputs(request, since + timeout)
        player.join(timeout)
        reply = self.kernel.ask(request, timeout=30)
        assert reply["content"]["status"] == "ok", reply["content"]
        for number, (want, have) in enumerate(zip(expected(seed), got)):
            assert want == have, f"output {number}: {_difference(want, have)}"
        assert len(got) == sum(1 for _ in expected(seed)), f"{len(got)} outputs"
        return time.monotonic() - since, notices

    def _outputs(self, request, deadline):
        """Text runs and images in their order, up to idle; the notices apart."""
        got, notices = [], []
        while True:
            try:
                message = self.kernel.client.get_iopub_msg(timeout=1)
            except Empty:
                assert time.monotonic() < deadline, f"no end of the cell in time; {len(got)} outputs, the last {str(got[-1:])[:80]}\n{self.kernel.printed[-3000:]}"
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            content = message["content"]
            match message["msg_type"]:
                case "stream" if content["name"] == "stdout":
                    if got and got[-1][0] == "text":
                        got[-1] = ("text", got[-1][1] + content["text"])
                    else:
                        got.append(("text", content["text"]))
                case "stream":
                    notices.append(content["text"])
                case "display_data":
                    got.append(("image", content["data"]["image/png"].strip()))
                case "error":
                    raise AssertionError("\n".join(content["traceback"]))
                case "status" if content["execution_state"] == "idle":
                    return got, notices


def _has_threads(pid):
    """True for the relay's daemon, which libzmq gives threads; an attach process has none. Their command lines are the same."""
    with contextlib.suppress(OSError):
        return "\nThreads:\t1\n" not in Path(f"/proc/{pid}/status").read_text()
    return True


def _difference(want, have):
    if want[0] != have[0]:
        return f"{want[0]} was expected, {have[0]} came: {have[1][:60]!r}"
    at = next((i for i, (a, b) in enumerate(zip(want[1], have[1])) if a != b), min(len(want[1]), len(have[1])))
    return f"{want[0]} differs at {at}: expected {want[1][at : at + 40]!r}, came {have[1][at : at + 40]!r} ({len(want[1])} and {len(have[1])} long)"
