"""Jupyter kernels: finding one for a language, starting it, and speaking its protocol over ZeroMQ (pyzmq, nothing else).

zmq is imported only when a kernel is connected to, so that the kernel's own start and that import run side by side.
"""

import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

DELIMITER = b"<IDS|MSG>"
LANGUAGES = {"js": "javascript", "ts": "typescript", "python3": "python", "py": "python"}
START_PATIENCE = 60.0
LAST_WORDS = 4096
MAX_QUEUED = 100_000            # messages that wait for a slow client, in this process's memory


class KernelError(Exception):
    """The kernel can't be started; the text says why and what would help."""


def normal_language(name):
    name = name.lower()
    return LANGUAGES.get(name, name)


def kernel_directories():
    """Jupyter's search path (jupyter_core/paths.py), as far as a sandbox has it."""
    places = [p for p in os.environ.get("JUPYTER_PATH", "").split(os.pathsep) if p]
    places += [os.path.expanduser("~/.local/share/jupyter"), os.path.join(sys.prefix, "share", "jupyter"),
               "/usr/local/share/jupyter", "/usr/share/jupyter"]
    return [os.path.join(place, "kernels") for place in dict.fromkeys(places)]


def find_kernelspec(language):
    """(kernel.json as a dict, its directory) of the first kernel for a language."""
    found = set()
    for directory in kernel_directories():
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            place = os.path.join(directory, name)
            try:
                with open(os.path.join(place, "kernel.json"), encoding="utf-8") as file:
                    spec = json.load(file)
                argv, speaks = spec["argv"], normal_language(str(spec.get("language") or name))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
            if isinstance(argv, list) and argv and shutil.which(str(argv[0])):
                found.add(speaks)
                if speaks == language:
                    return spec, place
    if language == "python":    # as jupyter_client does for its native kernel
        return {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]}, ""
    raise KernelError("there is no kernel for the language '%s' in this sandbox; it has: %s" % (language, ", ".join(sorted(found | {"python"}))))


def free_ports(count):
    """Held together until all are known, so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [sock.getsockname()[1] for sock in held]
    finally:
        for sock in held:
            sock.close()


class Kernel:
    """One kernel process, in a session of its own. Its sockets belong to whoever holds the turn of its context."""

    def __init__(self, language, cwd):
        spec, resources = find_kernelspec(language)
        self.by_message = str(spec.get("interrupt_mode", "")).lower() == "message"
        self.session, self.key = os.urandom(16).hex(), os.urandom(32).hex()
        self.ports = free_ports(5)
        self.connection_file = "/run/ik/kernel-%s.json" % os.urandom(8).hex()
        self.sequence, self.why_ended, self.tail, self.context = 0, None, bytearray(), None
        names = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
        with open(os.open(self.connection_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(dict(zip(names, self.ports), ip="127.0.0.1", transport="tcp", key=self.key, signature_scheme="hmac-sha256", kernel_name=""), file)
        replaced = {"{connection_file}": self.connection_file, "{resource_dir}": resources, "{prefix}": sys.prefix}
        argv = []
        for word in spec["argv"]:
            for name, value in replaced.items():
                word = word.replace(name, value)
            argv.append(word)
        if argv[0] in ("python", "python3"):
            argv[0] = sys.executable
        if any(word in ("ipykernel", "ipykernel_launcher") for word in argv):
            argv.append("--HistoryManager.hist_file=:memory:")
        environ = dict(os.environ, JPY_PARENT_PID=str(os.getpid()), PYDEVD_DISABLE_FILE_VALIDATION="1")
        environ.update({k: v for k, v in (spec.get("env") or {}).items() if isinstance(v, str)})
        try:
            self.process = subprocess.Popen(
                argv, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as error:
            os.unlink(self.connection_file)
            raise KernelError("the kernel can't be started: %s" % error) from None
        self.pidfd = os.pidfd_open(self.process.pid)
        threading.Thread(target=self.drain, daemon=True).start()

    def drain(self):
        """Takes what the process writes outside of its messages; the end is kept for the day it dies."""
        with self.process.stdout as output:
            while data := output.read1(65536):
                self.tail += data
                del self.tail[:-LAST_WORDS]

    def last_words(self):
        text = self.tail.decode("utf-8", "replace").strip()
        return ": " + text if text else ""

    def alive(self):
        return self.process.poll() is None

    def connect(self):
        """Returns when the kernel serves and its published messages arrive here. Once for each kernel."""
        if self.context is not None:
            return
        try:
            self.open_sockets()
            self.wait_until_it_serves()
        except ImportError:
            self.kill("start")
            raise KernelError("this template has no pyzmq; use one with ipykernel and pyzmq, such as code-interpreter-v1") from None
        except KernelError:
            self.kill("start")
            raise

    def open_sockets(self):
        import zmq
        self.context = zmq.Context()
        self.shell, self.iopub, self.control = (self.context.socket(kind) for kind in (zmq.DEALER, zmq.SUB, zmq.DEALER))
        self.iopub.set(zmq.SUBSCRIBE, b"")
        for sock, port in ((self.shell, self.ports[0]), (self.iopub, self.ports[1]), (self.control, self.ports[3])):
            sock.set(zmq.LINGER, 0)
            sock.set(zmq.RCVHWM, MAX_QUEUED)
            sock.set(zmq.RECONNECT_IVL, 10)     # ms, until it binds; the default 100 would show in every start
            sock.connect("tcp://127.0.0.1:%d" % port)

    def wait_until_it_serves(self):
        deadline = time.monotonic() + START_PATIENCE
        self.request(self.shell, "kernel_info_request", {})
        replied = published = False
        while not (replied and published):
            if not self.alive():
                raise KernelError("the kernel ended while it started%s" % self.last_words())
            if time.monotonic() > deadline:
                raise KernelError("the kernel did not answer within %.0f s%s" % (START_PATIENCE, self.last_words()))
            ready = self.poll({self.shell: 1, self.iopub: 1, self.pidfd: 1}, 0.1)
            if self.shell in ready:
                replied = self.receive(self.shell) is not None or replied
            if self.iopub in ready:
                published = self.receive(self.iopub) is not None or published
            if not ready and replied:
                self.request(self.shell, "kernel_info_request", {})     # the subscription was not in force yet

    @staticmethod
    def poll(what, seconds):
        import zmq
        poller = zmq.Poller()
        for item in what:
            poller.register(item, zmq.POLLIN)
        return dict(poller.poll(int(seconds * 1000)))

    def request(self, sock, kind, content):
        """Sends a request and gives its id."""
        self.sequence += 1
        identity = "%s-%d" % (self.session, self.sequence)
        header = {"msg_id": identity, "msg_type": kind, "session": self.session, "username": "user",
                  "date": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()), "version": "5.3"}
        frames = [json.dumps(part).encode() for part in (header, {}, {}, content)]
        sock.send_multipart([DELIMITER, self.sign(frames), *frames])
        return identity

    def sign(self, frames):
        mac = hmac.new(self.key.encode(), digestmod=hashlib.sha256)
        for frame in frames:
            mac.update(frame)
        return mac.hexdigest().encode()

    def receive(self, sock):
        """(type, id of the request it belongs to, content, date), or None when nothing is there or it is no message."""
        import zmq
        try:
            frames = sock.recv_multipart(zmq.NOBLOCK)
            at = frames.index(DELIMITER)
            if not hmac.compare_digest(frames[at + 1], self.sign(frames[at + 2:at + 6])):
                return None
            header, parent, content = (json.loads(frames[at + n]) for n in (2, 3, 5))
            return header["msg_type"], parent.get("msg_id"), content, str(header.get("date", ""))
        except (zmq.Again, ValueError, IndexError, KeyError, TypeError, AttributeError):
            return None

    def interrupt(self):
        if self.by_message:
            self.request(self.control, "interrupt_request", {})
            return
        try:
            os.killpg(self.process.pid, signal.SIGINT)
        except ProcessLookupError:
            return          # it ended this moment

    def kill(self, why):
        self.why_ended = self.why_ended or why
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def close(self):
        """After kill, by who holds the turn."""
        self.process.wait()
        os.close(self.pidfd)
        if self.context is not None:
            self.context.destroy(linger=0)
        try:
            os.unlink(self.connection_file)
        except FileNotFoundError:
            return          # ipykernel removes it when it ends well
