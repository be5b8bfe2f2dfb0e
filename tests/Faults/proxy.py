"""A TCP proxy that can be told to fail: between a kernel with its broker, and the service that has their sandbox.

It changes nothing of its own accord and never reorders: what goes wrong is what a test asks for.
"""

import asyncio
import contextlib
import socket
import struct
import threading

CHUNK = 64 * 1024
RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time to linger: close() sends RST, what is queued is lost


class Connection:
    """One client's connection and ours to the service behind it."""

    def __init__(self, proxy, client):
        self.proxy = proxy
        self.client = client
        self.service = None
        self.frozen = False  # the peer is gone without a word: nothing passes any more, in either direction
        self.one_way = None  # "down" or "up": that direction alone passes nothing
        self.corrupt = {}  # direction: how many bytes still pass untouched before one is changed
        self.tasks = []
        self.running = None

    async def run(self):
        loop = asyncio.get_running_loop()
        try:
            await self.proxy.open.wait()
            self.service = socket.socket()
            self.service.setblocking(False)
            self.service.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(self.service, self.proxy.target)
            self.tasks = [
                asyncio.create_task(self.pump(self.client, self.service, "up")),
                asyncio.create_task(self.pump(self.service, self.client, "down")),
            ]
            # Both ends may close in their own time; a failure of one direction ends the other.
            await asyncio.wait(self.tasks, return_when=asyncio.FIRST_EXCEPTION)
        except OSError:
            pass  # the service does not answer: the client sees its connection closed
        finally:
            self.close()

    async def pump(self, source, target, direction):
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await loop.sock_recv(source, CHUNK)
            except OSError:
                self.close(reset=True)
                return
            while self.frozen or self.one_way == direction or not self.proxy.open.is_set():
                await asyncio.sleep(0.005)
            if not data:
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_WR)
                return
            if (left := self.corrupt.get(direction)) is not None:
                if left < len(data):
                    data = data[:left] + bytes([data[left] ^ 0x20]) + data[left + 1 :]
                    del self.corrupt[direction]
                    self.proxy.corrupted += 1
                else:
                    self.corrupt[direction] = left - len(data)
            rate = self.proxy.rate
            if rate:
                for at in range(0, len(data), 4096):
                    await self.send(target, data[at : at + 4096])
                    await asyncio.sleep(4096 / rate)
            else:
                if self.proxy.delay:
                    await asyncio.sleep(self.proxy.delay)
                await self.send(target, data)
            self.proxy.passed[direction] += len(data)

    async def send(self, target, data):
        try:
            await asyncio.get_running_loop().sock_sendall(target, data)
        except OSError:
            self.close(reset=True)

    def close(self, reset=False):
        """First whoever waits for a socket, be it to be connected: closed under it, its number would soon be another's."""
        current = asyncio.current_task()
        for task in (*self.tasks, self.running):
            if task is not None and task is not current:
                task.cancel()
        asyncio.get_running_loop().call_soon(self._drop, reset)

    def _drop(self, reset):
        for end in (self.client, self.service):
            if end is not None:
                with contextlib.suppress(OSError):
                    if reset:
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    end.close()
        self.proxy.connections.discard(self)


class FaultProxy:
    """Runs in a thread of its own; its methods may be called from any other."""

    def __init__(self, port):
        self.target = ("127.0.0.1", port)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = set()
        self.passed = {"up": 0, "down": 0}
        self.corrupted = 0
        self.rate = None  # bytes a second, in each direction of each connection
        self.delay = 0.0  # seconds, for each piece
        self.refusing = False
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        ready = threading.Event()
        self.ready = ready
        self.thread.start()
        ready.wait()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._serve())

    async def _serve(self):
        self.open = asyncio.Event()
        self.open.set()
        self.stopping = asyncio.Event()
        self.ready.set()
        accepting = asyncio.create_task(self._accept())
        await self.stopping.wait()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait({accepting, *others}, timeout=2)
        await asyncio.sleep(0)  # the sockets are closed by calls of the loop
        self.listener.close()

    async def _accept(self):
        while True:
            client, _ = await self.loop.sock_accept(self.listener)
            client.setblocking(False)
            connection = Connection(self, client)
            if self.refusing:
                connection.close(reset=True)
                continue
            self.connections.add(connection)
            connection.running = asyncio.create_task(connection.run())  # held: the loop itself would let it go

    def _call(self, action, *arguments):
        done = threading.Event()

        def run():
            action(*arguments)
            done.set()

        self.loop.call_soon_threadsafe(run)
        done.wait(5)

    # --- the faults --------------------------------------------------------------------------------------------------

    def cut(self):
        """Every connection ends, in an orderly way."""
        self._call(lambda: [c.close() for c in list(self.connections)])

    def reset(self):
        """Every connection is reset, as by a proxy that was restarted."""
        self._call(lambda: [c.close(reset=True) for c in list(self.connections)])

    def stall(self, on):
        """While on, nothing passes, and new connections are taken but lead nowhere."""
        self._call(self.open.clear if on else self.open.set)

    def freeze(self):
        """The connections of this moment never pass anything again, and nobody is told."""
        self._call(lambda: [setattr(c, "frozen", True) for c in list(self.connections)])

    def freeze_one_way(self, direction):
        """The same for one direction alone."""
        self._call(lambda: [setattr(c, "one_way", direction) for c in list(self.connections)])

    def refuse(self, on):
        """While on, there is no service: what is connected is reset, new connections are too."""
        self.refusing = on
        if on:
            self.reset()

    def throttle(self, rate):
        """Bytes a second; None for no limit."""
        self._call(lambda: setattr(self, "rate", rate))

    def corrupt(self, direction, after):
        """In each connection of this moment one byte is changed, after so many more."""
        self._call(lambda: [c.corrupt.__setitem__(direction, after) for c in list(self.connections)])

    def close(self):
        self.loop.call_soon_threadsafe(self.stopping.set)
        self.thread.join(5)
