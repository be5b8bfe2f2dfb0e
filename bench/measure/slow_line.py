"""A line to somewhere far: passes TCP connections on with a delay each way and, where asked for, no more than a rate.

    slow_line.py HOST:PORT SECONDS BITS-PER-SECOND     prints the address it listens on

A connection takes a round trip until its first byte leaves, as a real one does. Nothing is reordered or lost.
"""

import asyncio
import collections
import contextlib
import socket
import sys

PIECE = 64 * 1024
# What is on its way at most; more than any line of interest holds, so that the bound is not what is measured.
ON_ITS_WAY = 64 << 20


async def carry(reader, writer, delay, rate, start):
    """Each piece leaves when its delay is over and the ones before it have had their time on the line."""
    loop = asyncio.get_running_loop()
    pieces, stirred, room = collections.deque(), asyncio.Event(), asyncio.Event()
    held, free_at = 0, start
    room.set()

    async def send():
        nonlocal held
        while True:
            while not pieces:
                stirred.clear()
                await stirred.wait()
            due, data = pieces.popleft()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
            held -= len(data)
            room.set()

    sending = asyncio.ensure_future(send())
    try:
        while True:
            data = await reader.read(PIECE)
            free_at = max(free_at, loop.time()) + (len(data) * 8 / rate if rate else 0)
            pieces.append((free_at + delay, data))
            stirred.set()
            if not data:
                break
            held += len(data)
            if held > ON_ITS_WAY:
                room.clear()
                await room.wait()
        await sending
    finally:
        sending.cancel()


async def serve(host, port, delay, rate):
    async def accept(reader, writer):
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                there = await asyncio.open_connection(host, port, limit=4 * PIECE)
            except OSError:
                writer.close()
                return
            for end in (writer, there[1]):
                end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            start = asyncio.get_running_loop().time() + 2 * delay
            done, rest = await asyncio.wait(
                [asyncio.ensure_future(carry(reader, there[1], delay, rate, start)), asyncio.ensure_future(carry(there[0], writer, delay, rate, start))],
                return_when=asyncio.FIRST_EXCEPTION,
            )
            for task in rest:
                task.cancel()
            await asyncio.gather(*done, *rest, return_exceptions=True)
            for end in (writer, there[1]):
                end.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=4 * PIECE)
    print("127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    target, _, number = sys.argv[1].rpartition(":")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(target, int(number), float(sys.argv[2]), float(sys.argv[3])))
