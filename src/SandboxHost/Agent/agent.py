"""Process 1 of a sandbox: starts programs and file tasks for the host outside, and reaps what dies.

One unix socket, descriptor 3, is the only tie to the host. When it ends, so does this process, and the kernel
then kills everything in the process-id namespace: a host that dies takes its sandboxes along.

Frames, both ways:   u32 length of the rest | u8 kind | u8 descriptors | u32 id | fields, each u32 length + bytes
The descriptors (ends of pipes that the host made) travel beside the frame by SCM_RIGHTS. The host gets none back but
sockets it asked for, and never opens a file of the sandbox: whatever touches the sandbox's files runs in here.

Start-up counts (every sandbox waits for it), so only C modules are imported: `socket`, `signal` and `json`
would pull in `enum` and `re`.
"""

import os
import select
import sys

import _signal
import _socket

# From the host.
SPAWN, SIGNAL, TASK, SOCKET, DISK = 1, 2, 3, 4, 5
# To the host.
READY, STARTED, FAILED, EXITED = 1, 2, 3, 4

CONTROL_FD = 3
HEADER = 10
MAX_FRAME = 8 * 1024 * 1024
MSG_CMSG_CLOEXEC = 0x40000000
PR_SET_DUMPABLE = 4
COPY = 256 * 1024


def dumpable_switch():
    """A function that sets whether others of the same user may trace this process; None where ctypes is missing."""
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    return lambda value: prctl(PR_SET_DUMPABLE, value, 0, 0, 0) == 0


def pack(kind, request, *fields):
    body = b"".join(len(f).to_bytes(4, "big") + f for f in fields)
    return (len(body) + 6).to_bytes(4, "big") + bytes((kind, 0)) + request.to_bytes(4, "big") + body


def unpack(body):
    fields, at = [], 0
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        at += 4
        if at + size > len(body):
            raise ValueError("a field is longer than its frame")
        fields.append(bytes(body[at : at + size]))
        at += size
    return fields


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Agent:
    def __init__(self):
        self.control = _socket.socket(fileno=CONTROL_FD)
        os.set_inheritable(CONTROL_FD, False)
        self.set_dumpable = dumpable_switch()
        self.running = {}  # pid -> request id
        self.pids = {}  # request id -> pid
        self.received = bytearray()
        self.descriptors = []

    def serve(self):
        os.umask(0o022)
        for number in range(1, 65):
            # Ignored signals would be inherited by every program (a host started with nohup ignores SIGHUP).
            if number not in (9, 19, 32, 33):
                try:
                    _signal.signal(number, _signal.SIG_DFL)
                except (OSError, ValueError):
                    pass
        self.wake_in, wake_out = os.pipe()
        os.set_blocking(self.wake_in, False)
        os.set_blocking(wake_out, False)
        _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
        _signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
        hidden = self.set_dumpable is not None and self.set_dumpable(0)
        self.send(READY, 0, b"1" if hidden else b"0", sys.version.split()[0].encode())

        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.wake_in, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self.wake_in:
                    self.reap()
                elif not self.receive():
                    return

    def send(self, kind, request, *fields):
        self.control.sendall(pack(kind, request, *fields))

    def receive(self):
        """Takes what came and does it. False: the host is gone."""
        space = _socket.CMSG_SPACE(16 * 4)
        data, ancillary, _, _ = self.control.recvmsg(65536, space, MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                for at in range(0, len(content) - 3, 4):
                    self.descriptors.append(int.from_bytes(content[at : at + 4], sys.byteorder))
        if not data:
            return False
        self.received += data
        while len(self.received) >= HEADER:
            size = int.from_bytes(self.received[:4], "big")
            if size < 6 or size > MAX_FRAME:
                return False
            if len(self.received) < size + 4:
                break
            kind, count = self.received[4], self.received[5]
            request = int.from_bytes(self.received[6:10], "big")
            fields = unpack(self.received[10 : size + 4])
            del self.received[: size + 4]
            descriptors, self.descriptors = self.descriptors[:count], self.descriptors[count:]
            try:
                self.do(kind, request, fields, descriptors)
            finally:
                for fd in descriptors:
                    os.close(fd)
        return True

    def do(self, kind, request, fields, descriptors):
        if kind == SIGNAL:
            pid = self.pids.get(request)
            if pid is not None:
                try:
                    os.kill(pid, int(fields[0]))
                except OSError:
                    pass  # it ended this very moment; its exit is on the way
        elif kind == SPAWN:
            self.spawn(request, fields, descriptors)
        elif kind == TASK:
            self.fork(request, lambda: run_task(fields, descriptors))
        elif kind == SOCKET:
            give_socket(fields, descriptors)
        elif kind == DISK:
            # As with the stat in spawn, nothing in here can make this block; nor can so few bytes in a fresh pipe.
            disk = os.statvfs(b"/home/user")
            used, total = (disk.f_blocks - disk.f_bfree) * disk.f_frsize, disk.f_blocks * disk.f_frsize
            os.write(descriptors[0], used.to_bytes(8, "big") + total.to_bytes(8, "big"))

    def spawn(self, request, fields, descriptors):
        cwd, count = fields[0], int(fields[1])
        arguments = fields[2 : 2 + count]
        environment = {}
        for pair in fields[2 + count :]:
            name, _, value = pair.partition(b"=")
            environment[name] = value
        try:
            # In here nothing can make this stat block: there is no network or user-space file system.
            os.stat(cwd)
        except OSError as e:
            missing = e.errno == 2
            text = b"cwd '" + cwd + b"' does not exist" if missing else b"cwd '" + cwd + b"': " + os.strerror(e.errno).encode()
            self.send(FAILED, request, b"cwd", text)
            return
        if not os.path.isdir(cwd) or not os.access(cwd, os.X_OK):
            reason = b"permission denied" if os.path.isdir(cwd) else b"not a directory"
            self.send(FAILED, request, b"cwd", b"fork/exec " + arguments[0] + b": " + reason)
            return
        self.fork(request, lambda: self.become(cwd, arguments, environment, descriptors))

    def fork(self, request, child):
        try:
            pid = os.fork()
        except OSError as e:
            self.send(FAILED, request, b"fork", os.strerror(e.errno).encode())
            return
        if pid == 0:
            try:
                _signal.set_wakeup_fd(-1)
                self.control.close()
                child()
            finally:
                os._exit(126)
        self.running[pid] = request
        self.pids[request] = pid
        self.send(STARTED, request, str(pid).encode())

    def become(self, cwd, arguments, environment, descriptors):
        """In the child: become the program. The control socket is closed by now, so being traced harms no one."""
        if len(descriptors) == 2:
            descriptors.insert(0, os.open("/dev/null", os.O_RDONLY))
        for target, fd in enumerate(descriptors):
            os.dup2(fd, target)
        if self.set_dumpable is not None:
            self.set_dumpable(1)
        try:
            with_priority = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
            os.write(with_priority, b"100")  # memory running out shall hit programs before this agent
            os.close(with_priority)
        except OSError:
            pass  # the score stays as it was; the limit holds all the same
        for number in (_signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGCHLD, _signal.SIGINT):
            _signal.signal(number, _signal.SIG_DFL)
        try:
            os.chdir(cwd)
            error = execute(arguments, environment)
        except OSError as e:
            error = e.errno
        os.write(2, b"'" + arguments[0] + b"': " + os.strerror(error).encode() + b"\n")
        os._exit(127 if error == 2 else 126)

    def reap(self):
        try:
            os.read(self.wake_in, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            request = self.running.pop(pid, None)
            if request is not None:
                del self.pids[request]
                self.send(EXITED, request, str(status).encode())


def give_socket(fields, descriptors):
    """Sends a TCP socket of this network, not connected yet, through the unix socket that came along.

    The host connects it to a server in here. It goes that way, and not through the control socket, so that the host
    takes a descriptor only where it waits for one. On failure nothing is sent: the host sees the end of the file.
    """
    family = _socket.AF_INET6 if fields[0] == b"6" else _socket.AF_INET
    way = _socket.socket(fileno=descriptors[0])
    try:
        made = _socket.socket(family, _socket.SOCK_STREAM)
        number = made.fileno().to_bytes(4, sys.byteorder)
        way.sendmsg([b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, number)], _socket.MSG_DONTWAIT)
        made.close()
    except OSError:
        return
    finally:
        way.detach()


def execute(arguments, environment):
    """Tries the program along PATH as execvp does; returns the error number when there is none to run."""
    command, error = arguments[0], 2
    if b"/" in command:
        candidates = [command]
    else:
        candidates = [(d or b".") + b"/" + command for d in environment.get(b"PATH", b"").split(b":")]
    for path in candidates if command else []:
        try:
            os.execve(path, arguments, environment)
        except OSError as e:
            if e.errno == 8:  # ENOEXEC: a script without #!
                os.execve(b"/bin/sh", [b"/bin/sh", path] + arguments[1:], environment)
            if e.errno not in (2, 20):
                error = e.errno
    return error


def run_task(fields, descriptors):
    """In a child: one file task. Its answer goes to the last descriptor: u8 0 and the result, or u8 1, u32 errno, text."""
    name, arguments, out = fields[0], fields[1:], descriptors[-1]
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    # Ends of other programs' pipes may be waiting their turn in the agent; a copy kept here would delay their end.
    for fd in range(3, 64 + max(descriptors)):
        if fd not in descriptors:
            try:
                os.close(fd)
            except OSError:
                pass  # it was not open
    try:
        if name == b"read":
            read_file(out, *arguments)
        elif name == b"write":
            write_file(descriptors[0], out, *arguments)
        else:
            raise OSError(38, "unknown task")
    except OSError as e:
        text = e.strerror or str(e)
        write_all(out, b"\x01" + (e.errno or 5).to_bytes(4, "big") + text.encode())
    os._exit(0)


def refuse_irregular(mode):
    kind = mode & 0o170000
    if kind == 0o040000:
        raise OSError(21, "it is a directory")
    if kind != 0o100000:
        raise OSError(22, "it is not a regular file")


def read_file(out, path):
    # O_NONBLOCK: a FIFO without a writer must not hold the task.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    status = os.fstat(fd)
    refuse_irregular(status.st_mode)
    write_all(out, b"\x00" + status.st_size.to_bytes(8, "big"))
    at = 0
    while at < status.st_size:
        sent = os.sendfile(out, fd, at, min(status.st_size - at, 1 << 30))
        if sent == 0:
            return  # truncated meanwhile; the reader sees that bytes are missing
        at += sent


def write_file(source, out, path):
    """Writes beside the file and renames at the end, so that a cut-off upload leaves the old content.

    The source is cut in pieces, u32 length + bytes; a piece of length 0 ends it. End of file without one: given up.
    """
    path = os.path.realpath(path)
    directory, name = os.path.split(path)
    try:
        mode = os.stat(path).st_mode
        refuse_irregular(mode)
        if not os.access(path, os.W_OK):
            raise OSError(13, "permission denied")
    except FileNotFoundError:
        mode = None
        os.makedirs(directory, 0o755, exist_ok=True)
    temporary = os.path.join(directory, b".ik-" + name[:200] + b"." + os.urandom(6).hex().encode())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        if mode is not None:
            os.fchmod(fd, mode & 0o7777)
        if not copy_pieces(source, fd):
            raise OSError(125, "the upload was given up")
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    write_all(out, b"\x00" + path)


def copy_pieces(source, target):
    left = read_length(source)
    while left:
        data = os.read(source, min(left, COPY))
        if not data:
            return False
        write_all(target, data)
        left -= len(data)
        if left == 0:
            left = read_length(source)
    return left == 0


def read_length(source):
    """The length of the next piece; None at the end of the file."""
    header = b""
    while len(header) < 4:
        data = os.read(source, 4 - len(header))
        if not data:
            return None
        header += data
    return int.from_bytes(header, "big")


if __name__ == "__main__":
    Agent().serve()
    os._exit(0)
