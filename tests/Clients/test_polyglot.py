"""What Polyglot Notebooks (.NET Interactive) does for `#!connect jupyter --kernel-spec NAME`, replayed.

It differs from every other client: argv joined by blanks, no environment from the kernelspec, sockets without identities, a session id
of its own for each message, no heartbeat, one kernel_info_request that is never repeated, an interrupt by a byte on standard input,
SIGKILL to the tree for the end. After Microsoft.DotNet.Interactive.Jupyter (archived 2026-04), as read in its sources; the script that
it injects for sharing values is written anew here, and speaks the same messages.
"""

import json
import os
import subprocess
import time
import uuid

import kernels
import pytest
from kernels import DELIMITER, Frames, WireClient, eventually
from test_vscode import children, kernelspec, printed

CLIENT = "Polyglot (replayed)"
KNOWN = set(
    "status stream display_data update_display_data execute_input execute_result error clear_output comm_open comm_msg comm_close "
    "kernel_info_reply execute_reply complete_reply inspect_reply is_complete_reply comm_info_reply history_reply input_request "
    "interrupt_reply shutdown_reply".split()
)

SHARE = """
import json
def handle(comm, opened):
    def envelope(event, **fields):
        comm.send({"type": "event", "commandOrEvent": json.dumps({"eventType": event, "event": fields, "command": None})})
    def formatted(value):
        return {"mimeType": "application/json", "value": json.dumps(value)}
    def asked(message):
        data = json.loads(message["content"]["data"]["commandOrEvent"])
        kind, command = data["commandType"], data["command"]
        if kind == "SendValue":
            globals()[command["name"]] = json.loads(command["formattedValue"]["value"])
            envelope("CommandSucceeded")
        elif kind == "RequestValue" and command["name"] in globals():
            envelope("ValueProduced", name=command["name"], formattedValue=formatted(globals()[command["name"]]))
        elif kind == "RequestValueInfos":
            names = get_ipython().run_line_magic("who_ls", "")
            envelope("ValueInfosProduced", valueInfos=[{"name": name, "typeName": str(type(globals()[name]))} for name in names])
        else:
            envelope("CommandFailed", message=f"{kind}: not here")
    comm.on_msg(asked)
    envelope("KernelReady", kernelInfos=[])
get_ipython().kernel.comm_manager.register_target("dotnet_coe_handler_comm", handle)
"""


class Polyglot(WireClient):
    """Its sockets: DEALERs without an identity, a new session in every header, four frames read and never more."""

    def __init__(self, connection):
        super().__init__(connection, identity=b"")

    def header(self, message_type):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.1234567Z", time.gmtime())
        return {**super().header(message_type), "session": str(uuid.uuid4()), "username": "dotnet_kernel", "date": stamp}

    def receive(self, channel, timeout=20):
        if not self.sockets[channel].poll(timeout * 1000):
            return None
        raw = self.sockets[channel].recv_multipart()
        at = raw.index(DELIMITER)
        assert len(raw) == at + 6, f"{len(raw) - at - 6} buffers, which would be taken for the next message"
        frames = Frames(raw[:at], raw[at + 1], raw[at + 2 : at + 6], [])
        assert all(frames.header[name] for name in ("msg_id", "msg_type", "version"))
        # Its look-up of message types throws for one that it does not know, and with that its loop over this socket ends for good.
        assert frames.type in KNOWN, f"{frames.type} on {channel} would end its loop"
        return frames


class Connection:
    def __init__(self, site):
        self.site = site
        spec = kernelspec(site)
        assert "{connection_file}" in spec["argv"], "it wants that word alone"
        runtime = site.folder("jrt")
        self.file = runtime / f"kernel-{uuid.uuid4()}.json"
        self.connection = kernels.connection_file(self.file, kernel_name=site.kernel_name)
        joined = " ".join(word.replace("{connection_file}", str(self.file)) for word in spec["argv"][1:])
        # .NET's Process.Start cuts the arguments at blanks. What the kernelspec says of the environment or of interrupts is ignored.
        self.process = subprocess.Popen(
            [spec["argv"][0], *joined.split(" ")],
            env=site.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=str(site.folder("work")),
        )
        assert self.process.poll() is None, "KernelStartException"
        self.client = Polyglot(self.connection)

    def connect(self):
        """One question, no second one, and no limit in time; the test has one."""
        request = self.client.send("shell", "kernel_info_request", {})
        self.info = self.client.reply(request, timeout=kernels.patience(60)).content
        assert all(self.info["language_info"][name] for name in ("name", "version"))
        assert all(self.info[name] for name in ("protocol_version", "implementation", "implementation_version"))
        return self

    def submit(self, code):
        return self.client.execute(code, store_history=False)

    def finish(self, request, timeout=60):
        """Done on an `error` on iopub, or on idle and the reply; whichever comes first."""
        deadline = time.monotonic() + kernels.patience(timeout)
        outputs, idle, reply = [], False, None
        while time.monotonic() < deadline:
            if (frames := self.client.receive("iopub", 0.05)) is not None and frames.parent.get("msg_id") == request:
                outputs.append(frames)
                if frames.type == "error":
                    return outputs
                idle = idle or frames.content.get("execution_state") == "idle"
            if (frames := self.client.receive("shell", 0)) is not None and frames.parent.get("msg_id") == request:
                reply = frames
            if idle and reply:
                return outputs
        raise AssertionError(f"it would wait for ever (idle {idle}, reply {reply})")

    def run(self, code):
        return self.finish(self.submit(code))

    def share(self):
        """The injected script, the comm, and the event by which the other end says that it is there."""
        self.run(SHARE)
        self.comm = str(uuid.uuid4())
        self.client.send("shell", "comm_open", {"comm_id": self.comm, "target_name": "dotnet_coe_handler_comm", "data": {}})
        assert self.event()["eventType"] == "KernelReady"
        return self

    def event(self):
        deadline = time.monotonic() + kernels.patience(20)
        while time.monotonic() < deadline:
            frames = self.client.receive("iopub", 1)
            if frames is not None and frames.type in ("comm_msg", "comm_close") and frames.content["comm_id"] == self.comm:
                assert frames.type == "comm_msg", "value sharing would be off"
                return json.loads(frames.content["data"]["commandOrEvent"])
        raise AssertionError("no event on the comm")

    def command(self, kind, **fields):
        data = {"type": "command", "commandOrEvent": json.dumps({"token": "1", "commandType": kind, "command": fields})}
        self.client.send("shell", "comm_msg", {"comm_id": self.comm, "data": data})
        return self.event()

    def kill(self):
        """Process.Kill(entireProcessTree: true)."""
        for pid in [self.process.pid, *children(self.process.pid)]:
            kernels.kill(pid)

    def close(self):
        self.client.close()
        self.kill()
        self.process.communicate()
        self.file.unlink(missing_ok=True)


@pytest.fixture
def connect(site, nothing_left):
    opened = []

    def open_one():
        opened.append(Connection(site))
        return opened[-1].connect()

    yield open_one
    for one in opened:
        one.close()


def goes_on(one, code, expected):
    """For a moment after an error ipykernel aborts what comes; no person is that quick."""
    eventually(lambda: printed(one.run(code)) == expected, 5)


@pytest.mark.feature("launch")
def test_one_question_before_anybody_listens_is_enough_to_connect(connect):
    one = connect()
    assert one.info["language_info"]["name"].lower() == "python"


@pytest.mark.feature("run cells")
def test_cells_end_with_their_outputs_or_their_error_and_no_message_type_is_unknown(connect):
    one = connect()
    outputs = one.run("print('out')\ndisplay({'text/html': '<b>b</b>'}, raw=True)\n6 * 7")
    assert printed(outputs) == "out\n"
    assert [frames.content["data"].get("text/plain") for frames in outputs if frames.type == "execute_result"] == ["42"]
    assert one.run("1 / 0")[-1].content["ename"] == "ZeroDivisionError"
    goes_on(one, "print('and on')", "and on\n")


@pytest.mark.feature("large output")
def test_no_idle_is_lost_behind_a_lot_of_output(connect):
    one = connect()
    assert printed(one.run("for i in range(20_000):\n    print('line', i)")).endswith("line 19999\n")


@pytest.mark.feature("completion")
def test_completion_and_hover_answer(connect):
    one = connect()
    one.run("class Thing:\n    'A thing.'\n    alpha_one = 1\nthing = Thing()")
    request = one.client.send("shell", "complete_request", {"code": "thing.al", "cursor_pos": 8})
    assert "alpha_one" in "".join(one.client.reply(request).content["matches"])
    request = one.client.send("shell", "inspect_request", {"code": "Thing", "cursor_pos": 5, "detail_level": 0})
    assert "A thing." in one.client.reply(request).content["data"]["text/plain"]


@pytest.mark.feature("value sharing")
def test_values_are_shared_both_ways_over_the_comm(connect):
    one = connect().share()
    sent = one.command("SendValue", name="table", formattedValue={"mimeType": "application/json", "value": '[{"a": 1}, {"a": 2}]'})
    assert sent["eventType"] == "CommandSucceeded"
    assert printed(one.run("total = sum(row['a'] for row in table); print(total)")) == "3\n"
    asked = one.command("RequestValue", name="total", mimeType="application/json")
    assert (asked["eventType"], asked["event"]["formattedValue"]["value"]) == ("ValueProduced", "3")
    infos = one.command("RequestValueInfos")["event"]["valueInfos"]
    assert {"total", "table"} <= {info["name"] for info in infos}
    assert one.command("RequestValue", name="nothing")["eventType"] == "CommandFailed"


@pytest.mark.feature("interrupt")
@pytest.mark.xfail(os.environ.get("IK_TEST_KERNEL") == kernels.PLAIN, reason="plain ipykernel does not read its standard input", strict=True)
def test_the_byte_on_standard_input_interrupts_the_cell(connect):
    one = connect()
    one.run("kept = 'kept'")
    request = one.submit("while True: pass")
    one.client.began(request)
    one.process.stdin.write(b"\x03\n")
    one.process.stdin.flush()
    assert one.finish(request, 15)[-1].content["ename"] == "KeyboardInterrupt"
    goes_on(one, "print(kept)", "kept\n")


@pytest.mark.feature("shutdown")
def test_sigkill_to_the_tree_leaves_nothing(site, connect):
    one = connect()
    one.run("import subprocess; subprocess.Popen(['sleep', '600'])")
    one.kill()
    if site.sandboxed:
        eventually(lambda: site.used() == 0, 5)


@pytest.mark.feature("kernel death")
@pytest.mark.sandbox
def test_a_kernel_that_dies_ends_the_cell_with_an_error_instead_of_for_ever(connect):
    one = connect()
    assert one.run("import os; os.kill(os.getpid(), 9)")[-1].content["ename"] == "KernelDied"
