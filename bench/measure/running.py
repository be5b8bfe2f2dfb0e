"""A kernel process as a launcher starts it, and the client on it."""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
import uuid

import kernels
import zmq

from .place import OURS
from .wire import Client, Mismatch


class Running:
    """One kernel of a place. `begin` is the moment before its process was made."""

    def __init__(self, place, kind):
        self.place, self.kind = place, kind
        self.file = place.folder("jrt") / f"kernel-{uuid.uuid4().hex}.json"
        connection = kernels.connection_file(self.file)
        self.log = open(place.logs / f"{self.file.stem}.log", "wb")  # noqa: SIM115 (kept while the kernel runs)
        command = [word.replace("{connection_file}", str(self.file)) for word in place.commands[kind]]
        self.client = Client(connection)
        self.begin = time.perf_counter()
        self.process = subprocess.Popen(
            command, env=place.environment, cwd=place.base / "work", stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True
        )
        self.handle = os.pidfd_open(self.process.pid)
        self.info_seconds = None

    @property
    def is_ours(self):
        return self.kind == OURS

    @property
    def pid(self):
        return self.process.pid

    def ready(self):
        """Until kernel_info is answered and iopub is heard, as every client waits; gives the time of the answer."""
        client = self.client
        pending = client.build("kernel_info_request", {})
        client.shell.send_multipart(pending.frames)
        asked = 1
        answer = client.shell.recv_multipart()
        self.info_seconds = time.perf_counter() - self.begin
        while not client.iopub.poll(50):
            client.shell.send_multipart(client.build("kernel_info_request", {}).frames)
            asked += 1
        for _ in range(asked - 1):
            client.shell.recv_multipart()
        if client.read(answer).content.get("implementation") != "ipython":
            raise Mismatch(f"kernel_info of {self.kind} is not ipython's")
        return self

    def first_cell(self):
        """Runs 1+1 and gives the time from the start of the process to its result."""
        request = self.client.cell("1+1")
        self.client.shell.send_multipart(request.frames)
        parent = request.id.encode()
        while True:
            frames = self.client.iopub.recv_multipart()
            if b'"execute_result"' in frames[-4] and parent in frames[-3]:
                break
        seconds = time.perf_counter() - self.begin
        if self.client.read(frames).content["data"].get("text/plain") != "2":
            raise Mismatch("1+1 is not 2")
        self.client.until_idle(request)
        self.client.kept.append(self.client.shell.recv_multipart())
        self.client.outcome(request)
        return seconds

    def shut_down(self):
        """Asks for the end as clients do, and gives the seconds until the process is gone."""
        request = self.client.build("shutdown_request", {"restart": False})
        begin = time.perf_counter()
        self.client.control.send_multipart(request.frames)
        self.await_exit(30)
        return time.perf_counter() - begin

    def await_exit(self, seconds):
        wait = select.poll()
        wait.register(self.handle, select.POLLIN)
        if not wait.poll(seconds * 1000):
            raise Mismatch(f"{self.kind} did not end within {seconds} s")

    def interrupt(self):
        """As the kernelspec of each says: a signal, or a message."""
        if self.is_ours:
            self.client.control.send_multipart(self.client.build("interrupt_request", {}).frames)
        else:
            os.kill(self.pid, signal.SIGINT)

    def interrupted(self):
        if self.is_ours:
            self.client.control.recv_multipart()

    def words(self):
        """The end of what it printed, for an error's text."""
        self.log.flush()
        return (self.place.logs / f"{self.file.stem}.log").read_text(errors="replace")[-2000:]

    def close(self):
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        os.close(self.handle)
        self.log.close()
        self.file.unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, problem, _):
        if isinstance(problem, (zmq.Again, Mismatch)):
            problem.args = (f"{self.kind}: {problem or 'no answer in time'}\n{self.words()}",)
        self.close()


def free_slot(place, broker, before):
    """Waits until the broker holds one sandbox less than `before`; gives the moment."""
    deadline = time.perf_counter() + 30
    while broker.status()["used"] >= before:
        if time.perf_counter() > deadline:
            raise Mismatch(f"the slot was not free within 30 s: {json.dumps(broker.status())}")
        time.sleep(0.002)
    return time.perf_counter()
