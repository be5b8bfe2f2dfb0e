"""What the outer tests share: the site they run in, a kernel with its client, a client that sees raw frames.

Everything a test starts carries the site's name in its environment or its mounts, so that what it leaves can be found.
"""

import contextlib
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty

import zmq
from jupyter_client import KernelManager

REPOSITORY = Path(__file__).resolve().parents[2]
PLAIN = "python3"
DELIMITER = b"<IDS|MSG>"


class Site:
    """A place of its own for one run: kernelspecs, connection files, the broker and its sandboxes are all in here."""

    def __init__(self, kernel_name):
        # Short, because unix socket paths end at 107 bytes.
        self.base = Path(tempfile.mkdtemp(prefix="ik-e2e-", dir="/tmp"))
        self.name = self.base.name
        self.kernel_name = kernel_name
        self.sandboxed = kernel_name != PLAIN
        self.executable = Path(os.environ.get("IK_TEST_EXECUTABLE", REPOSITORY / "out/interpreter-kernel/interpreter-kernel"))
        self.runtime = self.folder("rt")
        self.environment = {key: value for key, value in os.environ.items() if not re.match(r"E2B_|INTERPRETER_KERNEL_|JUPYTER|IPYTHON|XDG_|JPY_", key)}
        self.environment.update(
            HOME=str(self.folder("home")),
            TMPDIR=str(self.folder("tmp")),
            XDG_RUNTIME_DIR=str(self.folder("xdg")),
            INTERPRETER_KERNEL_RUNTIME_DIR=str(self.runtime),
            INTERPRETER_KERNEL_SPARES="0",  # what is there is what a test has started
            JUPYTER_PATH=str(self.base / "prefix/share/jupyter"),
            JUPYTER_DATA_DIR=str(self.folder("data")),
            JUPYTER_RUNTIME_DIR=str(self.folder("jrt")),
            JUPYTER_CONFIG_DIR=str(self.folder("config")),
            IPYTHONDIR=str(self.folder("ipython")),
            PYDEVD_DISABLE_FILE_VALIDATION="1",
        )
        if root := os.environ.get("IK_TEST_ROOT_FILESYSTEM"):
            self.environment["INTERPRETER_KERNEL_ROOT_FILESYSTEM"] = root
        self.logs = self.folder("logs")
        self._marks = {self.name}

    def folder(self, name):
        path = self.base / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def run(self, *arguments, timeout=60, prefix=(), **environment):
        """The command line of interpreter-kernel, to its end."""
        return subprocess.run(
            [*prefix, str(self.executable), *map(str, arguments)],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def install(self, name="sandbox-python", *arguments):
        done = self.run("install", "--prefix", self.base / "prefix", "--name", name, *arguments)
        assert done.returncode == 0, done.stderr
        return self.base / "prefix/share/jupyter/kernels" / name

    def status(self):
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def used(self):
        return self.status()["used"]

    @property
    def hosts(self):
        """The short names of this site's embedded hosts. As root they keep their files in a folder of the machine, named by a
        digest of their state directory, and so are their cgroups; a host's directory may be gone when its traces are not."""
        for folder in self.runtime.glob("*/"):
            self._marks.add(hashlib.sha256(str(folder).encode()).hexdigest()[:16])
        return self._marks - {self.name}

    @property
    def marks(self):
        """The words by which a process, mount or cgroup of this site is known."""
        return self.hosts | {self.name}

    def remove(self):
        shutil.rmtree(self.base, ignore_errors=True)


# --- processes, as the host sees them --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    command: str
    sandboxed: bool  # it is in a pid namespace that is not ours

    def __str__(self):
        return f"{self.pid} {'(in a sandbox) ' if self.sandboxed else ''}{self.command[:160]}"


def processes_of(site):
    """Every process that carries a mark of the site: in its arguments, its environment, or, in a namespace, its mounts."""
    wanted = [mark.encode() for mark in site.marks]
    ours = {what: os.readlink(f"/proc/self/ns/{what}") for what in ("pid", "mnt")}
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            folder = f"/proc/{entry}"
            command = Path(folder, "cmdline").read_bytes()
            marks = command + b"\n" + Path(folder, "environ").read_bytes()
            if os.readlink(f"{folder}/ns/mnt") != ours["mnt"]:
                marks += Path(folder, "mountinfo").read_bytes()
            if any(mark in marks for mark in wanted):
                parent = int(Path(folder, "stat").read_text().rpartition(")")[2].split()[1])
                sandboxed = os.readlink(f"{folder}/ns/pid") != ours["pid"]
                found.append(Process(int(entry), parent, command.replace(b"\0", b" ").decode(errors="replace"), sandboxed))
    return found


def sandboxed_processes(site):
    return [process for process in processes_of(site) if process.sandboxed]


def brokers(site):
    return [process for process in processes_of(site) if re.search(r"interpreter-kernel broker\b", process.command)]


def patience(seconds):
    """A time limit for this moment: longer while the machine has far more to do than it has processors, and on CI's machines, whose
    processors are lent to others for seconds. What has to be quick is measured by commands of their own (bench/, scripts/leaks.sh)."""
    load = os.getloadavg()[0] / os.cpu_count()
    return seconds * max(load if load > 2 else 1, 4 if os.environ.get("CI") else 1)


def eventually(check, seconds, every=0.05):
    """Waits until check() is true, and returns how long that took; fails after `seconds`."""
    seconds = patience(seconds)
    since = time.monotonic()
    while not check():
        assert time.monotonic() - since < seconds, f"not within {seconds} s: {check.__doc__ or getattr(check, '__name__', check)}"
        time.sleep(every)
    return time.monotonic() - since


# --- a kernel and its ordinary client --------------------------------------------------------------------------------


@dataclass
class Result:
    """What one cell gave: the shell's reply and the messages on iopub, busy and idle left out."""

    reply: dict
    messages: list = field(default_factory=list)

    @property
    def status(self):
        return self.reply["content"]["status"]

    def stream(self, name):
        return "".join(m["content"]["text"] for m in self.messages if m["msg_type"] == "stream" and m["content"]["name"] == name)

    @property
    def stdout(self):
        return self.stream("stdout")

    @property
    def error(self):
        """Everything that the reader of a failed cell sees of the failure."""
        seen = [self.reply["content"]] + [m["content"] for m in self.messages if m["msg_type"] == "error"]
        return "\n".join(f"{c.get('ename')}: {c.get('evalue')}\n" + "\n".join(c.get("traceback", [])) for c in seen if "ename" in c)


class Kernel:
    """A kernel process started the way every Jupyter client starts one, with a blocking client on it."""

    def __init__(self, site, name=None, log=None, arguments=(), wait=True, connection_file=None, **environment):
        self.site = site
        self.log = Path(log or site.logs / f"kernel-{uuid.uuid4().hex[:8]}.log")
        options = {} if connection_file is None else {"connection_file": str(connection_file)}
        self.manager = KernelManager(kernel_name=name or site.kernel_name, **options)
        self.client = None
        self.log_file = open(self.log, "ab")  # noqa: SIM115 (a restart hands it to the next process)
        self.manager.start_kernel(
            env={**site.environment, **environment},
            extra_arguments=list(arguments),
            stdout=self.log_file,
            stderr=self.log_file,
            cwd=str(site.folder("work")),
        )
        if wait:
            self.connect()

    def connect(self, timeout=60):
        if self.client is not None:
            self.client.stop_channels()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=timeout)
        return self.client

    @property
    def process(self):
        return self.manager.provisioner.process

    @property
    def connection(self):
        return json.loads(Path(self.manager.connection_file).read_text())

    @property
    def printed(self):
        return self.log.read_text(errors="replace")

    def execute(self, code, timeout=60, **options):
        """Runs one cell. One that is aborted is sent again for a while: ipykernel goes on aborting for a moment after a failed cell."""
        options.setdefault("allow_stdin", False)
        deadline = time.monotonic() + 2
        while (result := self.result(self.client.execute(code, **options), timeout)).status == "aborted" and time.monotonic() < deadline:
            pass
        return result

    def begin(self, code, timeout=60):
        """Sends a cell and returns its request once it runs."""
        request = self.client.execute(code, allow_stdin=False)
        deadline = time.monotonic() + timeout
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.01, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") == request and message["msg_type"] == "execute_input":
                time.sleep(0.3)  # the kernel says so just before it runs the code
                return request

    def result(self, request, timeout=60):
        """The reply to a request and its outputs, up to both the reply and idle."""
        deadline = time.monotonic() + timeout
        result, idle = Result(None), False
        while result.reply is None or not idle:
            left = deadline - time.monotonic()
            assert left > 0, f"no end within {timeout} s (reply: {result.reply}, idle: {idle}, {len(result.messages)} messages)\n{self.printed[-2000:]}"
            if not idle:
                with contextlib.suppress(Empty):
                    message = self.client.get_iopub_msg(timeout=min(left, 0.2))
                    if message["parent_header"].get("msg_id") == request:
                        if message["msg_type"] == "status":
                            idle = message["content"]["execution_state"] == "idle"
                        else:
                            result.messages.append(message)
            if result.reply is None:
                with contextlib.suppress(Empty):
                    message = self.client.get_shell_msg(timeout=0 if not idle else min(left, 0.2))
                    if message["parent_header"].get("msg_id") == request:
                        result.reply = message
        return result

    def ask(self, request, timeout=30):
        """The shell's reply to a request that is not a cell."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.client.get_shell_msg(timeout=max(0.01, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") == request:
                return message

    def value(self, expression, **options):
        """Evaluates an expression in the kernel, whose value must have a literal form, and returns it here."""
        result = self.execute(f"print(repr({expression}))", **options)
        assert result.status == "ok", result.error
        return eval(result.stdout, {"__builtins__": {}}, {"nan": float("nan")})  # noqa: S307 (the test's own cell)

    def wait_exit(self, timeout=10):
        return self.process.wait(timeout)

    def close(self):
        """The rough end for whatever a test left running."""
        if self.client is not None:
            self.client.stop_channels()
        with contextlib.suppress(Exception):
            self.manager.shutdown_kernel(now=True)
        with contextlib.suppress(OSError):
            os.unlink(self.manager.connection_file)
        self.log_file.close()


# --- a client that sees the frames -----------------------------------------------------------------------------------


@dataclass
class Frames:
    """One message as it was on the wire."""

    identities: list
    signature: bytes
    parts: list  # header, parent header, metadata, content: as bytes
    buffers: list

    @property
    def header(self):
        return json.loads(self.parts[0])

    @property
    def parent(self):
        return json.loads(self.parts[1])

    @property
    def content(self):
        return json.loads(self.parts[3])

    @property
    def type(self):
        return self.header["msg_type"]

    @property
    def digest(self):
        return digest(self.parts)


def digest(parts):
    """A digest of the four frames; the recorder in the kernel makes the same."""
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + bytes(part) for part in parts)).hexdigest()


class WireClient:
    """A Jupyter client written down to the frames, with one identity for its three DEALERs as real clients have."""

    def __init__(self, connection, identity=None, receive_limit=0, subscribe=True):
        self.connection = connection
        self.session = uuid.uuid4().hex
        self.identity = identity or self.session.encode()
        self.context = zmq.Context()
        self.sockets = {}
        for channel in ("shell", "control", "stdin", "iopub"):
            if channel == "iopub" and not subscribe:
                continue
            socket = self.context.socket(zmq.SUB if channel == "iopub" else zmq.DEALER)
            socket.linger = 0
            socket.rcvhwm = receive_limit if channel == "iopub" else 0
            if channel == "iopub":
                socket.subscribe(b"")
            else:
                socket.identity = self.identity
            socket.connect(self.address(channel))
            self.sockets[channel] = socket

    def address(self, channel):
        return f"{self.connection['transport']}://{self.connection['ip']}:{self.connection[channel + '_port']}"

    def sign(self, parts, key=None):
        key = self.connection["key"].encode() if key is None else key
        return hmac.new(key, b"".join(parts), "sha256").hexdigest().encode() if key else b""

    def header(self, message_type):
        return {
            "msg_id": uuid.uuid4().hex,
            "session": self.session,
            "username": "wire",
            "date": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()),
            "msg_type": message_type,
            "version": "5.3",
        }

    def send(self, channel, message_type, content, buffers=(), parent=None):
        header = self.header(message_type)
        self.send_parts(channel, [json.dumps(part).encode() for part in (header, parent or {}, {}, content)], buffers)
        return header["msg_id"]

    def send_parts(self, channel, parts, buffers=()):
        self.sockets[channel].send_multipart([DELIMITER, self.sign(parts), *parts, *buffers])

    def execute(self, code, **content):
        request = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
        return self.send("shell", "execute_request", {**request, **content})

    def receive(self, channel, timeout=20):
        """The next message, its signature checked; None when there is none in time."""
        if not self.sockets[channel].poll(timeout * 1000):
            return None
        raw = self.sockets[channel].recv_multipart()
        at = raw.index(DELIMITER)
        frames = Frames(raw[:at], raw[at + 1], raw[at + 2 : at + 6], raw[at + 6 :])
        assert len(frames.parts) == 4, raw
        assert frames.signature == self.sign(frames.parts), "a bad signature came from the kernel"
        return frames

    def reply(self, request, channel="shell", timeout=60):
        """The reply to a request; those to others that come before it are passed over."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            frames = self.receive(channel, left)
            if frames is not None and frames.parent.get("msg_id") == request:
                return frames
        raise AssertionError(f"no reply to {request} on {channel} within {timeout} s")

    def replies(self, count, timeout=60):
        """The next replies on shell in the order in which they arrive."""
        found = [self.receive("shell", timeout) for _ in range(count)]
        assert None not in found, f"only {found.index(None)} of {count} replies within {timeout} s"
        return found

    def began(self, request, timeout=60):
        """Returns once a cell runs."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            frames = self.receive("iopub", left)
            if frames is not None and frames.parent.get("msg_id") == request and frames.type == "execute_input":
                time.sleep(0.3)  # the kernel says so just before it runs the code
                return
        raise AssertionError(f"{request} did not begin within {timeout} s")

    def outputs(self, request, timeout=60):
        """The iopub messages of a request up to and with idle."""
        deadline, found = time.monotonic() + timeout, []
        while (left := deadline - time.monotonic()) > 0:
            frames = self.receive("iopub", left)
            if frames is not None and frames.parent.get("msg_id") == request:
                found.append(frames)
                if frames.type == "status" and frames.content["execution_state"] == "idle":
                    return found
        raise AssertionError(f"no idle for {request} within {timeout} s, {len(found)} messages")

    def listen(self, timeout=20):
        """Returns once this client's subscription is known to the kernel: an idle kernel's answer arrives on iopub too."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            request = self.send("shell", "kernel_info_request", {})
            self.reply(request, timeout=timeout)
            until = time.monotonic() + 0.5
            while (left := until - time.monotonic()) > 0:
                frames = self.receive("iopub", left)
                if frames is not None and frames.parent.get("msg_id") == request and frames.content.get("execution_state") == "idle":
                    return self
        raise AssertionError("nothing arrives on iopub")

    def close(self):
        self.context.destroy(linger=0)


# --- small things ----------------------------------------------------------------------------------------------------


def python_outside(code, *arguments, timeout=60, environment=None):
    """Runs the code of a cell on the host: the positive control of an isolation test."""
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=timeout, env=environment)


def free_ports(count):
    context = zmq.Context()
    sockets = [context.socket(zmq.REP) for _ in range(count)]
    ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in sockets]
    context.destroy(linger=0)
    return ports


def connection_file(path, **changes):
    """Writes a connection file as a Jupyter client would, with changes; a value of None leaves the key out."""
    ports = free_ports(5)
    content = {f"{channel}_port": port for channel, port in zip(("shell", "iopub", "stdin", "control", "hb"), ports)}
    content.update(ip="127.0.0.1", transport="tcp", key=uuid.uuid4().hex, signature_scheme="hmac-sha256", kernel_name="")
    content.update(changes)
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    path.chmod(0o600)
    return content


def kill(pid, number=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
