"""Why there is no kernel, or none any more: each reason has a name of its own, in the cell and in the log, and nothing hangs."""

import contextlib
import http.server
import json
import signal
import subprocess
import threading

import pytest
from kernels import eventually, patience

pytestmark = pytest.mark.sandbox


def test_the_relays_death_is_told(kernel):
    kernel.execute("1")
    asked = [kernel.client.execute(code) for code in ("import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)", "1")]
    for request in asked:
        result = kernel.result(request, patience(30))
        assert result.reply["content"]["ename"] == "RelayDied", result.error
    assert kernel.wait_exit(patience(10)) == 5
    assert "RelayDied" in kernel.printed


def test_status_knows_why_the_last_ones_ended(start, site):
    kernel = start()
    kernel.execute("1")
    kernel.manager.shutdown_kernel()
    kernel = start()
    result = kernel.execute("x = b'x' * (4 << 30)", timeout=60)
    assert result.reply["content"]["ename"] == "KernelOutOfMemory", result.error
    eventually(lambda: site.used() == 0, 10)

    ended = site.status()["ended"]
    assert [end["reason"] for end in ended[:2]] == ["KernelOutOfMemory", "released"], ended
    oom = ended[0]
    assert "ran out of memory" in oom["message"]
    text = site.run("status").stdout
    assert "KernelOutOfMemory" in text and oom["sandbox"] in text, text


def test_status_is_watched_and_measured(kernel, site):
    watch = subprocess.Popen(
        [str(site.executable), "status", "--watch", "--json"], env=site.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        kernel.execute("1")
        while json.loads(watch.stdout.readline())["used"] != 1:
            pass
        metrics = dict(line.rsplit(" ", 1) for line in site.run("status", "--metrics").stdout.splitlines() if not line.startswith("#"))
        assert metrics['interpreter_kernel_slots_used{service="embedded"}'] == "1"
        freed = int(metrics["interpreter_kernel_time_to_free_seconds_count"])
        kernel.manager.shutdown_kernel()
        while json.loads(watch.stdout.readline())["used"] != 0:
            pass
        metrics = dict(line.rsplit(" ", 1) for line in site.run("status", "--metrics").stdout.splitlines() if not line.startswith("#"))
        assert int(metrics["interpreter_kernel_time_to_free_seconds_count"]) == freed + 1
    finally:
        watch.send_signal(signal.SIGINT)
        assert watch.wait(10) == 0
        watch.stdout.close()


def test_a_kernel_that_is_too_slow_to_start_is_told_and_the_next_cell_tries_again(start, site):
    kernel = start(INTERPRETER_KERNEL_START_TIMEOUT="20ms")
    for _ in range(2):
        result = kernel.execute("1")
        assert result.reply["content"]["ename"] == "KernelStartTimeout" and "startTimeout" in result.error, result.error
    assert kernel.process.poll() is None


def test_a_kernel_that_is_not_there_is_told(start):
    result = start(arguments=["--kernel", "no-such-kernel"]).execute("1")
    assert result.reply["content"]["ename"] == "KernelStartFailed" and "no-such-kernel" in result.error, result.error


def test_a_service_that_is_out_of_reach_is_told(start):
    result = start(E2B_API_KEY="e2b_" + "0" * 40, E2B_API_URL="http://127.0.0.1:9").execute("1", timeout=80)
    assert result.reply["content"]["ename"] == "ServiceUnreachable", result.error


@contextlib.contextmanager
def service(status, message):
    """A control plane that answers everything with one error."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections stay, as with any service; of one that closes each, a request may come too late

        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.dumps({"code": status, "message": message}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.mark.parametrize(
    ("status", "message", "name"),
    [(401, "the key was revoked", "KeyRejected"), (404, "template 'nowhere' not found", "TemplateNotFound")],
)
def test_what_the_service_says_is_told(start, site, status, message, name):
    with service(status, message) as url:
        kernel = start(E2B_API_KEY="e2b_" + "0" * 40, E2B_API_URL=url)
        result = kernel.execute("1", timeout=80)
        assert result.reply["content"]["ename"] == name and message in result.error, result.error
        assert name in kernel.printed
        kernel.manager.shutdown_kernel()
        # An order under way when the service goes is an unclear one, which the broker would rightly go on with for a minute.
        eventually(lambda: site.used() == 0, 10)
