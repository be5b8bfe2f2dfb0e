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
SPAWN, SIGNAL, TASK, SOCKET, DISK, TERMINAL, RESIZE = 1, 2, 3, 4, 5, 10, 11
# To the host.
READY, STARTED, FAILED, EXITED = 1, 2, 3, 4

CONTROL_FD = 3
HEADER = 10
MAX_FRAME = 8 * 1024 * 1024
MSG_CMSG_CLOEXEC = 0x40000000
PR_SET_DUMPABLE = 4
TASKS_DIRECTORY = "/etc/sandbox-agent"


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


class Agent:
    def __init__(self):
        self.control = _socket.socket(fileno=CONTROL_FD)
        os.set_inheritable(CONTROL_FD, False)
        self.set_dumpable = dumpable_switch()
        self.running = {}  # pid -> request id
        self.pids = {}  # request id -> pid
        self.terminals = {}  # request id -> terminal of the program
        self.carriers = {}  # pid of who carries its bytes -> request id
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
        elif kind == TERMINAL:
            self.spawn(request, fields[2:], descriptors, size=fields[:2])
        elif kind == RESIZE:
            self.resize(request, fields)
        elif kind == TASK:
            # Imported by the first task: the start of a sandbox does not wait for it.
            from tasks import run

            def task():
                close_all_but(*descriptors)
                run(fields, descriptors)

            self.fork(request, task)
        elif kind == SOCKET:
            give_socket(fields, descriptors)
        elif kind == DISK:
            # As with the stat in spawn, nothing in here can make this block; nor can so few bytes in a fresh pipe.
            disk = os.statvfs(b"/home/user")
            used, total = (disk.f_blocks - disk.f_bfree) * disk.f_frsize, disk.f_blocks * disk.f_frsize
            os.write(descriptors[0], used.to_bytes(8, "big") + total.to_bytes(8, "big"))

    def spawn(self, request, fields, descriptors, size=None):
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
        if size is None:
            self.fork(request, lambda: self.become(cwd, arguments, environment, descriptors))
            return
        try:
            line = self.open_terminal(request, size, descriptors)
        except OSError as e:
            self.send(FAILED, request, b"fork", os.strerror(e.errno).encode())
            return

        def lead():
            from terminal import lead_session

            lead_session(line)
            self.become(cwd, arguments, environment, [line, line, line])

        # Should this fork fail, the carrier finds nobody at the line and ends.
        self.fork(request, lead)
        os.close(line)

    def open_terminal(self, request, size, descriptors):
        """Makes a terminal and starts the process that carries its bytes. Gives the program's end, the line."""
        from terminal import carry, set_size

        terminal, line = os.openpty()
        try:
            set_size(terminal, *size)
            pid = os.fork()
        except OSError:
            os.close(terminal)
            os.close(line)
            raise
        if pid == 0:
            try:
                _signal.set_wakeup_fd(-1)
                close_all_but(terminal, *descriptors)
                carry(terminal, *descriptors)
            finally:
                os._exit(0)
        self.terminals[request] = terminal
        self.carriers[pid] = request
        return line

    def resize(self, request, size):
        from terminal import set_size

        terminal = self.terminals.get(request)
        if terminal is not None:
            try:
                set_size(terminal, *size)
            except OSError:
                pass  # it hung up this very moment

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
            if pid in self.carriers:
                os.close(self.terminals.pop(self.carriers.pop(pid)))
                continue
            request = self.running.pop(pid, None)
            if request is not None:
                del self.pids[request]
                self.send(EXITED, request, str(status).encode())


def close_all_but(*descriptors):
    """Ends of other programs' pipes may be waiting their turn in the agent; a copy kept in a child would delay their end."""
    kept = sorted(descriptors)
    for low, high in zip([2] + kept, kept + [1 << 16]):
        os.closerange(low + 1, high)


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


if __name__ == "__main__":
    # An isolated interpreter has no directory of its own to import from.
    sys.path.insert(0, TASKS_DIRECTORY)
    Agent().serve()
    os._exit(0)
