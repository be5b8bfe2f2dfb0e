"""What a running kernel does with messages, small and large. Each row takes one figure of ours, one of plain, one of ours, …"""

import gc
import time

from .place import OURS, PLAIN
from .wire import Mismatch

MIB = 1 << 20
PIECES, PIECE = 200, 512 * 1024


def in_turn(pair, rounds, measure):
    """measure(kernel) for ours and plain, `rounds` times; the first of each warms up and does not count."""
    figures = {OURS: [], PLAIN: []}
    for turn in range(rounds + 1):
        for kind in (OURS, PLAIN):
            gc.collect()
            gc.disable()
            figure = measure(pair[kind])
            gc.enable()
            if turn:
                figures[kind].append(figure)
    return figures[OURS], figures[PLAIN]


def timed_cell(kernel, code, check):
    """The seconds from sending a cell until its reply and its idle are here. Then `check` looks at all that came."""
    client = kernel.client
    request = client.cell(code)
    begin = time.perf_counter()
    client.finish(request)
    seconds = time.perf_counter() - begin
    check(client.outcome(request))
    return seconds


def expect(is_right, what):
    if not is_right:
        raise Mismatch(f"{what} did not arrive as it was sent")


def text_of(messages):
    expect(all(message.type == "stream" and message.content["name"] == "stdout" for message in messages), "the stream")
    return "".join(message.content["text"] for message in messages)


def roundtrip(pair, results, rounds, block, line_round_trip):
    def a_block(kernel):
        client = kernel.client
        requests = [client.cell("1+1") for _ in range(block)]
        seconds = []
        for request in requests:
            begin = time.perf_counter()
            client.finish(request)
            seconds.append(time.perf_counter() - begin)
        messages = client.take()
        for request in requests:
            kinds = [(m.type, m.content) for m in messages if m.parent == request.id and m.type != "status"]
            found = {kind: content for kind, content in kinds}
            expect(sorted(kind for kind, _ in kinds) == ["execute_input", "execute_reply", "execute_result"], "1+1")
            expect(found["execute_result"]["data"]["text/plain"] == "2" and found["execute_reply"]["status"] == "ok", "2")
        return seconds

    ours, plain = ([second * 1000 for one in some for second in one] for some in in_turn(pair, rounds, a_block))
    for percentile in (50, 90, 99):
        result = results.compare_percentile(f"roundtrip-p{percentile}", ours, plain, percentile, block)
        if percentile == 50 and line_round_trip:
            results.tell("delay-roundtrip", [(result.ours_value - result.plain_value) / (line_round_trip * 1000)])


def stdout(pair, results, rounds):
    # Each piece says where it stands, so that one that is lost, doubled or out of its place is seen.
    setup = f"import sys; _pieces = [('%08d' % i + 'abcdefghijklmn\\n' * ({PIECE} // 15))[:{PIECE}] for i in range({PIECES})]"
    expected = "".join(("%08d" % i + "abcdefghijklmn\n" * (PIECE // 15))[:PIECE] for i in range(PIECES))
    for key, flush in (("stdout", ""), ("stdout-flushed", "; sys.stdout.flush()")):
        code = f"for _piece in _pieces: _ = sys.stdout.write(_piece){flush}"
        for kernel in pair.values():
            kernel.client.run(setup)
        ours, plain = in_turn(pair, rounds, lambda kernel: timed_cell(kernel, code, lambda messages: expect(text_of(messages) == expected, "100 MiB")))  # noqa: B023
        results.compare(key, *([PIECES * PIECE / MIB / seconds for seconds in some] for some in (ours, plain)))
    for kernel in pair.values():
        kernel.client.run("del _pieces, _piece")


def prints(pair, results, rounds):
    expected = "".join(f"{i} a line of a program\n" for i in range(20_000))

    def measure(kernel):
        return timed_cell(kernel, "for i in range(20_000): print(i, 'a line of a program')", lambda messages: expect(text_of(messages) == expected, "20,000 lines"))

    results.compare("prints", *([20_000 / seconds for seconds in some] for some in in_turn(pair, rounds, measure)))


def displays(pair, results, rounds):
    expected = [str(i) for i in range(2000)]

    def check(messages):
        expect([message.content["data"]["text/plain"] for message in messages if message.type == "display_data"] == expected, "2,000 displays")

    def measure(kernel):
        return timed_cell(kernel, "for i in range(2000): display(i)", check)

    results.compare("displays", *([2000 / seconds for seconds in some] for some in in_turn(pair, rounds, measure)))


def display_large(pair, results, rounds):
    size = 50 * MIB
    line = "0123456789abcde\\n"
    expected = "0123456789abcde\n" * (size // 16)
    for kernel in pair.values():
        kernel.client.run(f"_large = '{line}' * {size // 16}")

    def check(messages):
        expect([message.content["data"] for message in messages] == [{"text/x-large": expected}], "50 MiB")

    def measure(kernel):
        return timed_cell(kernel, "display({'text/x-large': _large}, raw=True)", check)

    results.compare("display-large", *([second * 1000 for second in some] for some in in_turn(pair, rounds, measure)))
    for kernel in pair.values():
        kernel.client.run("del _large")


def comm(pair, results, rounds):
    buffer = bytes(range(256)) * (8 * MIB // 256)
    target = """
def _echo(comm, opened):
    @comm.on_msg
    def _(message):
        comm.send(message['content']['data'], buffers=message['buffers'])
get_ipython().kernel.comm_manager.register_target('bench-echo', _echo)
"""
    for kernel in pair.values():
        client = kernel.client
        client.run(target)
        client.finish(client.build("comm_open", {"comm_id": "bench", "target_name": "bench-echo", "data": {}}), reply=False)
        client.take()

    def measure(kernel):
        client = kernel.client
        request = client.build("comm_msg", {"comm_id": "bench", "data": {"n": 1}}, [buffer])
        begin = time.perf_counter()
        client.finish(request, reply=False)
        seconds = time.perf_counter() - begin
        echoes = [message for message in client.take() if message.type == "comm_msg" and message.parent == request.id]
        expect(len(echoes) == 1 and [bytes(part) for part in echoes[0].buffers] == [buffer] and echoes[0].content["data"] == {"n": 1}, "the 8 MiB buffer")
        return seconds

    results.compare("comm", *([second * 1000 for second in some] for some in in_turn(pair, rounds, measure)))


def interrupt(pair, results, rounds):
    def measure(kernel):
        client = kernel.client
        time.sleep(0.2)  # ipykernel aborts what comes right after an error
        request = client.cell("import time; time.sleep(30)", stop_on_error=False)
        client.shell.send_multipart(request.frames)
        while client.read(client.iopub.recv_multipart()).type != "execute_input":
            pass
        time.sleep(0.1)  # the kernel says so just before it runs the code
        begin = time.perf_counter()
        kernel.interrupt()
        while b'"error"' not in (frames := client.iopub.recv_multipart(copy=False))[-4].bytes:
            pass
        seconds = time.perf_counter() - begin
        expect(client.read(frames).content["ename"] == "KeyboardInterrupt", "KeyboardInterrupt")
        client.until_idle(request)
        reply = client.read(client.shell.recv_multipart())
        expect(reply.parent == request.id and reply.content["status"] == "error", "the reply to the interrupted cell")
        kernel.interrupted()
        client.take()
        return seconds

    results.compare("interrupt", *([second * 1000 for second in some] for some in in_turn(pair, rounds, measure)))


def timeout(kernel, results, times):
    """How much later than its limit a cell's error is at the client."""
    limit, late = 0.25, []
    for _ in range(times):
        time.sleep(0.05)  # ipykernel aborts what comes right after an error
        client = kernel.client
        request = client.cell(f"%%timeout {limit * 1000:g}ms\nwhile True: pass", stop_on_error=False)
        begin = time.perf_counter()
        client.shell.send_multipart(request.frames)
        while b'"error"' not in (frames := client.iopub.recv_multipart(copy=False))[-4].bytes:
            pass
        late.append((time.perf_counter() - begin - limit) * 1000)
        expect("rung 1 of 4" in client.read(frames).content["evalue"], "the first rung")
        client.until_idle(request)
        client.shell.recv_multipart()
        client.take()
    results.tell("timeout", late, percentile=99)
