"""The link: attachments, exactly once over cuts, lanes, the spool, and bad input."""

import json
import os
import random
import struct
import threading
import time

import pytest
from bridge import PATIENCE, Bridge, Ended, alive, processes_of, relay
from test_kernel import wait_until


@pytest.mark.parametrize("direct", [False, True], ids=["pipes", "socket"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_line_comes_once_and_in_order_though_both_directions_are_cut_anywhere(bridge, seed, direct):
    bridge.direct = direct
    bridge.start("fake")
    bridge.items.clear()
    dice, cuts = random.Random(seed), 0
    ids = [bridge.execute("flood 2000 %d" % dice.randint(9, 200))]

    def wanted():
        return len(ids) > 30 and next(bridge.messages(ids[-1], relay.SHELL), None)
    while not wanted():
        left = dice.randint(200, 60_000)
        process = bridge.attach_process
        try:
            while left > 0 and not wanted():
                before = len(bridge.frames_read)
                if not bridge.read_some(PATIENCE if len(ids) > 30 else 0.02, min(left, 1 << 16)):
                    left = 0
                left -= max(1, 40 * (len(bridge.frames_read) - before))
            if len(ids) <= 30:
                # Half a frame goes out before the cut.
                cell, = relay.encode_message(relay.SHELL, [b"c", b"<IDS|MSG>", b"", b"{}", b"{}", b"{}", b"{}"])
                frame = relay.encode(relay.BULK, bridge.numbers["bulk"] + 1, *cell)
                bridge.write(frame[:dice.randint(1, len(frame) - 1)])
        except (Ended, BrokenPipeError):
            pytest.fail("the relay ended the attachment: %s" % process.poll())
        bridge.cut()
        cuts += 1
        if len(ids) <= 30:
            ids.append(bridge.execute("flood 20 50"))
        bridge.attach()
    for number, msg_id in enumerate(ids):
        text = bridge.text(msg_id)
        lines = [int(part) for part in text.replace("x", " ").split()]
        assert lines == list(range(2000 if number == 0 else 20))
    assert [m.parent["msg_id"] for m in bridge.messages(kind="execute_reply")] == ids
    assert cuts > 30


def test_a_new_attachment_replaces_the_old_one_once_it_has_greeted(bridge, attach):
    bridge.start("fake")
    silent = attach(bridge.directory)
    wait_until(lambda: len(os.listdir("/proc/%d/fd" % bridge.hello["relay_pid"])) and silent.poll() is None)
    assert bridge.run("interrupts")[1] == "0"
    old = bridge.attach_process
    bridge.attach_process = None
    bridge.attach()
    assert old.wait(PATIENCE) == 0
    old.stdin.close()
    old.stdout.close()
    assert bridge.run("interrupts")[1] == "0" and silent.poll() is None


def test_an_attach_process_that_is_killed_lets_its_pipes_go(bridge):
    bridge.start("fake")
    bridge.attach_process.kill()
    with pytest.raises(Ended):
        bridge.read_until(lambda: False)
    bridge.cut()
    bridge.attach()
    assert bridge.run("interrupts")[1] == "0"


def test_another_bridge_process_starts_from_nothing(bridge):
    bridge.start("fake")
    bridge.execute("flood 100 100")
    bridge.cut()
    other = Bridge(bridge.directory).attach()
    assert other.hello["kernel"] == "running" and other.hello["received"] == {"bulk": 0, "urgent": 0}
    assert other.hello["instance"] == bridge.hello["instance"]
    other.command("restart", session="s-2")
    assert other.event("started")["session"] == "s-2"
    assert other.run("interrupts")[1] == "0"
    other.cut()
    bridge.link, bridge.received, bridge.sent, bridge.items = other.link, other.received, other.sent, []
    bridge._numbers = other.numbers


def test_attach_without_a_daemon_says_so(directory, attach):
    process = attach(directory)
    assert process.wait(PATIENCE) == 5 and directory.encode() in process.stderr.read()


@pytest.mark.parametrize("words", [[], ["attach"], ["attach", "--dir"], ["fly", "--dir", "/tmp/x"], ["serve", "--dir", "d", "--window", "x"]])
def test_wrong_usage_is_told(words):
    import subprocess
    from bridge import PYTHON, RELAY
    result = subprocess.run([PYTHON, "-S", RELAY, *words], capture_output=True, timeout=PATIENCE, check=False)
    assert result.returncode == 2 and b"usage" in result.stderr and result.stdout == b""


def test_racing_starts_end_in_one_daemon(directory):
    bridges = [Bridge(directory) for _ in range(8)]

    def run(bridge):
        bridge.attach(hello=False)
        try:
            bridge.write(relay.encode(relay.HELLO, 0, json.dumps(
                {"version": 1, "role": "bridge", "link": bridge.link, "received": bridge.received}).encode()))
            bridge.read_until(lambda: bridge.hello)
        except (Ended, BrokenPipeError):
            assert bridge.attach_process.wait(PATIENCE) == 0        # another one greeted just after it
    threads = [threading.Thread(target=run, args=(bridge,)) for bridge in bridges]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    instances = {bridge.hello["instance"] for bridge in bridges if bridge.hello}
    assert len(instances) == 1
    for bridge in bridges:
        bridge.cut()
    last = Bridge(directory).attach()
    assert last.hello["instance"] in instances
    last.close()


def test_serve_prints_one_line_and_a_second_one_finds_the_first(directory):
    import subprocess
    from bridge import PYTHON, RELAY
    lines = [subprocess.run([PYTHON, "-S", RELAY, "serve", "--dir", directory], capture_output=True, timeout=PATIENCE, check=True).stdout
             for _ in range(2)]
    assert lines[0] == lines[1] and json.loads(lines[0])["relay"] == 1
    bridge = Bridge(directory).attach()
    assert bridge.hello["relay_pid"] == json.loads(lines[0])["pid"]
    bridge.close()


def test_urgent_frames_pass_while_the_bulk_window_is_full(bridge):
    bridge.start("fake")
    bridge.acknowledging = False
    msg_id = bridge.execute("flood 300 60000")              # 18 MB, of which the window lets 4 MiB go
    wait_until(lambda: drain(bridge) and len(bridge.text(msg_id)) > 3_000_000)
    assert len(bridge.text(msg_id)) < 6_000_000
    request = bridge.request("kernel_info_request", {}, relay.CONTROL)
    bridge.read_until(lambda: next(bridge.messages(request, relay.CONTROL), None))
    assert not list(bridge.messages(msg_id, relay.SHELL))
    bridge.acknowledging = True
    bridge.acknowledge()
    bridge.reply(msg_id)
    assert len(bridge.text(msg_id)) == 300 * 60000


def test_urgent_frames_go_between_the_pieces_of_a_large_message(bridge):
    bridge.start()
    msg_id = bridge.execute("display({'application/x': 'y' * 40_000_000}, raw=True)")
    bridge.read_until(lambda: relay.BULK_PART in bridge.frames_read)
    request = bridge.request("kernel_info_request", {}, relay.CONTROL)
    bridge.reply(msg_id)
    order = [kind for kind in bridge.frames_read if kind in (relay.BULK_PART, relay.URGENT)]
    assert order[order.index(relay.URGENT):].count(relay.BULK_PART) > 20
    assert next(bridge.messages(request, relay.CONTROL)).kind == "kernel_info_reply"
    assert len(next(bridge.messages(kind="display_data")).content["data"]["application/x"]) == 40_000_000


def test_a_ping_is_answered_and_acks_come_without_being_asked_for(bridge):
    bridge.write(relay.encode(relay.PING, 0, b"abc"))
    bridge.read_until(lambda: bridge.pongs)
    bridge.start("fake")
    bridge.request("comm_msg", {"comm_id": "c", "data": {}})
    bridge.read_until(lambda: bridge.acknowledged_by_relay["bulk"] == bridge.numbers["bulk"])


def test_what_cant_leave_waits_in_a_file_without_a_name(directory):
    bridge = Bridge(directory, "--spool-memory", "100000").attach()
    bridge.start("fake")
    msg_id = bridge.execute("flood 400 20000")
    bridge.read_until(lambda: bridge.text(msg_id))
    bridge.cut()
    fds = "/proc/%d/fd" % bridge.hello["relay_pid"]

    def spooled():
        return [os.stat(os.path.join(fds, fd)).st_size for fd in os.listdir(fds) if "spool-" in os.readlink(os.path.join(fds, fd))]
    wait_until(lambda: sum(spooled()) > 5_000_000)
    assert not [name for name in os.listdir(directory) if "spool" in name]
    bridge.attach()
    bridge.reply(msg_id)
    assert [int(text[:8]) for text in texts(bridge, msg_id)] == list(range(400))
    bridge.acknowledge()
    wait_until(lambda: not spooled())
    bridge.close()


@pytest.mark.parametrize("file", [0, 300000])
def test_over_the_bound_only_text_is_given_up_and_the_gap_is_told_in_its_place(directory, file):
    bridge = Bridge(directory, "--spool-memory", "100000", "--spool-file", str(file), "--window", "50000").attach()
    bridge.start("fake")
    bridge.acknowledging = False
    msg_id = bridge.execute("flood 500 5000")
    wait_until(lambda: drain(bridge) and bridge.text(msg_id))
    other = bridge.request("kernel_info_request", {}, relay.CONTROL)
    bridge.read_until(lambda: next(bridge.messages(other, relay.CONTROL), None), 60)       # so the flood is over
    bridge.acknowledging = True
    bridge.acknowledge()
    bridge.reply(msg_id)
    gaps = [item[1] for item in bridge.items if item[0] == "event" and item[1]["op"] == "dropped"]
    assert gaps and {gap["parent"] for gap in gaps} == {msg_id}
    shown = [int(m.content["data"]["text/plain"]) for m in bridge.messages(kind="display_data")]
    assert shown == list(range(0, 500, 10))
    numbers = [int(text[:8]) for text in texts(bridge, msg_id)]
    lost = 500 - len(numbers)
    assert numbers == sorted(set(numbers)) and lost > 100
    assert lost * 5000 < sum(gap["bytes"] for gap in gaps) < lost * 6000
    # Each gap in the numbers has its notice between the texts around it.
    at = {id(item): place for place, item in enumerate(bridge.items)}
    assert min(at[id(item)] for item in bridge.items if item[0] == "event" and item[1]["op"] == "dropped") > at[id(bridge.items[0])]
    bridge.close()


def test_garbage_costs_its_attachment_and_nothing_else(bridge, attach):
    bridge.start("fake")
    dice = random.Random(7)
    hello = relay.encode(relay.HELLO, 0, json.dumps(
        {"version": 1, "role": "bridge", "link": "other", "received": {"bulk": 0, "urgent": 0}}).encode())
    samples = [
        b"GET / HTTP/1.1\r\n\r\n" * 40, struct.pack(">I", 0xffffffff), struct.pack(">I", 3) + b"abc",
        relay.encode(relay.BULK, 1, b"x"), relay.encode(99, 1, b"x"), relay.encode(relay.HELLO, 0, b"{"),
        relay.encode(relay.HELLO, 0, b"[" * 100_000), relay.encode(relay.HELLO, 0, b'{"version":2,"role":"bridge","link":"x","received":{"bulk":0,"urgent":0}}'),
        relay.encode(relay.HELLO, 0, b'{"version":1,"role":"bridge","link":"x","received":{"bulk":-1e9,"urgent":0}}'),
        hello[:-1] + bytes([hello[-1] ^ 1]),
    ]
    for _ in range(30):
        sample = bytearray(hello)
        sample[dice.randrange(4, len(sample))] ^= 1 << dice.randrange(8)
        samples.append(bytes(sample))
    for sample in samples:
        process = attach(bridge.directory)
        process.stdin.write(sample)
        process.stdin.flush()
        assert process.wait(PATIENCE) == 3, sample[:80]
        assert process.stdout.read() == b""
    assert bridge.run("interrupts")[1] == "0"


def test_garbage_behind_a_good_greeting_ends_the_attachment_and_the_bridge_resumes(bridge):
    bridge.start("fake")
    dice = random.Random(8)
    for _ in range(40):
        kind = dice.choice([relay.BULK, relay.URGENT, relay.COMMAND, relay.ACK, relay.EVENT, 200])
        number = dice.choice([0, 10_000, bridge.numbers["bulk"] + 5 if "bulk" in bridge.numbers else 9, (1 << 64) - 1])
        frame = bytearray(relay.encode(kind, number, os.urandom(dice.randrange(40))))
        if kind not in (relay.ACK, relay.EVENT, 200) and number == 0:
            frame[-1] ^= 1                      # a number that was received already is no garbage, only a repetition
        bridge.write(bytes(frame))
        with pytest.raises(Ended):
            bridge.read_until(lambda: False)
        assert bridge.attach_process.wait(PATIENCE) == 3
        bridge.cut()
        bridge.attach()
        assert bridge.run("interrupts")[1] == "0"


@pytest.mark.parametrize("direct", [False, True], ids=["pipes", "socket"])
def test_checksums_are_looked_at_unless_nothing_lies_between(bridge, direct):
    bridge.cut()
    bridge.direct = direct
    bridge.attach()
    assert bridge.hello["checksums"] is not direct
    ping = relay.encode(relay.PING, 0, b"x")
    bridge.write(ping[:-1] + bytes([ping[-1] ^ 1]))
    if direct:
        bridge.read_until(lambda: bridge.pongs)
    else:
        with pytest.raises(Ended):
            bridge.read_until(lambda: bridge.pongs)
        assert bridge.attach_process.wait(PATIENCE) == 3
        bridge.cut()


def test_messages_and_commands_that_make_no_sense_are_dropped_one_by_one(bridge):
    bridge.start("fake")
    dice = random.Random(9)
    for payload in (b"", b"\1\0", b"\1\xff\xff", b"\1\0\1\xff\xff\xff\xff", b"\7\0\0", b"\1\0\0", b"\4\0\1\0\0\0\1x"):
        bridge.put("bulk", relay.BULK, payload)
        bridge.put("urgent", relay.URGENT, payload)
    for _ in range(1200):
        bridge.put("bulk", relay.BULK, bytes(dice.randrange(8) for _ in range(dice.randrange(60))))
    for payload in (b"", b"{", b"[]", b"{}", b'{"op":"fly"}', b'{"op":7}', b'{"op":"start","env":7,"bulk":"x"}', b"[" * 5000):
        bridge.put("urgent", relay.COMMAND, payload)
    assert bridge.run("interrupts")[1] == "0"


def test_a_message_without_end_is_refused_at_its_bound(bridge, monkeypatch):
    assert relay.MAX_MESSAGE == 1 << 30
    monkeypatch.setattr(relay, "MAX_MESSAGE", 100)
    state = relay.Relay.__new__(relay.Relay)
    state.message, state.barrier = bytearray(90), 0
    state.on_piece(False, 1, b"x" * 10)
    with pytest.raises(relay.LinkError):
        state.on_piece(False, 2, b"x")


def test_the_directory_must_be_ours_alone(tmp_path, attach):
    for path in ("/tmp", "/dev/null"):
        process = attach(path, "--serve")
        assert process.wait(PATIENCE) == 1 and path.encode() in process.stderr.read()
    target = tmp_path / "target"
    target.mkdir()
    link = tmp_path / "link"
    link.symlink_to(target)
    process = attach(str(link), "--serve")
    assert process.wait(PATIENCE) == 1


def test_a_fault_in_the_spool_costs_text_at_most(tmp_path):
    spool = relay.Spool(str(tmp_path / "absent"), 1000, 1000)
    places = [spool.store((relay.BULK, number, b"x" * 283), 300) for number in range(1, 6)]
    assert all(map(spool.is_in_memory, places)) and spool.disk_failed and spool.full()
    for place in places:
        spool.release(place, 300)
    assert not spool.full() and not spool.disk_failed and spool.in_memory == 0


def test_what_leaves_at_once_is_not_spooled(tmp_path):
    lane = relay.Lane(relay.Spool(str(tmp_path), 1000, 1_000_000))
    lane.put(relay.BULK, b"x" * 5000, b"y", keep=True)
    lane.put(relay.BULK, b"z" * 5000)
    assert [lane.spool.is_in_memory(place) for _, _, place in lane.unsent] == [True, False]
    assert lane.waiting() == 5001 + 5000 + 2 * (relay.FRAME_OVERHEAD + 4)
    frames = [b"".join(lane.take(checked=True)[0]) for _ in range(2)]
    assert frames == [relay.encode(relay.BULK, 1, b"x" * 5000 + b"y"), relay.encode(relay.BULK, 2, b"z" * 5000)]
    lane.resume(1)
    assert lane.waiting() == 5000 + relay.FRAME_OVERHEAD + 4
    lane.acknowledge(1)
    frame, size = lane.take(checked=False)
    assert b"".join(frame) == relay.encode(relay.BULK, 2, b"z" * 5000) and size == len(b"".join(frame))


def test_nothing_of_an_ended_relay_runs(directory):
    bridge = Bridge(directory).attach()
    pid = bridge.start("fake")["pid"]
    bridge.close()
    assert not alive(pid) and not processes_of(directory)


def texts(bridge, msg_id):
    return [m.content["text"] for m in bridge.messages(msg_id, relay.IOPUB, "stream")]


def drain(bridge):
    while bridge.read_some(0.05):
        pass
    return True


def test_time_is_not_spent_while_nothing_happens(bridge):
    bridge.start("fake")
    bridge.run("interrupts")

    def ticks():
        with open("/proc/%d/stat" % bridge.hello["relay_pid"]) as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])
    before = ticks()
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        bridge.read_some(end - time.monotonic())
    assert ticks() - before <= 5
