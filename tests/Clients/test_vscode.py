"""What VS Code's Jupyter extension does with a kernel, replayed: launch without a session of its own, a probe of two ports, kernel_info on
two channels until something comes on iopub, interrupt by message with an answer within ten seconds, and SIGTERM for the end.

After vscode-jupyter's raw kernel process and session (2026-07), as read in their sources.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

import kernels
import pytest
from kernels import WireClient, eventually

CLIENT = "VS Code (replayed)"
LAUNCH_TIMEOUT = 60  # jupyter.jupyterLaunchTimeout
INTERRUPT_TIMEOUT = 10


def kernelspec(site):
    """VS Code scans the folders itself."""
    for folder in [*site.environment["JUPYTER_PATH"].split(":"), "/usr/local/share/jupyter", "/usr/share/jupyter"]:
        spec = Path(folder, "kernels", site.kernel_name, "kernel.json")
        if spec.exists():
            return json.loads(spec.read_text())
    raise AssertionError(f"no kernelspec {site.kernel_name}")


class Session:
    """One kernel as VS Code has it: a process, a connection file of its own making, one identity for all sockets."""

    def __init__(self, site):
        self.site = site
        self.spec = kernelspec(site)
        self.file = site.folder("vscode") / f"kernel-v3{uuid.uuid4().hex}{uuid.uuid4().hex[:8]}.json"
        self.connection = kernels.connection_file(self.file, kernel_name=site.kernel_name)
        # The extension host has no terminal and starts the kernel in its own process group: no setsid, no JPY_PARENT_PID, pipes for all three.
        environment = {**site.environment, **self.spec.get("env", {})}
        assert "JPY_PARENT_PID" not in environment
        if not site.sandboxed:  # plain ipykernel leaves the sources of debugged cells behind
            environment["TMPDIR"] = str(site.folder("plain-tmp"))
        self.process = subprocess.Popen(
            [word.replace("{connection_file}", str(self.file)) for word in self.spec["argv"]],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=str(site.folder("work")),
        )
        self.client = None

    def connect(self):
        self.probe()
        self.client = WireClient(self.connection, identity=str(uuid.uuid4()).encode())
        self.greet()
        return self

    def probe(self):
        """Waits until somebody listens on the shell and iopub ports, by connecting to them and hanging up."""

        def used(port):
            assert self.process.poll() is None, self.process.stderr.read().decode()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
            return False

        for channel in ("shell_port", "iopub_port"):
            eventually(lambda: used(self.connection[channel]), LAUNCH_TIMEOUT)

    def greet(self):
        """kernel_info on control and on shell every half second, until a reply and one message on iopub are there."""
        deadline = time.monotonic() + LAUNCH_TIMEOUT
        answers, published = {}, 0
        while not (answers and published):
            assert time.monotonic() < deadline, f"not ready: replies on {list(answers)}, {published} messages on iopub"
            for channel in ("control", "shell"):
                self.client.send(channel, "kernel_info_request", {})
            until = time.monotonic() + 0.5
            while time.monotonic() < until and not (answers and published):
                for channel in ("control", "shell"):
                    if (frames := self.client.receive(channel, 0.01)) is not None:
                        answers[channel] = frames.content
                published += self.client.receive("iopub", 0.01) is not None
        self.info = next(iter(answers.values()))

    def run(self, code, **content):
        request = self.client.execute(code, **content)
        outputs = self.client.outputs(request)
        return self.client.reply(request).content, outputs

    def interrupt(self):
        """Mode message: on control, and an answer is waited for. Mode signal: SIGINT to the process."""
        if self.spec.get("interrupt_mode") == "message":
            request = self.client.send("control", "interrupt_request", {})
            assert self.client.reply(request, "control", INTERRUPT_TIMEOUT).content["status"] == "ok"
        else:
            self.process.send_signal(signal.SIGINT)

    def dispose(self):
        """SIGTERM to the children, found by their parents' ids, and to the process; no shutdown_request. Then the file is deleted."""
        for pid in [*children(self.process.pid), self.process.pid]:
            kernels.kill(pid, signal.SIGTERM)
        self.file.unlink(missing_ok=True)

    def close(self):
        if self.client is not None:
            self.client.close()
        self.process.kill()
        self.process.communicate()
        self.file.unlink(missing_ok=True)


def children(pid):
    """As pidtree does: everything whose chain of parents leads here, deepest last."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parents.setdefault(int(Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[1]), []).append(int(entry))
    found, level = [], [pid]
    while level := [child for parent in level for child in parents.get(parent, [])]:
        found += level
    return found


@pytest.fixture
def session(site, nothing_left):
    opened = []

    def open_one():
        opened.append(Session(site))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def printed(outputs):
    return "".join(frames.content["text"] for frames in outputs if frames.type == "stream" and frames.content["name"] == "stdout")


@pytest.mark.feature("launch")
def test_a_kernel_is_ready_after_the_probe_of_its_ports_and_one_round_of_questions(session):
    one = session().connect()
    assert one.info["language_info"]["name"] == "python"
    assert one.info["protocol_version"].startswith("5.")
    assert one.process.poll() is None


@pytest.mark.feature("run cells")
def test_cells_print_return_and_fail(session):
    one = session().connect()
    reply, outputs = one.run("print('out')\n6 * 7")
    assert (reply["status"], printed(outputs)) == ("ok", "out\n")
    assert [frames.content["data"]["text/plain"] for frames in outputs if frames.type == "execute_result"] == ["42"]
    reply, outputs = one.run("1 / 0")
    assert reply["ename"] == "ZeroDivisionError"
    assert [frames.content["ename"] for frames in outputs if frames.type == "error"] == ["ZeroDivisionError"]


@pytest.mark.feature("input()")
def test_input_is_asked_on_the_socket_with_the_identity_of_the_cell(session):
    one = session().connect()
    request = one.client.execute("print('Hello', input('Name? '))", allow_stdin=True)
    asked = one.client.receive("stdin", 20)
    assert (asked.type, asked.content["prompt"], asked.parent["msg_id"]) == ("input_request", "Name? ", request)
    one.client.send("stdin", "input_reply", {"value": "Ada", "status": "ok"}, parent=asked.header)
    assert "Hello Ada" in printed(one.client.outputs(request))


@pytest.mark.feature("completion")
def test_completion_and_inspection_answer_beside_an_idle_kernel(session):
    one = session().connect()
    one.run("class Thing:\n    'A thing.'\n    alpha_one = 1\nthing = Thing()")
    request = one.client.send("shell", "complete_request", {"code": "thing.al", "cursor_pos": 8})
    assert "alpha_one" in "".join(one.client.reply(request).content["matches"])
    request = one.client.send("shell", "inspect_request", {"code": "Thing", "cursor_pos": 5, "detail_level": 0})
    assert "A thing." in one.client.reply(request).content["data"]["text/plain"]


@pytest.mark.feature("interrupt")
def test_an_interrupt_is_answered_in_time_ends_the_cell_and_keeps_the_variables(session):
    one = session().connect()
    one.run("kept = 'kept'")
    request = one.client.execute("while True: pass")
    one.client.began(request)
    since = time.monotonic()
    one.interrupt()
    assert one.client.reply(request, timeout=INTERRUPT_TIMEOUT).content["ename"] == "KeyboardInterrupt"
    assert time.monotonic() - since < INTERRUPT_TIMEOUT
    assert one.run("print(kept)")[1] and one.process.poll() is None


@pytest.mark.feature("restart")
def test_a_restart_is_a_new_process_with_new_ports_and_a_new_file(session):
    first = session().connect()
    first.run("x = 1")
    second = session()  # VS Code has the next one ready before it ends the last
    first.dispose()
    second.connect()
    assert first.process.wait(5) is not None
    # No cell that fails: ipykernel, this machine's too, aborts one in a hundred of those that are sent the moment after.
    assert "False" in str(second.run("print('x' in globals())")[1])
    assert second.run("1")[0]["execution_count"] == 2


@pytest.mark.feature("shutdown")
def test_sigterm_to_the_tree_ends_everything(site, session):
    one = session().connect()
    one.run("import subprocess; subprocess.Popen(['sleep', '600'])")
    since = time.monotonic()
    one.dispose()
    one.process.wait(5)
    assert time.monotonic() - since < kernels.patience(5)
    if site.sandboxed:
        eventually(lambda: site.used() == 0, 3)
        assert kernels.sandboxed_processes(site) == []


@pytest.mark.feature("shutdown")
@pytest.mark.sandbox
def test_an_editor_that_crashes_leaves_no_sandbox(site, session):
    one = session().connect()
    one.run("1")
    assert site.used() == 1
    one.process.kill()  # what an editor does that is itself killed with its tree
    eventually(lambda: site.used() == 0, 5)


@pytest.mark.feature("kernel death")
def test_a_kernel_that_dies_is_seen_by_its_process_ending(session):
    one = session().connect()
    request = one.client.execute("import os; os.kill(os.getpid(), 9)")
    one.process.wait(kernels.patience(15))
    assert one.process.returncode != 0
    assert request


@pytest.mark.feature("kernel death")
@pytest.mark.sandbox
def test_the_cell_and_stderr_say_why_the_kernel_died(session):
    one = session().connect()
    reply, outputs = one.run("import os; os.kill(os.getpid(), 9)")
    assert reply["ename"] == "KernelDied"
    assert "KernelDied" in [frames.content["ename"] for frames in outputs if frames.type == "error"]
    one.process.wait(kernels.patience(15))
    assert "SIGKILL" in one.process.stderr.read().decode()


@pytest.mark.feature("widgets")
def test_widget_messages_go_both_ways_with_their_buffers(session):
    one = session().connect()
    one.run(
        "from ipykernel.comm import Comm\n"
        "def opened(comm, message):\n"
        "    comm.on_msg(lambda message: comm.send({'echo': message['content']['data']}, buffers=[bytes(b) for b in message['buffers']]))\n"
        "get_ipython().kernel.comm_manager.register_target('mine', opened)"
    )
    name = uuid.uuid4().hex
    one.client.outputs(one.client.send("shell", "comm_open", {"comm_id": name, "target_name": "mine", "data": {}}))
    header = one.client.header("comm_msg")
    parts = [json.dumps(part).encode() for part in (header, {}, {}, {"comm_id": name, "data": {"value": 7}})]
    one.client.send_parts("shell", parts, [bytes(range(256)), b""])
    answer = next(frames for frames in one.client.outputs(header["msg_id"]) if frames.type == "comm_msg")
    assert answer.content["data"] == {"echo": {"value": 7}}
    assert answer.buffers == [bytes(range(256)), b""]


@pytest.mark.feature("debugger")
def test_the_debugger_initializes_and_stops_at_a_breakpoint(session):
    one = session().connect()
    order = iter(range(1, 100))

    def ask(command, **arguments):
        content = {"type": "request", "seq": next(order), "command": command, "arguments": arguments}
        answer = one.client.reply(one.client.send("control", "debug_request", content), "control", 20).content
        assert answer["success"], answer
        return answer.get("body", {})

    ask("initialize", clientID="vscode", adapterID="", linesStartAt1=True, columnsStartAt1=True, pathFormat="path")
    ask("attach")
    code = "x = 1\ny = x + 1\nprint(y)"
    source = ask("dumpCell", code=code)["sourcePath"]
    assert ask("setBreakpoints", source={"path": source}, breakpoints=[{"line": 2}], sourceModified=False)["breakpoints"][0]["verified"]
    ask("configurationDone")
    request = one.client.execute(code)
    stopped = event(one.client, "stopped")
    frame = ask("stackTrace", threadId=stopped["threadId"])["stackFrames"][0]
    assert frame["line"] == 2
    ask("continue", threadId=stopped["threadId"])
    assert one.client.reply(request).content["status"] == "ok"
    ask("disconnect", restart=False, terminateDebuggee=False)


def event(client, name):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        frames = client.receive("iopub", 1)
        if frames is not None and frames.type == "debug_event" and frames.content["event"] == name:
            return frames.content["body"]
    raise AssertionError(f"no event {name}")
