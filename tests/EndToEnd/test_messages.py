"""Requests other than cells, two clients, comms with buffers, and frames that arrive as they were sent."""

import json
import os
import re
import time
from pathlib import Path

import pytest
from kernels import PLAIN, brokers, digest, patience

# Runs in the kernel: keeps a digest of every message that its session writes or reads (the frames header, parent header,
# metadata, content), made as kernels.digest does.
RECORDER = """
import hashlib

def record():
    session = get_ipython().kernel.session
    written, read = [], []
    serialize, deserialize = session.serialize, session.deserialize

    def digest(parts):
        parts = [bytes(getattr(part, "bytes", part)) for part in parts]
        return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()

    def recording_serialize(*arguments, **options):
        frames = serialize(*arguments, **options)
        written.append(digest(frames[frames.index(b"<IDS|MSG>") + 2 :]))
        return frames

    def recording_deserialize(frames, *arguments, **options):
        read.append(digest(frames[1:5]))
        return deserialize(frames, *arguments, **options)

    session.serialize, session.deserialize = recording_serialize, recording_deserialize
    return written, read

written, read = record()
"""


def test_completion_inspection_history_and_is_complete_answer(kernel):
    kernel.execute("apple_pie = 'baked'")
    reply = kernel.ask(kernel.client.complete("apple_p", 7))["content"]
    assert (reply["status"], reply["matches"]) == ("ok", ["apple_pie"])
    reply = kernel.ask(kernel.client.inspect("apple_pie", 3))["content"]
    assert reply["found"] and "baked" in reply["data"]["text/plain"]
    reply = kernel.ask(kernel.client.history(hist_access_type="tail", n=1))["content"]
    assert [entry[2] for entry in reply["history"]] == ["apple_pie = 'baked'"]
    reply = kernel.ask(kernel.client.is_complete("for x in y:"))["content"]
    assert (reply["status"], reply["indent"]) == ("incomplete", "    ")


def test_a_position_behind_a_character_outside_the_basic_plane_is_not_shifted(kernel):
    kernel.execute("apple_pie = 1")
    code = "'\U0001f34e'; apple_p"
    reply = kernel.ask(kernel.client.complete(code, len(code)))["content"]
    assert (reply["matches"], reply["cursor_start"], reply["cursor_end"]) == (["apple_pie"], 5, 12)


def test_kernel_info_is_the_one_of_plain_ipykernel(start, kernel):
    replies = [one.ask(one.client.kernel_info())["content"] for one in (kernel, start(name=PLAIN))]
    assert replies[0] == replies[1]


def test_input_is_answered_by_the_client_that_ran_the_cell(kernel, wire):
    asking, other = wire(kernel.connection).listen(), wire(kernel.connection).listen()
    request = asking.execute("name = input('who? '); print('hello', name)", allow_stdin=True)
    question = asking.receive("stdin")
    assert (question.type, question.content["prompt"], question.parent["msg_id"]) == ("input_request", "who? ", request)
    assert other.receive("stdin", 0.5) is None
    asking.send("stdin", "input_reply", {"value": "the right one"}, parent=question.header)
    assert asking.reply(request).content["status"] == "ok"
    for client in (asking, other):  # outputs are for everybody
        assert "hello the right one\n" in [m.content.get("text") for m in client.outputs(request)]


def test_a_password_is_asked_for_as_one(kernel, wire):
    client = wire(kernel.connection).listen()
    request = client.execute("import getpass; print(len(getpass.getpass('secret? ')))", allow_stdin=True)
    question = client.receive("stdin")
    assert question.content == {"prompt": "secret? ", "password": True}
    client.send("stdin", "input_reply", {"value": "four" * 2})
    assert client.reply(request).content["status"] == "ok"


def test_a_cell_that_may_not_ask_says_so(kernel):
    assert "StdinNotImplementedError" in kernel.execute("input()").error


def test_comm_messages_keep_their_buffers(kernel, wire):
    kernel.execute(
        "def target(comm, message):\n"
        "    @comm.on_msg\n"
        "    def echo(message):\n"
        "        comm.send({'back': message['content']['data']}, buffers=[bytes(b) for b in message['buffers']])\n"
        "    comm.send({'opened': message['content']['data']}, buffers=[bytes(b) for b in message['buffers']])\n"
        "get_ipython().kernel.comm_manager.register_target('echo', target)"
    )
    client = wire(kernel.connection).listen()
    buffers = [bytes(range(256)), b"", b"\0" * 3, b"x" * 1_500_000, b""]
    opened = client.send("shell", "comm_open", {"comm_id": "c1", "target_name": "echo", "data": {"n": 1}}, buffers[:2])
    answers = [m for m in client.outputs(opened) if m.type == "comm_msg"]
    assert [(m.content["data"], m.buffers) for m in answers] == [({"opened": {"n": 1}}, buffers[:2])]
    sent = client.send("shell", "comm_msg", {"comm_id": "c1", "data": {"n": 2}}, buffers)
    answers = [m for m in client.outputs(sent) if m.type == "comm_msg"]
    assert [(m.content["data"], m.buffers) for m in answers] == [({"back": {"n": 2}}, buffers)]
    info = client.reply(client.send("shell", "comm_info_request", {"target_name": "echo"})).content
    assert info["comms"] == {"c1": {"target_name": "echo"}}


def test_a_comm_for_an_unknown_target_is_closed(kernel, wire):
    client = wire(kernel.connection).listen()
    opened = client.send("shell", "comm_open", {"comm_id": "c2", "target_name": "nobody", "data": {}})
    assert "comm_close" in [m.type for m in client.outputs(opened)]


def test_frames_from_the_kernel_arrive_as_they_were_written(kernel, wire):
    kernel.execute(RECORDER)
    client = wire(kernel.connection).listen()
    request = client.execute("print('é \U0001f34e'); display({'text/plain': 'x', 'application/json': {'b': 1, 'a': [1.0, 1e400]}}, raw=True); 1/0")
    seen = [*client.outputs(request), client.reply(request)]
    asked = client.send("shell", "complete_request", {"code": "prin", "cursor_pos": 4})
    seen += [*client.outputs(asked), client.reply(asked)]
    assert len(seen) >= 9
    written = set(kernel.value("written"))
    assert [frames.type for frames in seen if frames.digest not in written] == []


def test_frames_to_the_kernel_arrive_as_they_were_sent(kernel, wire):
    kernel.execute(RECORDER)
    client = wire(kernel.connection).listen()
    content = b'{ "code":"x = 1","silent" : false,\n"store_history":true, "user_expressions":{}, "allow_stdin":false,"stop_on_error":true, "more":["\\u00e9", 1.50, 1E3] }'
    header = json.dumps(client.header("execute_request"), indent=2).replace('"wire"', '"\\u0077ire"').encode()
    parts = [header, b"{ }", b'{"cellId" :"abc", "tags":[ ]}', content]
    client.send_parts("shell", parts)
    client.reply(json.loads(header)["msg_id"])
    assert digest(parts) in kernel.value("read")


def test_an_error_stops_the_cells_that_were_sent_behind_it(start, kernel, wire):
    endings = []
    for one in (kernel, start(name=PLAIN)):
        client = wire(one.connection).listen()
        requests = [client.execute(code) for code in ("a = 1", "time_out", "a = 2", "a = 3", "a = 4")]
        requests.append(client.send("shell", "kernel_info_request", {}))
        replies = client.replies(len(requests))
        assert [reply.parent["msg_id"] for reply in replies] == requests  # in order on their channel
        endings.append(([reply.content["status"] for reply in replies], one.value("a")))
    assert endings == [(["ok", "error", "aborted", "aborted", "aborted", "ok"], 1)] * 2


def test_without_stop_on_error_the_cells_behind_it_run(kernel, wire):
    client = wire(kernel.connection).listen()
    requests = [client.execute(code, stop_on_error=False) for code in ("a = 1", "1/0", "a = 2")]
    assert [client.reply(request).content["status"] for request in requests] == ["ok", "error", "ok"]


def test_a_reply_never_overtakes_its_outputs(kernel, wire):
    client = wire(kernel.connection).listen()
    for count in (1, 50, 2000):
        request = client.execute(f"for i in range({count}): display({{'text/plain': str(i)}}, raw=True)")
        client.reply(request)
        # All of it is under way already when the reply is here; nbclient would give up on what comes later.
        found = client.outputs(request, timeout=patience(4))
        assert [m.content["data"]["text/plain"] for m in found if m.type == "display_data"] == [str(i) for i in range(count)]


def test_the_heartbeat_answers_while_a_cell_is_busy(kernel):
    import zmq

    request = kernel.begin("import time; time.sleep(1.5)")
    context = zmq.Context()
    try:
        heart = context.socket(zmq.REQ)
        heart.connect(f"tcp://127.0.0.1:{kernel.connection['hb_port']}")
        for beat in (b"ping", b"", bytes(range(256))):
            heart.send(beat)
            assert heart.poll(int(patience(500))) and heart.recv() == beat
    finally:
        context.destroy(linger=0)
    kernel.result(request)


def test_control_answers_while_a_cell_is_busy(kernel, wire):
    client = wire(kernel.connection).listen()
    busy = client.execute("import time; time.sleep(4)")
    client.began(busy)
    since = time.monotonic()
    asked = client.send("control", "kernel_info_request", {})
    client.reply(asked, "control", timeout=10)
    assert time.monotonic() - since < patience(1.5)
    client.reply(busy)


@pytest.mark.parametrize("size", [1_000, 5_000_000])
def test_a_large_cell_and_a_large_result_pass(kernel, size):
    result = kernel.execute(f"text = '{'y' * size}'\nprint(len(text)); text")
    assert result.stdout == f"{size}\n"
    assert result.messages[-1]["content"]["data"]["text/plain"] == repr("y" * size)


def test_what_an_embedded_sandbox_says_passes_through_no_other_process(kernel, site):
    kernel.execute("1")
    (broker,) = brokers(site)

    def read():
        return int(re.search(r"rchar: (\d+)", Path(f"/proc/{broker.pid}/io").read_text())[1])

    before = read()
    assert len(kernel.execute("print('x' * 20_000_000)").stdout) == 20_000_001
    assert read() - before < 2_000_000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a directory from one process")
def test_a_kernel_that_does_not_see_the_hosts_sockets_is_served_through_the_broker(kernel, site, start):
    apart = site.install("sandbox-apart")
    spec = json.loads((apart / "kernel.json").read_text())
    hide = "mount -t tmpfs none /run/interpreter-kernel-host && exec \"$@\""
    spec["argv"] = ["unshare", "--mount", "sh", "-c", hide, "sh", *spec["argv"]]
    (apart / "kernel.json").write_text(json.dumps(spec))
    kernel.execute("1")                     # the broker and its host run, and see what we see

    other = start(name="sandbox-apart")

    assert other.execute("print(6 * 7)").stdout == "42\n"
    assert "goes through the broker" in other.printed
