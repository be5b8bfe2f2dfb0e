"""The relay and its kernel: start, order of messages, interrupts, questions, death, restart."""

import ast
import json
import os
import select
import shutil
import signal
import subprocess
import time

import pytest
from bridge import PATIENCE, PYTHON, RELAY, Bridge, alive, processes_of, relay
from jupyter_client.manager import start_new_kernel


def types(bridge, msg_id):
    return [message.kind for message in bridge.messages(msg_id)]


def test_a_cell_runs_and_its_reply_follows_its_idle(bridge):
    started = bridge.start()
    assert started["op"] == "started" and started["session"] == "session-1" and started["interrupt_mode"] == "signal"
    assert json.loads(started["kernel_info"])["implementation"] == "ipython"
    msg_id = bridge.execute("print('hi')\n1+1")
    reply = bridge.reply(msg_id)
    assert types(bridge, msg_id) == ["status", "execute_input", "stream", "execute_result", "status", "execute_reply"]
    assert reply.identities == [b"client"] and reply.signature == b"" and reply.header["session"] == "session-1"


def test_nothing_of_the_relays_own_probe_is_seen_and_no_welcome(bridge):
    bridge.start("fake")
    bridge.run("interrupts")
    kinds = [message.kind for message in bridge.messages()]
    assert kinds == ["status", "stream", "status", "execute_reply"]


def test_requests_sent_before_the_kernel_is_ready_wait_for_it(bridge):
    bridge.command("start", kernel="python3", session="s")
    msg_id = bridge.execute("print('early')")
    bridge.reply(msg_id)
    assert bridge.text(msg_id) == "early\n"
    assert [item[1]["op"] for item in bridge.items if item[0] == "event"] == ["started"]


def test_a_reply_that_the_kernel_sent_first_still_leaves_after_the_idle(bridge):
    bridge.start("fake")
    msg_id = bridge.execute("reply-first")
    bridge.reply(msg_id)
    assert types(bridge, msg_id) == ["status", "stream", "status", "execute_reply"]


def test_a_reply_without_any_idle_is_held_no_longer_than_the_bound(bridge):
    bridge.start("fake")
    begin = time.monotonic()
    bridge.reply(bridge.execute("no-idle"))
    assert 2.5 < time.monotonic() - begin < 3 + PATIENCE


def test_messages_that_are_none_are_dropped_and_the_rest_goes_on(bridge):
    bridge.start("fake")
    bridge.run("garbage")
    assert bridge.run("interrupts")[1] == "0"


def test_an_interrupt_of_a_cell_that_has_ended_meets_nobody(bridge):
    bridge.start()
    ended = bridge.execute("1")
    bridge.reply(ended)
    following = bridge.execute("import time\nprint('go', flush=True)\ntime.sleep(1)\nprint('through')")
    bridge.read_until(lambda: bridge.text(following))
    bridge.command("interrupt", cell=ended)
    assert bridge.event("interrupted") == {"op": "interrupted", "delivered": False, "parent": None, "cell": ended}
    assert bridge.reply(following).content["status"] == "ok" and bridge.text(following) == "go\nthrough\n"
    running = bridge.execute("print('go', flush=True)\nwhile True: pass")
    bridge.read_until(lambda: bridge.text(running))
    bridge.command("interrupt", cell=running)
    assert bridge.event("interrupted")["delivered"] is True
    assert bridge.reply(running).content["ename"] == "KeyboardInterrupt"


def test_a_cell_that_its_interrupt_has_overtaken_is_interrupted_when_it_runs(bridge):
    bridge.start()
    bridge.command("interrupt", bulk=bridge.numbers.get("bulk", 0) + 1)
    stopped, behind = bridge.execute("import time\ntime.sleep(20)"), bridge.execute("kept = 1")
    assert bridge.reply(stopped).content["ename"] == "KeyboardInterrupt"
    bridge.reply(behind)
    later = bridge.execute("import time\ntime.sleep(0.5)\nprint('through')")
    assert bridge.reply(later).content["status"] == "ok" and bridge.text(later) == "through\n"


def test_an_interrupt_by_signal_stops_the_cell_and_keeps_the_variables(bridge):
    bridge.start()
    bridge.run("x = 5")
    # With stop_on_error ipykernel aborts what comes right behind the error, with or without a relay (5 in 100).
    msg_id = bridge.execute("print('go', flush=True)\nwhile True: pass", stop_on_error=False)
    bridge.read_until(lambda: bridge.text(msg_id))
    bridge.command("interrupt")
    assert bridge.event("interrupted") == {"op": "interrupted", "delivered": True, "parent": None}
    assert bridge.reply(msg_id).content["ename"] == "KeyboardInterrupt"
    assert bridge.run("print(x)")[1] == "5\n"


def test_an_interrupt_request_of_a_client_becomes_a_signal_that_the_bridge_answers(bridge):
    bridge.start()
    msg_id = bridge.execute("print('go', flush=True)\nimport time\ntime.sleep(100)")
    bridge.read_until(lambda: bridge.text(msg_id))
    request = bridge.request("interrupt_request", {}, relay.INTERRUPT)
    assert bridge.event("interrupted") == {"op": "interrupted", "delivered": True, "parent": request}
    assert bridge.reply(msg_id).content["ename"] == "KeyboardInterrupt"


def test_an_interrupt_goes_by_message_where_the_kernelspec_says_so(bridge):
    assert bridge.start("fake-message")["interrupt_mode"] == "message"
    bridge.command("interrupt")
    assert bridge.event("interrupted")["delivered"]
    request = bridge.request("interrupt_request", {}, relay.INTERRUPT)
    reply = bridge.read_until(lambda: next(bridge.messages(request, relay.CONTROL), None))
    assert reply.kind == "interrupt_reply" and reply.identities == [b"client"]
    assert bridge.run("interrupts")[1] == "2"
    assert not [m for m in bridge.messages() if m.kind == "interrupt_reply" and m.parent["msg_id"] != request]


def test_an_interrupt_without_a_kernel_or_while_it_starts_is_told_to_be_void(bridge):
    bridge.command("interrupt")
    assert not bridge.event("interrupted")["delivered"]
    bridge.command("start", kernel="python3", session="s")
    bridge.command("interrupt")
    assert not bridge.event("interrupted")["delivered"]
    assert bridge.event("started", "start_failed")["op"] == "started"


def test_a_question_reaches_the_one_who_asked_for_the_cell_and_the_answer_the_kernel(bridge):
    bridge.start()
    msg_id = bridge.execute("print('before')\nprint('got ' + input('name? '))")
    question = bridge.read_until(lambda: next(bridge.messages(channel=relay.STDIN), None))
    assert question.identities == [b"client"] and question.content["prompt"] == "name? " and question.parent["msg_id"] == msg_id
    assert bridge.text(msg_id) == "before\n"
    bridge.request("input_reply", {"value": "Ada"}, relay.STDIN)
    bridge.reply(msg_id)
    assert bridge.text(msg_id) == "before\ngot Ada\n"


def test_control_is_answered_while_a_cell_runs(bridge):
    bridge.start()
    msg_id = bridge.execute("print('go', flush=True)\nimport time\ntime.sleep(100)")
    bridge.read_until(lambda: bridge.text(msg_id))
    request = bridge.request("kernel_info_request", {}, relay.CONTROL)
    bridge.read_until(lambda: next(bridge.messages(request, relay.CONTROL), None))
    bridge.command("interrupt")
    bridge.reply(msg_id)


def test_a_comm_carries_eight_mebibytes_there_and_back(bridge):
    bridge.start()
    bridge.run("def opened(comm, message):\n    comm.on_msg(lambda m: comm.send({'n': len(m['buffers'])}, buffers=m['buffers']))\n"
               "get_ipython().kernel.comm_manager.register_target('echo', opened)")
    bridge.request("comm_open", {"comm_id": "c", "target_name": "echo", "data": {}})
    data = os.urandom(8 << 20)
    bridge.request("comm_msg", {"comm_id": "c", "data": {}}, buffers=[data, b"", b"x"])
    echo = bridge.read_until(lambda: next(bridge.messages(kind="comm_msg"), None))
    assert echo.buffers == [data, b"", b"x"] and echo.content["data"] == {"n": 3}


def test_a_death_is_told_after_all_output_with_exit_code_and_the_last_lines(bridge):
    bridge.start("fake")
    msg_id = bridge.execute("die 30")
    bridge.read_until(lambda: any(item[0] == "event" and item[1]["op"] == "died" for item in bridge.items))
    assert bridge.items[-1][1]["op"] == "died"
    died = bridge.event("died")
    assert (died["exit_code"], died["signal"], died["commanded"]) == (7, None, False)
    assert died["stderr"].split("\n") == ["line %d" % i for i in range(10, 30)]
    assert bridge.text(msg_id) == "last words"


def test_the_lines_kept_of_a_talkative_process_are_bounded(bridge):
    bridge.start("fake")
    bridge.execute("die 100000")
    died = bridge.event("died")
    assert died["stderr"].split("\n")[-1] == "line 99999" and len(died["stderr"]) <= 8192


def test_a_signal_is_told_by_its_name_and_children_go_too(bridge):
    bridge.start()
    _, child = bridge.run("import subprocess, os\np = subprocess.Popen(['sleep', '1000'])\nprint(p.pid)")
    assert alive(int(child))
    bridge.execute("os.kill(os.getpid(), 11)")
    died = bridge.event("died")
    assert died["signal"] == "SIGSEGV" and died["exit_code"] is None
    wait_until(lambda: not alive(int(child)))


def test_a_kill_by_command_is_told_as_such(bridge):
    bridge.start("fake")
    bridge.command("kill")
    died = bridge.event("died")
    assert died["commanded"] and died["signal"] == "SIGKILL" and died["oom"] is None
    assert bridge.start("fake")["op"] == "started"


def test_a_kill_while_it_starts_ends_it_too(bridge):
    bridge.command("start", kernel="fake-hangs", session="s")
    bridge.command("kill")
    assert bridge.event("died", "start_failed")["commanded"]


def test_a_restart_brings_a_fresh_kernel_with_the_new_session_and_nothing_of_the_old_one_after_it(bridge):
    first = bridge.start()
    bridge.run("x = 1")
    _, child = bridge.run("import subprocess, os\nprint(subprocess.Popen(['sleep', '1000'], preexec_fn=os.setpgrp).pid)")
    running = bridge.execute("print('go', flush=True)\nwhile True: pass")
    bridge.read_until(lambda: bridge.text(running))
    queued = bridge.execute("print('must not run')")
    bridge.command("restart", session="session-2")
    assert bridge.event("killed")["signal"] == "SIGKILL"
    after = bridge.execute("print('x' in globals())")
    second = bridge.event("started")
    bridge.reply(after)
    assert second["pid"] != first["pid"] and second["session"] == "session-2"
    assert bridge.text(after) == "False\n" and bridge.text(queued) == ""
    assert next(bridge.messages(after)).header["session"] == "session-2"
    assert bridge.reply(after).content["execution_count"] == 1
    wait_until(lambda: not alive(int(child)))
    assert not alive(first["pid"])


def test_a_restart_while_it_starts_ends_in_one_kernel(bridge):
    bridge.command("start", kernel="fake", session="a")
    for number in range(5):
        bridge.command("restart", session="s%d" % number)
    while bridge.event("started")["session"] != "s4":
        pass
    assert bridge.run("interrupts")[1] == "0"
    assert len([line for line in processes_of(bridge.directory).values() if "fake_kernel" in line]) == 1


@pytest.mark.parametrize("order, words", [
    ({"kernel": "no-such"}, "has no kernel 'no-such' (it has: "),
    ({"kernel": "../../etc"}, "is no name of a kernel"),
    ({"argv": ["/no/such/program", "{connection_file}"]}, "'/no/such/program' can't be started: [Errno 2]"),
    ({"argv": []}, "argv must be a list of words"),
    ({"kernel": "fake", "cwd": "/no/such/place"}, "/no/such/place"),
    ({"kernel": "fake-dies"}, "with exit code 3 before it was ready"),
])
def test_a_kernel_that_cant_be_started_is_told_with_the_reason(bridge, order, words):
    bridge.command("start", session="s", **order)
    failed = bridge.event("start_failed", "started")
    assert failed["op"] == "start_failed" and words in failed["message"]
    if order.get("kernel") == "fake-dies":
        assert failed["stderr"] == "no such module"
    assert bridge.start("fake")["op"] == "started"


def test_a_python_without_pyzmq_is_told_by_name(directory, tmp_path, monkeypatch):
    (tmp_path / "zmq.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    bridge = Bridge(directory).attach()
    failed = bridge.start("fake-hangs")
    assert failed["op"] == "start_failed" and "can't import pyzmq" in failed["message"] and "not here" in failed["message"]
    bridge.close()


def test_the_kernel_gets_environment_and_directory_and_none_of_our_descriptors(bridge, tmp_path):
    started = bridge.start("fake", env={"FROM_ORDER": "2", "LANG": None}, cwd=str(tmp_path))
    proc = "/proc/%d" % started["pid"]
    with open(proc + "/environ") as file:
        environ = dict(line.split("=", 1) for line in file.read().split("\0") if line)
    assert environ["FROM_SPEC"] == "1 " + os.environ["HOME"] and environ["ABSENT"] == "${NOT_SET_ANYWHERE}"
    assert environ["FROM_ORDER"] == "2" and "LANG" not in environ
    assert os.readlink(proc + "/cwd") == str(tmp_path) and os.getsid(started["pid"]) == started["pid"]
    held = {os.readlink("%s/fd/%s" % (proc, fd)) for fd in os.listdir(proc + "/fd")}
    ours = {os.readlink("/proc/%d/fd/%d" % (bridge.attach_process.pid, fd)) for fd in (0, 1)}
    assert not held & ours
    assert os.readlink(proc + "/fd/0") == "/dev/null"


def test_ipykernel_gets_its_session_and_keeps_its_history_in_memory(bridge):
    started = bridge.start()
    with open("/proc/%d/cmdline" % started["pid"]) as file:
        words = file.read().split("\0")
    assert "--Session.session=session-1" in words and "--HistoryManager.hist_file=:memory:" in words


def test_the_connection_file_is_private_and_has_a_key(bridge):
    bridge.start("fake")
    name = next(name for name in os.listdir(bridge.directory) if name.endswith(".json"))
    path = os.path.join(bridge.directory, name)
    assert os.stat(path).st_mode & 0o777 == 0o600
    with open(path) as file:
        config = json.load(file)
    assert len(config["key"]) == 64 and config["ip"] == "127.0.0.1"


def test_ipykernel_needs_no_key_because_only_its_user_reaches_its_sockets(bridge):
    bridge.start()
    with open(next(os.path.join(bridge.directory, name) for name in os.listdir(bridge.directory) if name.endswith(".json"))) as file:
        config = json.load(file)
    assert (config["transport"], config["key"]) == ("ipc", "")
    sockets = [name for name in os.listdir(bridge.directory) if os.path.join(bridge.directory, name).startswith(config["ip"] + "-")]
    assert len(sockets) == 5 and os.stat(bridge.directory).st_mode & 0o777 == 0o700


def test_a_path_too_long_for_sockets_gets_ports_and_a_key(directory):
    bridge = Bridge(os.path.join(directory, "x" * (91 - len(directory)))).attach()
    bridge.start()
    with open(next(os.path.join(bridge.directory, name) for name in os.listdir(bridge.directory) if name.endswith(".json"))) as file:
        config = json.load(file)
    assert (config["transport"], len(config["key"])) == ("tcp", 64)
    bridge.close()
    shutil.rmtree(bridge.directory)


HOW_IT_RUNS = """
import gc, sys
def report():
    names = ("pkg_resources", "debugpy", "ipykernel.debugger")
    return {"argv": sys.argv[0], "path": sys.path, "gc": (gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()), "modules": [n in sys.modules for n in names],
            "debugger": sys.modules["ipykernel.debugger"]._is_debugpy_available, "main": sys.modules["__main__"].__dict__.get("__file__")}
"""


def test_ipykernel_runs_as_if_it_had_been_started_by_itself(bridge, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bridge.start(cwd=str(tmp_path))
    ours = bridge.run(HOW_IT_RUNS + "print(report())")[1]
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    try:
        plain = []
        client.execute_interactive(HOW_IT_RUNS + "print(report())", output_hook=lambda m: plain.append(m["content"].get("text", "")), timeout=PATIENCE)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    ours, plain = ast.literal_eval(ours), ast.literal_eval("".join(plain))
    assert plain["modules"] == [True, True, True] and ours["modules"] == [False, True, True]     # which pydevd alone had wanted
    assert {**ours, "modules": 0} == {**plain, "modules": 0}


def test_pkg_resources_is_there_for_whoever_wants_it(bridge):
    bridge.start()
    pytest.importorskip("pkg_resources")
    assert bridge.run("import pkg_resources; print(pkg_resources.get_distribution('ipykernel').project_name)")[1] == "ipykernel\n"


FLUSHES = """
import sys
thread, scheduled = sys.stdout.pub_thread, []
schedule = thread.schedule
thread.schedule = lambda task: (scheduled.append(task), schedule(task))
for stream in (sys.stdout, sys.stderr) * 100: stream.flush()
without = len(scheduled)
sys.stdout.write("text"); sys.stdout.flush()
after = len(scheduled)
del thread.schedule
print((without, after > 0))
"""


def test_a_flush_waits_only_where_something_was_written(bridge):
    bridge.start()
    assert bridge.run(FLUSHES)[1] == "text(0, True)\n"


def test_text_and_displays_keep_the_order_in_which_a_cell_made_them(bridge):
    bridge.start()
    request = bridge.execute("import sys\nfor i in range(200):\n    print(i, end=' ')\n    display(i)\n    print(i, end=' ', file=sys.stderr, flush=True)")
    bridge.reply(request)
    seen = []
    for message in bridge.messages(request, relay.IOPUB):
        if message.kind == "stream":
            seen += [(message.content["name"], word) for word in message.content["text"].split()]
        elif message.kind == "display_data":
            seen.append(("display", message.content["data"]["text/plain"]))
    assert seen == [(kind, str(i)) for i in range(200) for kind in ("stdout", "display", "stderr")]


def test_a_daemon_that_was_killed_takes_its_kernel_along_at_the_next_start_at_the_latest(directory):
    first = Bridge(directory).attach()
    orphan = first.start("fake-orphan")["pid"]
    os.kill(first.hello["relay_pid"], 9)
    assert first.attach_process.wait(PATIENCE) == 4
    first.cut()
    second = Bridge(directory).attach()
    assert second.hello["kernel"] == "none" and second.hello["instance"] != first.hello["instance"]
    wait_until(lambda: not alive(orphan))
    second.close()


def test_sigterm_ends_daemon_and_kernel(directory):
    bridge = Bridge(directory).attach()
    kernel = bridge.start("fake")["pid"]
    os.kill(bridge.hello["relay_pid"], 15)
    wait_until(lambda: not alive(bridge.hello["relay_pid"]) and not alive(kernel))
    assert bridge.attach_process.wait(PATIENCE) == 0
    bridge.cut()


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        select.select([], [], [], 0.005)


def serve_with(directory, kernel):
    """A relay with a kernel that nobody has asked for; the process that started it, ended."""
    return subprocess.run([PYTHON, "-S", RELAY, "serve", "--dir", directory, "--kernel", kernel], capture_output=True, text=True, timeout=PATIENCE)


def test_a_kernel_started_ahead_is_given_to_the_first_who_wants_its_like(directory):
    assert serve_with(directory, "python3").returncode == 0
    bridge = Bridge(directory).attach()
    assert bridge.hello["kernel"] == "running"
    waiting = bridge.hello["pid"]
    bridge.command("start", kernel="python3", session="mine", adopt=True)
    early = bridge.execute("import os; print(os.getpid())\nget_ipython().execution_count, get_ipython().kernel.session.session")
    reply = bridge.reply(early)
    started = bridge.event("started")
    assert started["pid"] == waiting and started["session"] == "mine" and json.loads(started["kernel_info"])["implementation"] == "ipython"
    assert bridge.text(early) == "%d\n" % waiting
    result, = [message for message in bridge.messages(early) if message.kind == "execute_result"]
    assert result.content["data"]["text/plain"] == "(1, 'mine')" and result.header["session"] == "mine" == reply.header["session"]
    assert {message.header["session"] for message in bridge.messages()} <= {"mine"}
    bridge.command("restart", session="next")
    assert bridge.event("started")["pid"] != waiting
    bridge.command("start", kernel="python3", session="third", adopt=True)
    assert bridge.event("started")["session"] == "third"      # once: a kernel that was used is nobody's spare
    bridge.close()


@pytest.mark.parametrize("order", [{"kernel": "python3"}, {"kernel": "fake", "adopt": True}, {"kernel": "python3", "adopt": True, "env": {"A": "1"}}])
def test_who_wants_another_than_the_one_started_ahead_gets_a_new_one(directory, order):
    assert serve_with(directory, "python3").returncode == 0
    bridge = Bridge(directory).attach()
    waiting = bridge.hello["pid"]
    bridge.command("start", session="s", **order)
    assert bridge.event("started")["pid"] != waiting and not alive(waiting)
    bridge.close()


def test_a_kernel_of_any_kind_can_be_started_ahead(directory):
    assert serve_with(directory, "fake").returncode == 0
    bridge = Bridge(directory).attach()
    waiting = bridge.hello["pid"]
    bridge.command("start", kernel="fake", session="s", adopt=True)
    assert bridge.event("started")["pid"] == waiting
    assert bridge.run("interrupts")[1] == "0"
    bridge.close()


def test_a_kernel_started_ahead_that_died_is_started_again_for_who_wants_it(directory):
    assert serve_with(directory, "python3").returncode == 0
    bridge = Bridge(directory).attach()
    os.kill(bridge.hello["pid"], signal.SIGKILL)
    bridge.cut()
    bridge = Bridge(directory).attach()
    while bridge.hello["kernel"] != "dead":
        bridge.cut()
        bridge = Bridge(directory).attach()
    bridge.command("start", kernel="python3", session="s", adopt=True)
    assert bridge.event("started")["session"] == "s"
    bridge.close()


def test_a_kernel_that_does_not_start_ahead_is_told_by_the_exit_code(directory):
    for kernel in ("fake-dies", "not-there"):
        done = serve_with(directory, kernel)
        assert done.returncode == 6
        os.kill(json.loads(done.stdout)["pid"], signal.SIGTERM)
        while processes_of(directory):
            time.sleep(0.05)
