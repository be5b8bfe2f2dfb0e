"""The relay: a small daemon in the sandbox that owns the Jupyter kernel and outlives every connection to it.

    bridge <== envd ==> attach (hands over its stdin and stdout, then only waits)
                          |  unix socket, SCM_RIGHTS
                        serve (this daemon) <== ZeroMQ ==> kernel

    relay.py attach --dir D [--serve]   connect this process's stdin and stdout to the daemon, starting it if need be
    relay.py serve  --dir D             start the daemon alone; prints {"relay":1,"pid":n} once its socket listens
                    [--kernel NAME]     with a kernel for the first bridge that wants its like; prints once that answers

Python >= 3.9 and pyzmq, nothing else. One thread, one loop. The frames on the link are in docs/relay-protocol.md.
Three promises carry the design:
  * every message of the kernel reaches the bridge once and in order, however often the link is cut: frames are numbered,
    kept until acknowledged, sent again after a new HELLO, and dropped by the receiver when it has them already;
  * ZeroMQ is always read, so the kernel never loses output: what can't leave waits in memory, then in a file;
  * a shell reply leaves after the iopub messages of its request, up to `idle`.

Exit codes of attach: 0 told to go (another attach came, or the kernel's relay was asked to exit), 2 wrong usage, 3 the bridge
sent garbage, 4 the daemon is gone, 5 no daemon listens. Of serve: 6 the kernel did not start.
"""

import os
import sys

# attach must be up in milliseconds, so that only these two are imported here; `import socket` alone would double its time.
# What the daemon needs comes in import_for_daemon.

VERSION = 1
HELLO, ACK, PING, PONG, BULK, BULK_PART, URGENT, COMMAND, EVENT, NOTICE = range(1, 11)
SHELL, CONTROL, STDIN, IOPUB, INTERRUPT = range(1, 6)

KIB, MIB = 1 << 10, 1 << 20
FRAME_OVERHEAD = 1 + 8 + 4                  # kind, number, checksum
MAX_PAYLOAD = MIB
PIECE = 256 * KIB                           # a message leaves in pieces, so that urgent frames can go between
MAX_MESSAGE = 1 << 30
ACK_FRAMES, ACK_BYTES, ACK_DELAY = 64, 256 * KIB, 0.05
BATCH = 64 * KIB                            # bytes per write, unless one frame has more
LARGE = 64 * KIB                            # a part of a message that is not copied where it need not be
FEW = 64                                    # parts of a write; above that they are joined
UNCHECKED = bytes(4)                        # in place of a checksum
SOCKET_PATH = 107 + len(".json") - len("-5")     # of a connection file whose sockets' names still fit
F_SETPIPE_SZ = 1031                         # fcntl knows its name from Python 3.10 on
HOLD_REPLY = 3.0                            # seconds a shell reply waits for its idle
HOLD_QUESTION = 0.05                        # and a question of the kernel for the text before it; nothing marks its end
HOLD_INTERRUPT = 0.05                       # an interrupt that a cell comes too late for; kernels tell of a cell just before they run it
DELIMITER = b"<IDS|MSG>"
READ, WRITE = 1, 2                          # zmq.POLLIN, zmq.POLLOUT
GO_REPLACED, GO_GARBAGE = b"r", b"g"        # what attach is told before its connection is closed
KERNEL_ANSWERS = b"kernel"                  # what serve is told by the daemon it started


# ---------------------------------------------------------------------------------------------------------------- attach

def main(arguments):
    command, options = parse(arguments)
    try:
        if command == "attach":
            return attach(options)
        if command == "serve":
            listener, pid = daemon_socket(options, connect=False)
            answers = True
            if listener is not None:
                pid, answers = start_daemon(listener, options)
            os.write(1, b'{"relay":1,"pid":%d}\n' % pid)
            return 0 if answers else 6
    except OSError as error:
        sys.stderr.write("relay: %s\n" % error)
        return 1
    return 2


def parse(arguments):
    """By hand: argparse takes longer to import than attach takes to run."""
    options = {"dir": None, "serve": False, "foreground": False, "kernel": None,
               "spool-memory": 16 * MIB, "spool-file": 1 << 30, "window": 4 * MIB}
    command = arguments[0] if arguments else None
    rest = iter(arguments[1:])
    for word in rest:
        name = word[2:]
        if not word.startswith("--") or name not in options:
            command = None
        elif isinstance(options[name], bool):
            options[name] = True
        else:
            value = next(rest, None)
            if isinstance(options[name], int):
                value = int(value) if value is not None and value.isdecimal() else None
            if value is None:
                command = None
            options[name] = value
    if command not in ("attach", "serve") or not options["dir"]:
        sys.stderr.write("usage: relay.py attach|serve --dir D [--serve] [--kernel NAME] [--spool-memory BYTES] [--spool-file BYTES] [--window BYTES]\n")
        return None, options
    options["dir"] = os.path.abspath(options["dir"])
    return command, options


def attach(options):
    import struct

    import _socket
    take_connection()
    connection, _ = daemon_socket(options, connect=True)
    if connection is None:
        sys.stderr.write("relay: no daemon listens in %s\n" % options["dir"])
        return 5
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("2i", 0, 1))
    try:
        connection.sendmsg([b"A"], [rights])
        told = connection.recv(1)
    except OSError:
        told = b""
    return {GO_REPLACED: 0, GO_GARBAGE: 3}.get(told, 4)


def take_connection():
    """Where stdin is a socket that listens, the bridge connects to it itself, with nothing in between: that connection then takes
    the place of stdin and stdout."""
    import _socket
    try:
        listener = _socket.socket(fileno=0)
    except OSError:
        return                              # a pipe, as with envd
    if listener.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
        taken, _ = listener._accept()
        os.dup2(taken, 0)
        os.dup2(taken, 1)
        os.close(taken)
    listener.detach()


def daemon_socket(options, connect):
    """For attach (connect): a connection to the daemon, or None. For serve: a new listener, or None with the pid of the
    daemon that listens already. A daemon lives exactly as long as its listening socket, so that a refused connection
    means there is none; the lock lets only one of several racing processes replace it."""
    import fcntl
    import struct

    import _socket
    directory = options["dir"]
    path = os.path.join(directory, "relay.sock")

    def try_connect():
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.connect(path)
            return connection
        except OSError:
            connection.close()
            return None

    if connect:
        connection = try_connect()
        if connection is not None or not options["serve"]:
            return connection, None
    os.makedirs(directory, 0o700, exist_ok=True)
    state = os.lstat(directory)
    is_open = state.st_mode & 0o077 != 0
    if state.st_uid != os.getuid() or state.st_mode & 0o170000 != 0o040000 or is_open and state.st_mode & 0o1000:
        raise OSError("%s must be a directory of this user, for the relay alone" % directory)
    if is_open:
        os.chmod(directory, 0o700)          # an upload may have made it
    lock = os.open(os.path.join(directory, "relay.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        connection = try_connect()
        if connection is None:
            if os.path.lexists(path):
                os.unlink(path)
            listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            listener.bind(path)
            listener.listen(64)
            if not connect:
                return listener, None
            # It listens before the daemon runs: the connection below waits in the queue, nobody polls.
            start_daemon(listener, options)
            return try_connect(), None
        if connect:
            return connection, None
        peer = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        connection.close()
        return None, struct.unpack("3i", peer)[0]
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)    # explicitly, for the daemon has inherited the same open file
        os.close(lock)


def start_daemon(listener, options):
    """Forks the daemon out of this process's tree, session and stdio. Returns its pid, and whether the kernel it was to start
    answers."""
    if options["foreground"]:
        os.write(1, b'{"relay":1,"pid":%d}\n' % os.getpid())
        raise SystemExit(run_daemon(listener, options, None))
    told, tell = os.pipe()
    child = os.fork()
    if child:
        os.close(tell)
        listener.close()                    # the daemon alone holds it: it tells that the daemon lives
        os.waitpid(child, 0)
        words = b""
        while data := os.read(told, 64):    # to the end: the daemon closes it when it has said all
            words += data
        os.close(told)
        pid, _, kernel = words.partition(b"\n")
        return int(pid or 0), kernel == KERNEL_ANSWERS or not options["kernel"]
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        listener.listen(64)                 # again, so that SO_PEERCRED names this process and not the one that bound it
        os.write(tell, b"%d\n" % os.getpid())
        os.close(told)
        if not options["kernel"]:
            os.close(tell)
            tell = None
        log = os.open(os.path.join(options["dir"], "relay.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDWR)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        os.close(log)
        os.close(null)
        code = run_daemon(listener, options, tell)
    except BaseException:
        import traceback
        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)


def run_daemon(listener, options, tell):
    load_daemon()
    import_for_daemon()
    return Relay(socket.socket(fileno=listener.detach()), options, tell).run()


def load_daemon():
    """The bridge runs only the head of this file (RelayFile.cs): compiling all of it would take attach as long again as it takes now."""
    if "Relay" not in globals():
        with open(__file__) as file:
            head, mark, rest = file.read().partition("\n# ==== the daemon")
        exec(compile("\n" * (head.count("\n") + 1) + mark.strip() + rest, __file__, "exec"), globals())


def import_for_daemon():
    global collections, fcntl, json, re, select, signal, site, socket, struct, time, zlib
    import collections
    import fcntl
    import json
    import re
    import select
    import signal
    import site
    import socket
    import struct
    import time
    import zlib
    if sys.flags.no_site:                   # python3 -S halves attach's start; the daemon needs site-packages after all
        site.main()


def import_for_kernel():
    """When its process is already starting: the two take their time side by side."""
    global hashlib, hmac, zmq
    import hashlib
    import hmac

    import zmq


# ==== the daemon: nothing below is needed to attach

# ------------------------------------------------------------------------------------------------------ frames and lanes

class LinkError(Exception):
    """What came over an attachment can't be ours. The attachment is closed; the daemon lives on."""


def frame_parts(kind, number, *parts, checked=True):
    """u32 length of what follows, u8 kind, u64 number, payload (its parts joined), u32 CRC-32 of all before it, or anything where
    nobody checks it: what to write, one after the other."""
    size = sum(map(len, parts))
    head = struct.pack(">IBQ", size + FRAME_OVERHEAD, kind, number)
    if not checked:
        return head, *parts, UNCHECKED
    checksum = zlib.crc32(head)
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return head, *parts, struct.pack(">I", checksum)


def encode(kind, number, *parts):
    return b"".join(frame_parts(kind, number, *parts))


class Inbox:
    """What came over an attachment and was not understood yet, in memory that stays where it is."""

    def __init__(self):
        self.bytes = memoryview(bytearray(MAX_PAYLOAD + FRAME_OVERHEAD + 4 + LARGE))    # what is never filled takes no memory
        self.start = self.end = 0
        self.checked = True

    def read(self, fd, most=PIECE):
        """How many bytes came; payloads of before are not valid any more."""
        if self.start == self.end:
            self.start = self.end = 0
        elif len(self.bytes) - self.end < LARGE:
            self.bytes[:self.end - self.start] = self.bytes[self.start:self.end]
            self.start, self.end = 0, self.end - self.start
        count = os.readv(fd, (self.bytes[self.end:self.end + most],))
        self.end += count
        return count

    def take_frames(self):
        """The whole frames: (kind, number, payload), the payload as a view."""
        while self.end - self.start >= 4:
            length, = struct.unpack_from(">I", self.bytes, self.start)
            if not FRAME_OVERHEAD <= length <= FRAME_OVERHEAD + MAX_PAYLOAD:
                raise LinkError("a frame of %d bytes" % length)
            start, end = self.start, self.start + 4 + length
            if end > self.end:
                return
            if self.checked and zlib.crc32(self.bytes[start:end - 4]) != struct.unpack_from(">I", self.bytes, end - 4)[0]:
                raise LinkError("a frame with a wrong checksum")
            self.start = end
            yield *struct.unpack_from(">BQ", self.bytes, start + 4), self.bytes[start + 13:end - 4]


def encode_message(channel, frames):
    """u8 channel, u16 frame count, then per frame u32 length and its bytes: in pieces, each as the list of its parts. They
    are views of the frames, because a message of 100 MB must not exist a second time as a whole."""
    parts = [struct.pack(">BH", channel, len(frames))]
    for frame in frames:
        parts.append(struct.pack(">I", len(frame)))
        parts.append(frame)
    if sum(map(len, parts)) <= PIECE:
        yield parts
        return
    piece, size = [], 0
    for part in parts:
        view = memoryview(part)
        while size + len(view) > PIECE:
            piece.append(view[:PIECE - size])
            view = view[PIECE - size:]
            yield piece
            piece, size = [], 0
        piece.append(view)
        size += len(view)
    yield piece


def decode_message(payload):
    """(channel, frames): bytes, but large ones are views of the payload, which must stay as it is."""
    if len(payload) < 3:
        raise ValueError("a message of %d bytes" % len(payload))
    channel, count = struct.unpack_from(">BH", payload)
    view = memoryview(payload)
    frames, at = [], 3
    for _ in range(count):
        if len(payload) - at < 4:
            raise ValueError("a message is cut off")
        length, = struct.unpack_from(">I", payload, at)
        at += 4
        if len(payload) - at < length:
            raise ValueError("a message frame is cut off")
        frames.append(view[at:at + length] if length >= PIECE else bytes(view[at:at + length]))
        at += length
    if at != len(payload):
        raise ValueError("a message has bytes left over")
    return channel, frames


class Spool:
    """Where frames wait for their acknowledgement: memory first, then files without a name. A file goes away with the
    last frame in it, because only its frames refer to it."""

    SEGMENT = 32 * MIB

    def __init__(self, directory, memory_limit, file_limit):
        self.directory, self.memory_limit, self.limit = directory, memory_limit, memory_limit + file_limit
        self.in_memory = self.in_files = 0
        self.segment, self.end, self.disk_failed, self.overfull = None, 0, False, False

    def store(self, frame, size, keep=False):
        """frame: what encode takes. Returns what stands for it until it is released: the same, or (file, offset)."""
        if not keep and self.in_memory + size > self.memory_limit and not self.disk_failed and self.limit > self.memory_limit:
            try:
                data = encode(*frame)
                if self.segment is None or self.end >= self.SEGMENT:
                    path = os.path.join(self.directory, "spool-%s" % os.urandom(8).hex())
                    self.segment, self.end = open(path, "x+b", buffering=0), 0
                    os.unlink(path)
                if os.pwrite(self.segment.fileno(), data, self.end) != size:
                    raise OSError("a short write")
                place = (self.segment, self.end)
                self.end += size
                self.in_files += size
                return place
            except OSError as error:
                self.disk_failed = True     # tried again when there is room; until then text over the memory limit is dropped
                log("the spool can't be written: %s" % error)
        self.in_memory += size
        return frame

    @staticmethod
    def is_in_memory(place):
        return isinstance(place[0], int)

    def load(self, place, size, checked):
        """The frame, as what to write one after the other."""
        if self.is_in_memory(place):
            return frame_parts(*place, checked=checked)
        frame = os.pread(place[0].fileno(), size, place[1])
        if len(frame) != size:
            raise OSError("the spool is damaged")
        return (frame,)

    def release(self, place, size):
        if self.is_in_memory(place):
            self.in_memory -= size
        else:
            self.in_files -= size
        if not self.in_files and self.segment is not None:
            self.segment, self.end = None, 0
        if self.disk_failed and not self.in_files and self.in_memory * 2 <= self.memory_limit:
            self.disk_failed = False

    def full(self):
        """Above its bound, until an eighth of it is free again: one gap in the text, not a thousand."""
        limit = self.memory_limit if self.disk_failed else self.limit
        used = self.in_memory + self.in_files
        self.overfull = used > (limit * 7 // 8 if self.overfull else limit)
        return self.overfull


class Lane:
    """One direction's numbered frames: not sent yet, or sent and not acknowledged."""

    def __init__(self, spool):
        self.spool = spool
        self.unsent, self.sent = collections.deque(), collections.deque()    # (number, size, place)
        self.last = self.acknowledged = self.in_flight = 0

    def put(self, kind, *parts, keep=False):
        """The frame is made when it leaves: until then, and until it is acknowledged, it is views of its message."""
        self.last += 1
        size = FRAME_OVERHEAD + 4 + sum(map(len, parts))
        self.unsent.append((self.last, size, self.spool.store((kind, self.last, *parts), size, keep)))

    def take(self, checked):
        """The next frame, as what to write one after the other, and its size."""
        entry = self.unsent.popleft()
        frame = self.spool.load(entry[2], entry[1], checked)
        self.sent.append(entry)
        self.in_flight += entry[1]
        return frame, entry[1]

    def waiting(self):
        """Bytes that were not sent yet."""
        return self.spool.in_memory + self.spool.in_files - self.in_flight

    def acknowledge(self, number):
        if number > self.last:
            raise LinkError("frame %d acknowledged, of %d" % (number, self.last))
        self.acknowledged = max(self.acknowledged, number)
        while self.sent and self.sent[0][0] <= number:
            _, size, place = self.sent.popleft()
            self.in_flight -= size
            self.spool.release(place, size)

    def resume(self, received):
        """A new attachment: all that the other side has not received goes again. What it has received but not yet
        acknowledged stays in flight, for it may not have room for more."""
        if not self.acknowledged <= received <= self.last:
            raise LinkError("frame %d said to be received, %d acknowledged, %d sent" % (received, self.acknowledged, self.last))
        while self.sent and self.sent[-1][0] > received:
            entry = self.sent.pop()
            self.in_flight -= entry[1]
            self.unsent.appendleft(entry)
        while self.unsent and self.unsent[0][0] <= received:
            entry = self.unsent.popleft()
            self.in_flight += entry[1]
            self.sent.append(entry)


class Watch:
    """poll(2) until pyzmq is loaded, zmq_poll from then on. POLLHUP and POLLERR are always reported, as READ."""

    def __init__(self):
        self.wanted, self.zmq = {}, False

    def set(self, what, events):
        if events:
            self.wanted[what] = events
        else:
            self.wanted.pop(what, None)

    def poll(self, seconds):
        milliseconds = -1 if seconds is None else int(max(0.0, seconds) * 1000 + 0.999)
        if self.zmq:
            return {what: events & WRITE | (READ if events & ~WRITE else 0)
                    for what, events in zmq.zmq_poll(list(self.wanted.items()), milliseconds)}
        poll = select.poll()
        for fd, events in self.wanted.items():
            poll.register(fd, (select.POLLIN if events & READ else 0) | (select.POLLOUT if events & WRITE else 0))
        return {fd: (WRITE if events & select.POLLOUT else 0) | (READ if events & ~select.POLLOUT else 0)
                for fd, events in poll.poll(milliseconds)}


logged = 0


def log_fault():
    from traceback import format_exc        # rarely needed, and slow to import
    log(format_exc())


def log(text):
    """To D/relay.log, which must not grow without end."""
    global logged
    logged += len(text)
    if logged < MIB:
        print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


# ----------------------------------------------------------------------------------------------------------- kernelspecs

class StartError(Exception):
    """The kernel can't be started; the text says why and what would help."""


def kernel_directories():
    """Jupyter's search path (jupyter_core/paths.py)."""
    environ = os.environ
    data = environ.get("JUPYTER_DATA_DIR") or os.path.join(
        environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "jupyter")
    user = [data]
    if site.ENABLE_USER_SITE:
        user.append(os.path.join(site.getuserbase(), "share", "jupyter"))
    prefix = [os.path.join(sys.prefix, "share", "jupyter")]
    isolated = (sys.prefix != sys.base_prefix or environ.get("JUPYTER_PREFER_ENV_PATH")
                or environ.get("CONDA_PREFIX") == sys.prefix and environ.get("CONDA_DEFAULT_ENV") != "base")
    places = [p for p in environ.get("JUPYTER_PATH", "").split(os.pathsep) if p]
    places += prefix + user if isolated else user + prefix
    places += ["/usr/local/share/jupyter", "/usr/share/jupyter"]
    return [os.path.join(place, "kernels") for place in places] + [os.path.expanduser("~/.ipython/kernels")]


def find_kernelspec(name):
    """(kernel.json as a dict, its directory)."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", name):
        raise StartError("%r is no name of a kernel" % (name,))
    found = set()
    for directory in kernel_directories():
        try:
            entries = os.listdir(directory)
        except OSError:
            continue
        for entry in entries:
            path = os.path.join(directory, entry)
            if not os.path.isfile(os.path.join(path, "kernel.json")):
                continue
            found.add(entry)
            if entry.lower() == name.lower():
                with open(os.path.join(path, "kernel.json"), encoding="utf-8") as file:
                    try:
                        spec = json.load(file)
                    except ValueError as error:
                        raise StartError("%s/kernel.json is not JSON: %s" % (path, error)) from None
                if not isinstance(spec, dict) or not is_words(spec.get("argv")):
                    raise StartError("%s/kernel.json has no usable argv" % path)
                return spec, path
    from importlib.util import find_spec
    if name.lower() == "python3" and find_spec("ipykernel"):   # as jupyter_client does for its native kernel
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return {"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python", "metadata": {"debugger": True}}, ""
    raise StartError("the sandbox has no kernel '%s' (it has: %s)" % (name, ", ".join(sorted(found)) or "none"))


def is_words(value):
    return isinstance(value, list) and value and all(isinstance(word, str) for word in value)


def kernel_command(spec, directory, connection_file, session):
    """The argv of a kernelspec, filled in as jupyter_client does."""
    names = {"connection_file": connection_file, "resource_dir": directory, "prefix": sys.prefix}
    argv = [re.sub(r"\{([A-Za-z0-9_]+)\}", lambda m: names.get(m.group(1), m.group()), word) for word in spec["argv"]]
    if argv[0] in ("python", "python%d" % sys.version_info[0], "python%d.%d" % sys.version_info[:2]):
        argv[0] = sys.executable
    argv[0] = os.path.expanduser(argv[0])
    if is_ipykernel(argv):
        argv.append("--HistoryManager.hist_file=:memory:")      # the sandbox is gone tomorrow; a file only costs start-up
        if session:
            argv.append("--Session.session=" + session)
        for at in range(1, len(argv) - 1):
            if argv[at] == "-m" and is_ipykernel(argv[at + 1:at + 2]):
                argv[at] = os.path.join(os.path.dirname(connection_file), "launch.py")
                with open(argv[at], "w") as file:
                    file.write(LAUNCH)
                break
    return argv


def is_ipykernel(argv):
    return any(word in ("ipykernel", "ipykernel_launcher") for word in argv)


# `python3 launch.py MODULE ...` is `python3 -m MODULE ...` for ipykernel, in four fifths of the time.
LAUNCH = """\
import functools, gc, importlib, os, pkgutil, runpy, sys, types


class PkgResources(types.ModuleType):
    # A sixth of the time goes to pkg_resources, with which pydevd declares a namespace, as pkgutil does too. This stands in for it
    # until the kernel starts; whoever wants more of it gets the real one.
    def declare_namespace(self, name):
        module = sys.modules[name]
        module.__path__ = pkgutil.extend_path(module.__path__, name)

    def __getattr__(self, name):
        if sys.modules.get("pkg_resources") is self:
            del sys.modules["pkg_resources"]
        return getattr(importlib.import_module("pkg_resources"), name)


def import_ipykernel():
    gc.disable()                            # all that is loaded stays: there is nothing to find
    stand_in = sys.modules["pkg_resources"] = PkgResources("pkg_resources")
    try:
        importlib.import_module("ipykernel.kernelapp")
    finally:
        if sys.modules.get("pkg_resources") is stand_in:
            del sys.modules["pkg_resources"]
        gc.freeze()
        gc.unfreeze()                       # now it is old, without having been looked at
        gc.enable()


def flush_what_was_written():
    # A cell flushes stdout and stderr six times in all, a display() twice, and each time waits for ipykernel's thread for iopub. Where
    # nothing was written since the last flush there is nothing to wait for: write sets this mark after it wrote, and the thread
    # takes it away before it reads. Messages keep their order, as all go through that thread.
    iostream = importlib.import_module("ipykernel.iostream")
    flush_all = iostream.OutStream.flush

    @functools.wraps(flush_all)
    def flush(self):
        if getattr(self, "_flush_pending", True) or getattr(self, "echo", True) is not None:
            flush_all(self)

    iostream.OutStream.flush = flush


if not getattr(sys.flags, "safe_path", False):
    sys.path[0] = os.getcwd()
del sys.argv[0]
import_ipykernel()
flush_what_was_written()
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


# ------------------------------------------------------------------------------------------------------------ the kernel

class Kernel:
    """One kernel process, in a session of its own, and the relay's sockets to it."""

    def __init__(self, order, directory):
        """order: the COMMAND that started it. The process runs when this returns; connect() comes next."""
        self.order = order
        self.session = order.get("session") or os.urandom(16).hex()
        self.own = "relay-" + os.urandom(8).hex()       # prefix of the ids of the relay's own requests
        self.requests = 0
        self.connection_file = os.path.join(directory, "kernel-%s.json" % os.urandom(6).hex())
        self.sockets, self.monitors, self.context = {}, {}, None
        self.started = self.killed = self.subscribed = False
        self.info, self.next_probe = None, None
        self.early = []                                 # what it published before `started`
        self.failure = None                             # why the relay had to give it up
        self.tail = bytearray()
        self.oom_kills = oom_kills()
        if order.get("argv") is not None:
            if not is_words(order["argv"]):
                raise StartError("argv must be a list of words")
            self.spec, resources = {"argv": order["argv"]}, ""
        else:
            self.spec, resources = find_kernelspec(order.get("kernel") or "python3")
        mode = self.spec.get("interrupt_mode")
        self.interrupt_mode = "message" if isinstance(mode, str) and mode.lower() == "message" else "signal"
        # Sockets in the relay's own directory need no signatures, which for a large message are a sixth of ipykernel's time. Not every
        # kernel takes them, and their names have a bound.
        if is_ipykernel(self.spec["argv"]) and len(self.connection_file) <= SOCKET_PATH:
            self.key, self.ip, self.ports = b"", self.connection_file[:-len(".json")], range(1, 6)
        else:
            self.key, self.ip, self.ports = os.urandom(32).hex().encode(), "127.0.0.1", free_ports(5)
        self.mac = None                                 # made when its modules are loaded, see connect()
        self.write_connection_file()
        try:
            argv = kernel_command(self.spec, resources, self.connection_file, order.get("session"))
            self.pid, self.output = spawn(argv, self.environment(), order.get("cwd") or os.path.expanduser("~"))
        except BaseException:
            os.unlink(self.connection_file)
            raise
        self.pidfile, self.launcher = os.path.join(directory, "kernel.pid"), os.path.join(directory, "launch.py")
        with open(self.pidfile, "w") as file:
            file.write("%d %s" % (self.pid, process_stat(self.pid)[1]))

    def write_connection_file(self):
        names = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
        content = dict(zip(names, self.ports), ip=self.ip, transport="tcp" if self.key else "ipc", key=self.key.decode(),
                       signature_scheme="hmac-sha256", kernel_name=str(self.order.get("kernel") or ""))
        fd = os.open(self.connection_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "w") as file:
            json.dump(content, file)

    def environment(self):
        environ = dict(os.environ)
        environ["JPY_PARENT_PID"] = str(os.getpid())            # ipykernel exits when this relay is gone
        environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")   # else debugpy warns about frozen modules at every start
        for source in (self.spec.get("env"), self.order.get("env")):
            for name, value in (source if isinstance(source, dict) else {}).items():
                if value is None:
                    environ.pop(name, None)
                elif isinstance(value, str):
                    environ[name] = re.sub(r"\$\{(\w+)\}", lambda m: os.environ.get(m.group(1), m.group()), value)
        return environ

    def connect(self):
        self.context = zmq.Context()
        self.mac = hmac.new(self.key, digestmod=hashlib.sha256) if self.key else None
        identity = self.own.encode()        # the same on all: a kernel sends input_request to the identity of the request
        for channel, port in zip((SHELL, IOPUB, STDIN, CONTROL), self.ports):
            sock = self.context.socket(zmq.SUB if channel == IOPUB else zmq.DEALER)
            sock.set(zmq.LINGER, 0)
            sock.set(zmq.RCVHWM, 0)         # the kernel's PUB would drop silently; here it waits
            sock.set(zmq.SNDHWM, 0)
            sock.set(zmq.RECONNECT_IVL, 10)     # ms, until it binds; the default 100 would show in every start
            if channel == IOPUB:
                sock.set(zmq.SUBSCRIBE, b"")
            else:
                sock.set(zmq.IDENTITY, identity)
            address = "inproc://monitor-%d" % channel
            sock.monitor(address, zmq.EVENT_DISCONNECTED)
            monitor = self.context.socket(zmq.PAIR)
            monitor.set(zmq.LINGER, 0)
            monitor.connect(address)
            sock.connect(("tcp://%s:%d" if self.key else "ipc://%s-%d") % (self.ip, port))
            self.sockets[channel], self.monitors[channel] = sock, monitor
        self.probe()

    def probe(self):
        """A kernel_info_request of the relay's own. Its reply says that the kernel serves; an iopub message says that
        the subscription, which takes its own way, is in force. Until both are there nothing else is sent."""
        self.next_probe = None
        self.request(SHELL, "kernel_info_request")

    def warm_up(self):
        """The first cell of a process costs twice what the next ones do; a spare has the time to run it before anybody waits. Nobody
        hears of it, and it is in no history."""
        if is_ipykernel(self.spec["argv"]):
            self.execute("None")

    def execute(self, code):
        """Runs code of the relay's own, unseen."""
        self.request(SHELL, "execute_request", {
            "code": code, "silent": True, "store_history": False, "user_expressions": {}, "allow_stdin": False, "stop_on_error": False})

    def rename(self):
        """A spare gets the session id of the bridge that takes it: clients tell kernels apart by it, and the bridge's own
        messages bear it already. What cannot be renamed keeps its own, as after a restart. Whatever is sent next comes after it."""
        if is_ipykernel(self.spec["argv"]) and self.order.get("session"):
            self.execute("get_ipython().kernel.session.session = %r" % self.order["session"])
            self.early = []                 # said in the name of the session that it gives up: that it is starting

    def request(self, channel, kind, content=None):
        self.requests += 1
        header = {"msg_id": "%s-%d" % (self.own, self.requests), "msg_type": kind, "session": self.own, "username": "relay",
                  "date": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()), "version": "5.3"}
        self.send(channel, [DELIMITER, b"", json.dumps(header).encode(), b"{}", b"{}", json.dumps(content or {}).encode()])

    def send(self, channel, frames):
        """Signs a message, where there is a key, and gives it to the kernel."""
        at = frames.index(DELIMITER)
        if len(frames) < at + 6:
            raise ValueError("a message without its four JSON frames")
        frames[at + 1] = self.sign(frames[at + 2:at + 6])
        self.sockets[channel].send_multipart(frames, copy=max(map(len, frames)) < MIB)

    def sign(self, parts):
        if self.mac is None:
            return b""
        mac = self.mac.copy()
        for part in parts:
            mac.update(part)
        return mac.hexdigest().encode()

    def interrupt(self):
        if self.interrupt_mode == "message":
            self.request(CONTROL, "interrupt_request")
        else:
            os.killpg(self.pid, signal.SIGINT)

    def kill(self):
        """The whole session, so that children which left the group go too."""
        self.killed = True
        kill_session(self.pid)

    def read_output(self):
        """Takes what the process wrote outside of its messages; only the end is kept, for the day it dies. False at EOF."""
        while True:
            try:
                data = os.read(self.output, 64 * KIB)
            except BlockingIOError:
                return True
            except OSError:
                data = b""
            if not data:
                return False
            self.tail += data
            del self.tail[:-8 * KIB]

    def last_words(self):
        return "\n".join(self.tail.decode("utf-8", "replace").splitlines()[-20:])

    def disconnected(self):
        """True once every socket has read all that the dead process sent: libzmq tells after the last byte."""
        for channel, monitor in list(self.monitors.items()):
            if monitor.poll(0):
                monitor.close()
                self.sockets[channel].disable_monitor()
                del self.monitors[channel]
        return not self.monitors

    def close(self):
        for monitor in self.monitors.values():
            monitor.close()
        for sock in self.sockets.values():
            sock.close()
        if self.context is not None:
            self.context.term()
        os.close(self.output)
        sockets = [] if self.key else ["%s-%d" % (self.ip, port) for port in self.ports]
        for path in (self.connection_file, self.pidfile, self.launcher, *sockets):
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue                    # removed from inside the sandbox; it is gone, which is all we want


def free_ports(count):
    """Held together until all are known, so that they differ. Another process may still take one before the kernel binds
    it; the kernel then dies at once and is started again with others."""
    held = []
    try:
        for _ in range(count):
            sock = socket.socket()
            held.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in held]
    finally:
        for sock in held:
            sock.close()


def spawn(argv, environ, cwd):
    """Starts a process in its own session, with stdout and stderr on one pipe. Returns (pid, that pipe)."""
    output, output_end = os.pipe()
    failed, failed_end = os.pipe()          # both close on exec; what exec can't do is told through the second
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDONLY)
            for target, source in ((0, null), (1, output_end), (2, output_end)):
                os.dup2(source, target)
            # envd may have been started with these ignored, which is inherited: Ctrl-C would do nothing.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            prefer_for_oom()
            os.chdir(cwd)
            os.execvpe(argv[0], argv, environ)
        except BaseException as error:
            os.write(failed_end, str(error).encode("utf-8", "replace")[:2 * KIB] or b"exec failed")
        finally:
            os._exit(127)
    os.close(output_end)
    os.close(failed_end)
    reason = os.read(failed, 4 * KIB)
    os.close(failed)
    if reason:
        os.waitpid(pid, 0)
        os.close(output)
        raise StartError("'%s' can't be started: %s" % (argv[0], reason.decode("utf-8", "replace")))
    os.set_blocking(output, False)
    return pid, output


def prefer_for_oom():
    """When memory runs out, the kernel's process goes before the relay, so that somebody is left to tell."""
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:
            score = int(file.read())
            file.seek(0)
            file.write(str(min(1000, score + 200)))
    except (OSError, ValueError):
        return                              # no /proc, or not allowed: only the preference is lost


def oom_kills():
    """How many processes of this cgroup the kernel has killed for memory; None where that can't be read."""
    try:
        with open("/proc/self/cgroup") as file:
            own = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        own = []
    places = ["/sys/fs/cgroup%s/memory.events" % path.rstrip("/") for _, names, path in own if not names]
    places += ["/sys/fs/cgroup/memory%s/memory.oom_control" % path.rstrip("/") for _, names, path in own if "memory" in names.split(",")]
    for place in places + ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"]:
        try:
            with open(place) as file:
                for line in file:
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        except (OSError, ValueError):
            continue
    return None


def process_stat(pid):
    """(session, start time) of a process as text, or (None, None)."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[3]), fields[19].decode()
    except (OSError, IndexError, ValueError):
        return None, None


def kill_session(session):
    """SIGKILL to every process of a session; again until none is new, for one may be forking."""
    try:
        os.killpg(session, signal.SIGKILL)
    except OSError:
        pass                                # the group is gone, or is not ours any more: the session may still have others
    killed = set()
    for _ in range(10 if os.path.isdir("/proc/self") else 0):
        new = {int(name) for name in os.listdir("/proc") if name.isdigit() and process_stat(int(name))[0] == session} - killed
        if not new:
            return
        for pid in new:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue                    # it went by itself
        killed |= new


def kill_leftover(directory):
    """A relay that was killed leaves its kernel behind. The start time proves that the number was not given anew."""
    path = os.path.join(directory, "kernel.pid")
    try:
        with open(path) as file:
            pid, start = file.read(64).split()
        if process_stat(int(pid)) == (int(pid), start):
            kill_session(int(pid))
        os.unlink(path)
    except (OSError, ValueError):
        return                              # there is none


# ------------------------------------------------------------------------------------------------------------- the relay

def widen(way):
    """A pipe of 64 KiB, or a socket of 200, makes writer and reader take turns at every piece of output. The system gives what it allows:
    less is only slower."""
    try:
        if os.fstat(way).st_mode & 0o170000 == 0o140000:
            with socket.socket(fileno=os.dup(way)) as end:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
        else:
            fcntl.fcntl(way, F_SETPIPE_SZ, MIB)
    except OSError:
        return


class Attachment:
    """The descriptors one attach process handed over. It serves once its HELLO came; until then it replaces nobody."""

    def __init__(self, connection, patience):
        self.connection, self.input, self.output = connection, None, None
        self.inbox, self.outbox = Inbox(), []           # outbox: what is left of the last write
        self.control = []                   # HELLO and PONG: before everything else
        self.deadline = time.monotonic() + patience


class Relay:
    """The loop: link on one side, kernel on the other."""

    def __init__(self, listener, options, teller):
        self.listener, self.directory, self.options = listener, options["dir"], options
        self.instance = os.urandom(16).hex()            # tells the bridge that it still talks to the same relay
        self.watch = Watch()
        self.attachments, self.active = {}, None        # by any of their descriptors
        self.kernel, self.state, self.waiting = None, "none", []        # waiting: requests for the kernel that starts
        self.last_order, self.next_order, self.attempts = None, None, 0
        self.exiting, self.errors, self.link = False, 0, None
        self.is_spare, self.teller = False, teller      # its kernel is for whoever comes first; who waits until it answers
        self.forget()

    def forget(self):
        """A new bridge process: it knows nothing of what went before, so nothing is kept for it."""
        options = self.options
        self.bulk = Lane(Spool(self.directory, options["spool-memory"], options["spool-file"]))
        self.urgent = Lane(Spool(self.directory, 1 << 62, 0))
        self.large_control = 0              # number of the last bulk frame of a control message too large for the urgent lane
        self.received = {"bulk": 0, "urgent": 0}
        self.acknowledged = (0, 0)
        self.unacknowledged_bytes, self.ack_deadline = 0, None
        self.message = bytearray()          # the pieces of one that is not whole yet
        self.barrier = 0                    # bulk frames up to this number were meant for a kernel before this one
        self.held, self.idled = {}, {}      # replies waiting for their idle; requests whose idle has gone out before their reply
        self.finished = {}                  # requests whose idle has gone out, the last of them
        self.questions = []                 # (deadline, frames): input_requests waiting for the text before them
        self.interrupted_to = 0             # bulk frames up to this number were sent before an interrupt that overtook them
        self.doomed, self.interrupts = set(), []    # such cells: given to the kernel; (deadline, id) of those that run
        self.dropped, self.dropped_parent = 0, None

    def run(self):
        """Waits, then serves whoever is ready, the kernel first. Leaves when asked to exit or by SIGTERM."""
        woken, wake = os.pipe()
        for fd in (woken, wake):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)          # a handler must exist for the wake-up to be written
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "exiting", True))
        self.listener.setblocking(False)
        self.watch.set(self.listener.fileno(), READ)
        self.watch.set(woken, READ)
        kill_leftover(self.directory)
        if self.options["kernel"]:
            self.start_spare(self.options["kernel"])
        while not self.exiting:
            ready = self.watch.poll(self.seconds_to_next_deadline())
            self.guard(self.serve_kernel, ready)
            for fd in list(self.attachments):
                attachment = self.attachments.get(fd)
                if attachment is not None and ready.get(fd, 0) & READ:
                    self.guard_attachment(attachment, self.read_attachment, attachment, fd)
            if self.listener.fileno() in ready:
                self.guard(self.accept)
            if woken in ready:
                os.read(woken, 4096)
                self.guard(self.reap)
            self.guard(self.run_timers, time.monotonic())
            if self.active is not None:
                self.guard_attachment(self.active, self.write_attachment, self.active)
        self.leave()
        return 0

    def leave(self):
        if self.kernel is not None:
            self.kernel.kill()
            os.waitpid(self.kernel.pid, 0)
            self.kernel.close()
        for attachment in set(self.attachments.values()):
            self.close_attachment(attachment, GO_REPLACED)
        os.unlink(os.path.join(self.directory, "relay.sock"))

    def guard_one(self, action, *arguments):
        """A fault of ours must cost one message, not the kernel and its variables. That message is gone, so it can't come again."""
        try:
            action(*arguments)
        except Exception:
            log_fault()

    def guard(self, action, *arguments):
        """The same for a step of the loop, which does come again: a fault that stays would keep us busy for ever."""
        try:
            action(*arguments)
        except Exception:
            self.errors += 1
            log_fault()
            if self.errors > 1000:
                raise

    def guard_attachment(self, attachment, action, *arguments):
        try:
            action(*arguments)
        except LinkError as error:
            log("an attachment was closed: %s" % error)
            self.close_attachment(attachment, GO_GARBAGE)
        except Exception:
            self.errors += 1
            log_fault()
            self.close_attachment(attachment, GO_GARBAGE)

    # -- attachments

    def accept(self):
        connection, _ = self.listener.accept()
        if len(set(self.attachments.values())) >= 16:
            connection.close()
            return
        connection.setblocking(False)
        # A spare's comes ahead of its bridge.
        self.attachments[connection.fileno()] = Attachment(connection, patience=float("inf") if self.is_spare else 30)
        self.watch.set(connection.fileno(), READ)

    def read_attachment(self, attachment, fd):
        if fd == attachment.input:
            try:
                count = attachment.inbox.read(fd)
            except BlockingIOError:
                return
            except ConnectionError:         # a socket whose other end went without reading all
                count = 0
            if not count:
                self.close_attachment(attachment, b"")
                return
            for frame in attachment.inbox.take_frames():
                self.on_frame(attachment, *frame)
                if fd not in self.attachments or self.exiting:
                    return
            return
        if fd == attachment.output:
            return                          # an error there; the next write meets it
        try:
            data, fds, _, _ = socket.recv_fds(attachment.connection, 1, 2)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data or attachment.input is not None or len(fds) != 2:
            for extra in fds:
                os.close(extra)
            self.close_attachment(attachment, b"")      # the attach process is gone, and envd waits for us to let go
            return
        attachment.input, attachment.output = fds
        for handed in fds:
            os.set_inheritable(handed, False)       # a kernel that held them would keep the attachment alive
            os.set_blocking(handed, False)
            widen(handed)
            self.attachments[handed] = attachment
        self.watch.set(attachment.input, READ)

    def write_attachment(self, attachment):
        """Writes until the pipe is full or nothing is due. The window bounds what one round can write."""
        while True:
            if not attachment.outbox:
                attachment.outbox = self.next_parts(attachment)
                if not attachment.outbox:
                    self.watch.set(attachment.output, 0)
                    return
            try:
                written = os.writev(attachment.output, attachment.outbox)
            except BlockingIOError:
                self.watch.set(attachment.output, WRITE)
                return
            except OSError:                 # nobody reads any more
                self.close_attachment(attachment, b"")
                return
            attachment.outbox = behind(attachment.outbox, written)

    def next_parts(self, attachment):
        """The next frames to write: answers, acknowledgements, urgent ones, then as much bulk as the window lets go."""
        batch, size, checked = attachment.control, 0, attachment.inbox.checked
        attachment.control = []
        now = (self.received["bulk"], self.received["urgent"])
        have_data = bool(self.urgent.unsent) or bool(self.bulk.unsent) and self.bulk.in_flight < self.options["window"]
        if now != self.acknowledged and (have_data or self.ack_is_due()):
            batch.append(encode(ACK, 0, struct.pack(">QQ", *now)))
            self.acknowledged, self.unacknowledged_bytes, self.ack_deadline = now, 0, None
        while self.urgent.unsent and size < BATCH:
            parts, length = self.urgent.take(checked)
            batch += parts
            size += length
        while self.bulk.unsent and size < BATCH and self.bulk.in_flight < self.options["window"]:
            parts, length = self.bulk.take(checked)
            batch += parts
            size += length
        return batch if size >= LARGE and len(batch) <= FEW or not batch else [b"".join(batch)]

    def ack_is_due(self):
        bulk, urgent = self.acknowledged
        return (self.unacknowledged_bytes >= ACK_BYTES
                or self.received["bulk"] - bulk + self.received["urgent"] - urgent >= ACK_FRAMES
                or self.ack_deadline is not None and time.monotonic() >= self.ack_deadline)

    def close_attachment(self, attachment, told):
        if self.active is attachment:
            self.active = None
        for fd in [fd for fd, owner in self.attachments.items() if owner is attachment]:
            del self.attachments[fd]
            self.watch.set(fd, 0)
            if fd in (attachment.input, attachment.output):
                os.close(fd)
        try:
            attachment.connection.send(told or GO_REPLACED)
        except OSError:
            log("an attach process had gone before it was told to")
        attachment.connection.close()

    # -- frames from the bridge

    def on_frame(self, attachment, kind, number, payload):
        if kind not in (BULK, BULK_PART):
            payload = bytes(payload)
        if kind == HELLO:
            self.on_hello(attachment, payload)
        elif attachment is not self.active:
            raise LinkError("a frame came before HELLO")
        elif kind == ACK:
            if len(payload) != 16:
                raise LinkError("an ACK of %d bytes" % len(payload))
            bulk, urgent = struct.unpack(">QQ", payload)
            self.bulk.acknowledge(bulk)
            self.urgent.acknowledge(urgent)
        elif kind == PING:
            attachment.control.append(encode(PONG, 0, payload[:64]))
        elif kind == PONG:
            return
        elif kind in (BULK, BULK_PART):
            if self.is_new("bulk", number, payload):
                self.on_piece(kind == BULK, number, payload)
        elif kind in (URGENT, COMMAND):
            if self.is_new("urgent", number, payload):
                self.guard_one(self.on_message if kind == URGENT else self.on_command, payload)
        else:
            raise LinkError("a frame of unknown kind %d" % kind)

    def on_hello(self, attachment, payload):
        try:
            hello = json.loads(payload)
            version, link = hello["version"], hello["link"]
            bulk, urgent = hello["received"]["bulk"], hello["received"]["urgent"]
            good = (hello["role"] == "bridge" and isinstance(link, str) and 0 < len(link) <= 64
                    and type(bulk) is int and type(urgent) is int and attachment.input is not None)
        except (ValueError, TypeError, KeyError, RecursionError):
            good = False
        if not good or version != VERSION or attachment is self.active:
            raise LinkError("a HELLO that is none of version %d" % VERSION)
        if link == self.link:
            self.bulk.resume(bulk)
            self.urgent.resume(urgent)
        else:
            self.forget()                   # whatever it received was not from us; it sees that in `instance`
            self.link = link
        if self.active is not None:
            self.close_attachment(self.active, GO_REPLACED)
        self.active = attachment
        attachment.inbox.checked = checked = hello.get("checksums") is not False
        self.acknowledged, self.ack_deadline = (0, 0), time.monotonic()     # the last ACK may have been lost with the link
        attachment.control.append(encode(HELLO, 0, json.dumps(
            {"version": VERSION, "role": "relay", "link": link, "instance": self.instance, "received": self.received, "checksums": checked,
             "kernel": self.state, "pid": self.kernel.pid if self.kernel else None, "relay_pid": os.getpid()}).encode()))

    def is_new(self, lane, number, payload):
        """Drops what was received before the last cut; a gap can't come from a working bridge."""
        last = self.received[lane]
        if number > last + 1:
            raise LinkError("%s frame %d after %d" % (lane, number, last))
        if number <= last:
            return False
        self.received[lane] = number
        self.unacknowledged_bytes += len(payload)
        if self.ack_deadline is None:
            self.ack_deadline = time.monotonic() + ACK_DELAY
        return True

    def on_piece(self, is_last, number, payload):
        if len(self.message) + len(payload) > MAX_MESSAGE:
            raise LinkError("a message over %d bytes" % MAX_MESSAGE)
        self.message += payload
        if is_last:
            message, self.message = self.message, bytearray()
            if number > self.barrier:
                self.guard_one(self.on_message, message, number)

    def on_message(self, payload, number=0):
        channel, frames = decode_message(payload)
        if channel == INTERRUPT:
            if self.state != "running" or self.kernel.interrupt_mode == "signal":
                self.interrupt(message_id(frames[frames.index(DELIMITER) + 2]))
                return
            channel = CONTROL
        if channel not in (SHELL, CONTROL, STDIN):
            raise ValueError("a message for channel %d" % channel)
        if self.state == "running":
            if 0 < number <= self.interrupted_to and channel == SHELL:
                self.doomed.add(message_id(frames[frames.index(DELIMITER) + 2]))
            self.kernel.send(channel, frames)
        elif self.state == "starting":
            self.waiting.append((channel, frames))
        # Otherwise the bridge knows, or is about to hear, that there is no kernel, and answers itself.

    def on_command(self, payload):
        order = json.loads(payload)
        name = order["op"]
        if name in ("start", "restart", "kill"):
            self.barrier = max(self.barrier, order.get("bulk", 0))
        if name == "start":
            if order.get("adopt") and self.adopt(order):
                return
            self.is_spare = False
            self.replace_kernel(order)
        elif name == "restart":
            self.replace_kernel(dict(self.next_order or self.last_order or {}, session=order.get("session")))
        elif name == "interrupt":
            self.interrupt(None, order.get("cell"), order.get("bulk", 0))
        elif name == "kill":
            self.next_order = None
            if self.kernel is not None:
                self.state = "dead"
                self.kernel.kill()
        elif name == "exit":
            self.exiting = True
        else:
            raise ValueError("an unknown command %r" % (name,))

    def interrupt(self, parent, cell=None, bulk=0):
        """Whatever runs, or `cell` if it has not ended: its idle may still be on its way to the bridge, and the next cell must
        not pay for it. Requests of before the interrupt that it has overtaken are interrupted when they run."""
        if self.state == "running" and cell is not None:
            self.read_socket(IOPUB, self.kernel.sockets[IOPUB])
        delivered = self.state == "running" and (cell is None or cell not in self.finished)
        if delivered:                       # never while it starts: SIGINT would end most kernels then
            self.kernel.interrupt()
        if cell is None and bulk > self.received["bulk"]:
            self.interrupted_to = bulk
        self.tell(NOTICE, "interrupted", delivered=delivered, parent=parent, **({} if cell is None else {"cell": cell}))

    # -- to the bridge

    def tell(self, kind, name, **content):
        lane = self.bulk if kind == EVENT else self.urgent
        if kind == EVENT:
            self.tell_dropped()
        lane.put(kind, json.dumps({"op": name, **content}).encode())

    def forward(self, channel, frames):
        """Control replies may overtake; all else keeps the order in which it came from the kernel."""
        if len(frames) > 0xffff:
            log("a message of %d frames was dropped" % len(frames))
            return
        pieces = encode_message(channel, frames)
        piece, following = next(pieces), next(pieces, None)
        if channel == CONTROL and following is None and self.bulk.acknowledged >= self.large_control:
            self.urgent.put(URGENT, *piece)
            return
        self.tell_dropped()
        keep = self.bulk.waiting() < BATCH  # then it leaves now, and the spool would only copy what is in memory already
        while following is not None:
            self.bulk.put(BULK_PART, *piece, keep=keep)
            piece, following = following, next(pieces, None)
        self.bulk.put(BULK, *piece, keep=keep)
        if channel == CONTROL:
            self.large_control = self.bulk.last

    def drop_text(self, frames, parent):
        """Over the spool's bound a program's text is given up, and nothing else."""
        parent = message_id(parent)
        if parent != self.dropped_parent:
            self.tell_dropped()
        self.dropped_parent = parent
        self.dropped += sum(map(len, frames))

    def tell_dropped(self):
        """In the bulk lane, where the gap is."""
        if self.dropped:
            size, self.dropped = self.dropped, 0
            self.bulk.put(EVENT, json.dumps({"op": "dropped", "bytes": size, "parent": self.dropped_parent}).encode())

    # -- the kernel

    def replace_kernel(self, order):
        """What runs is killed; the new one starts when the old one's last messages are in (see reap)."""
        self.next_order, self.attempts, self.state = order, 0, "starting"
        self.waiting.clear()
        if self.kernel is not None:
            self.kernel.kill()
        else:
            self.start_kernel()

    def start_spare(self, name):
        """A kernel before anybody asks for one. What it says until then is nobody's."""
        self.is_spare = True
        self.next_order = {"op": "start", "kernel": name}
        self.start_kernel()
        if self.kernel is None:
            self.tell_starter(b"")

    def tell_starter(self, words):
        if self.teller is not None:
            teller, self.teller = self.teller, None
            try:
                os.write(teller, words)
            except OSError:
                log("whoever started the relay did not wait")
            os.close(teller)

    def adopt(self, order):
        """The first bridge that wants what the spare is gets it; it hears `started` as if it had been started for it."""
        kernel = self.kernel
        if not self.is_spare or kernel is None or kernel.killed or order.get("kernel") != kernel.order["kernel"] \
                or any(order.get(what) for what in ("argv", "cwd", "env")):
            return False
        self.is_spare = False
        kernel.order = self.last_order = order
        self.state = "starting"
        if kernel.started:
            kernel.rename()
            self.announce()
        return True

    def start_kernel(self):
        order, self.next_order = self.next_order, None
        self.last_order, self.state = order, "starting"
        self.held.clear()
        self.idled.clear()
        self.finished.clear()
        self.questions.clear()
        self.doomed.clear()
        self.interrupts.clear()
        try:
            self.kernel = Kernel(order, self.directory)
        except (StartError, OSError, ValueError, TypeError) as error:
            self.state = "dead"
            self.tell(NOTICE, "start_failed", message=str(error), exit_code=None, signal=None, stderr="")
            return
        self.watch.set(self.kernel.output, READ)
        try:
            import_for_kernel()
        except ImportError as error:
            self.kernel.failure = "%s can't import pyzmq, which the relay needs beside the kernel: %s" % (sys.executable, error)
            self.kernel.kill()
            return                          # reap tells
        self.watch.zmq = True
        self.kernel.connect()
        for sock in self.kernel.sockets.values():
            self.watch.set(sock, READ)

    def serve_kernel(self, ready):
        kernel = self.kernel
        if kernel is None:
            return
        if kernel.output in ready and not kernel.read_output():
            self.watch.set(kernel.output, 0)
        self.read_kernel(ready)

    def read_kernel(self, ready):
        """iopub before the rest: what the kernel published before it replied must leave first."""
        for channel in (IOPUB, SHELL, STDIN, CONTROL):
            sock = self.kernel.sockets.get(channel)
            if sock is None or sock not in ready:
                continue
            self.read_socket(channel, sock)

    def read_socket(self, channel, sock):
        """Bounded, so that a flood on one socket leaves the others their turn. True when it was read empty."""
        budget = 4 * MIB
        for _ in range(500):
            try:
                frames = receive(sock)
            except zmq.Again:
                return True
            self.guard_one(self.on_kernel_message, channel, frames)
            budget -= sum(map(len, frames))
            if budget <= 0:
                break
        return False

    def on_kernel_message(self, channel, frames):
        kernel = self.kernel
        at = frames.index(DELIMITER)
        if len(frames) < at + 6:
            raise ValueError("the kernel sent a message without its four JSON frames")
        header, parent = frames[at + 2], frames[at + 3]
        frames[at + 1] = b""                # signed again on the other side, with the key of that side
        if not kernel.started and channel in (IOPUB, SHELL):
            self.on_early_message(channel, frames, header, parent, frames[at + 5])
        elif kernel.own.encode() in parent:     # the answer to a request of the relay's own
            if channel == SHELL and b'"ok"' not in frames[at + 5]:
                log("the kernel refused what the relay asked of it: %s" % bytes(frames[at + 5][:KIB]))
        elif self.is_spare:
            return
        elif channel == IOPUB:
            self.on_published(frames, header, parent, frames[at + 5])
        elif channel == SHELL:
            self.on_reply(frames, parent)
        elif channel == STDIN:
            # The kernel published the text before it asked, but each socket takes its own way: one in ten questions
            # came first on a busy machine.
            self.questions.append((time.monotonic() + HOLD_QUESTION, frames))
        else:
            self.forward(channel, frames)

    def on_early_message(self, channel, frames, header, parent, content):
        """Before the kernel is ready: the probe's answers, `starting`, perhaps iopub_welcome."""
        kernel = self.kernel
        ours = kernel.own.encode() in parent
        if channel == IOPUB:
            kernel.subscribed = True
            if not ours:
                kernel.early.append((frames, header, parent, content))
        elif ours:
            kernel.info = bytes(content)
            kernel.next_probe = time.monotonic() + 0.02         # answered, but did iopub hear it?
        if kernel.info is None or not kernel.subscribed:
            return
        if kernel.killed:
            return
        kernel.started, kernel.next_probe = True, None
        if self.is_spare:
            kernel.warm_up()
            self.state = "running"
            self.tell_starter(KERNEL_ANSWERS)
        else:
            if kernel.order.get("adopt"):   # taken while it started
                kernel.rename()
            self.announce()

    def announce(self):
        """The kernel is the bridge's now."""
        kernel, self.state = self.kernel, "running"
        spec = kernel.spec if len(json.dumps(kernel.spec)) <= PIECE else {}
        info = kernel.info.decode("utf-8", "replace") if len(kernel.info) <= PIECE else None
        self.tell(EVENT, "started", pid=kernel.pid, session=kernel.order.get("session"), spec=spec,
                  interrupt_mode=kernel.interrupt_mode, kernel_info=info)
        for message in kernel.early:
            self.on_published(*message)
        for request in self.waiting:
            self.guard_one(kernel.send, *request)
        kernel.early, self.waiting = [], []

    def on_published(self, frames, header, parent, content):
        # Most messages are told apart by a search in their bytes; only what looks like the one we want is parsed.
        if b'"iopub_welcome"' in header and message_type(header) == "iopub_welcome":
            return
        if self.bulk.spool.full() and b'"stream"' in header and message_type(header) == "stream":
            self.drop_text(frames, parent)
            return
        self.forward(IOPUB, frames)
        if b'"status"' in header and isinstance(content, bytes) and b'"idle"' in content and message_type(header) == "status" \
                and json.loads(content).get("execution_state") == "idle":
            request = message_id(parent)
            replies = self.held.pop(request, None)
            remember(self.finished, request)
            if replies is None:
                remember(self.idled, request)
            else:
                for reply in replies[1]:
                    self.forward(SHELL, reply)
        elif self.doomed and b'"execute_input"' in header and message_id(parent) in self.doomed:
            self.doomed.discard(message_id(parent))
            self.interrupts.append((time.monotonic() + HOLD_INTERRUPT, message_id(parent)))

    def on_reply(self, frames, parent):
        request = message_id(parent)
        if request is None or self.idled.pop(request, None):
            self.forward(SHELL, frames)
        else:
            self.held.setdefault(request, (time.monotonic() + HOLD_REPLY, []))[1].append(frames)

    def release_replies(self, now):
        for request in [request for request, (deadline, _) in self.held.items() if now >= deadline]:
            for reply in self.held.pop(request)[1]:
                self.forward(SHELL, reply)

    def release_questions(self, now):
        while self.questions and now >= self.questions[0][0]:
            self.forward(STDIN, self.questions.pop(0)[1])

    def interrupt_late(self, now):
        while self.interrupts and now >= self.interrupts[0][0]:
            if self.interrupts.pop(0)[1] not in self.finished and self.state == "running":
                self.kernel.interrupt()

    def reap(self):
        """A child ended. First all that it said, then that it died."""
        kernel = self.kernel
        if kernel is None:
            return
        pid, status = os.waitpid(kernel.pid, os.WNOHANG)
        if pid == 0:
            return
        by_us = kernel.killed
        self.tell_starter(b"")
        kill_session(kernel.pid)            # the orphans too; and their copies of its sockets would keep those open
        self.drain(kernel)
        self.release_replies(float("inf"))
        self.release_questions(float("inf"))
        kernel.read_output()
        for sock in kernel.sockets.values():
            self.watch.set(sock, 0)
        self.watch.set(kernel.output, 0)
        kernel.close()
        self.kernel, self.state = None, "starting" if self.next_order else "dead"
        killer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        ending = {"exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
                  "signal": signal_name(killer), "stderr": kernel.last_words()}
        if self.next_order is None and not kernel.started and not by_us and self.attempts < 2 and b"in use" in kernel.tail:
            self.next_order, self.attempts = kernel.order, self.attempts + 1       # somebody took one of its ports
        if self.next_order is not None:
            if by_us:
                self.tell(NOTICE, "killed", **ending)
            self.start_kernel()             # told by its `started`, behind which nothing of the old kernel comes
        elif kernel.started or by_us and not kernel.failure:
            oom = None
            if killer == signal.SIGKILL and not by_us and kernel.oom_kills is not None:
                oom = (oom_kills() or 0) > kernel.oom_kills
            self.tell(EVENT, "died", oom=oom, commanded=by_us, **ending)
        else:
            how = "by signal %s" % ending["signal"] if killer else "with exit code %s" % ending["exit_code"]
            message = kernel.failure or "the kernel ended %s before it was ready" % how
            self.tell(NOTICE, "start_failed", message=message, **ending)

    def drain(self, kernel):
        """Reads the sockets of a dead kernel to their end, which libzmq reports; a process that inherited one may keep it
        open, hence the bound."""
        end = time.monotonic() + 1.0
        while True:
            complete = kernel.disconnected()
            empty = all([self.read_socket(channel, sock) for channel, sock in kernel.sockets.items()])
            if empty and (complete or not kernel.started or time.monotonic() > end):
                return
            if empty:
                time.sleep(0.001)

    # -- time

    def seconds_to_next_deadline(self):
        deadlines = [attachment.deadline for attachment in self.attachments.values() if attachment is not self.active]
        deadlines += [deadline for deadline, _ in self.held.values()]
        deadlines += [deadline for deadline, _ in self.questions[:1] + self.interrupts[:1]]
        if self.active is not None and self.ack_deadline is not None and not self.active.outbox:
            deadlines.append(self.ack_deadline)
        if self.kernel is not None and self.kernel.next_probe is not None:
            deadlines.append(self.kernel.next_probe)
        next_one = min(deadlines, default=float("inf"))
        return next_one - time.monotonic() if next_one != float("inf") else None

    def run_timers(self, now):
        self.release_replies(now)
        self.release_questions(now)
        self.interrupt_late(now)
        if self.kernel is not None and self.kernel.next_probe is not None and now >= self.kernel.next_probe:
            self.kernel.probe()
        for attachment in set(self.attachments.values()):
            if attachment is not self.active and now >= attachment.deadline:
                self.close_attachment(attachment, GO_GARBAGE)


def behind(parts, count):
    """What follows the first bytes of some parts."""
    for at, part in enumerate(parts):
        if count < len(part):
            return [memoryview(part)[count:], *parts[at + 1:]]
        count -= len(part)
    return []


def receive(sock):
    """The frames of one message: bytes, but a large content or buffer stays where libzmq has it and is a view."""
    frames, after = [sock.recv(zmq.NOBLOCK)], 0
    while sock.get(zmq.RCVMORE):
        if after or frames[-1] == DELIMITER:
            after += 1
        if after < 5:                       # signature, header, parent header, metadata
            frames.append(sock.recv())
        else:
            frame = sock.recv(copy=False)
            frames.append(frame.buffer if len(frame) >= LARGE else frame.bytes)
    return frames


def message_type(header):
    try:
        return json.loads(header).get("msg_type")
    except (ValueError, AttributeError, RecursionError):
        return None


def message_id(parent):
    try:
        value = json.loads(parent).get("msg_id")
        return value if isinstance(value, str) else None
    except (ValueError, AttributeError, RecursionError):
        return None


def remember(ids, value):
    """The last thousand."""
    ids[value] = True
    if len(ids) > 1024:
        del ids[next(iter(ids))]


def signal_name(number):
    if number is None:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number


if __name__ == "__main__" and sys.argv[0] != "-c":
    sys.exit(main(sys.argv[1:]))
