"""Pseudo-terminals: the program gets one of the sandbox's own, and a process beside it carries bytes to and from the host.

The host never holds an end of the terminal, only pipes: input, and output. The agent keeps the terminal for as long as
its carrier lives, to change its size.
"""

import fcntl
import os
import select
import sys

TIOCSCTTY, TIOCSWINSZ = 0x540E, 0x5414
PIECE = 16 * 1024  # as envd reads


def set_size(terminal, rows, columns):
    """struct winsize: u16 rows, columns, and two that nobody uses."""
    size = b"".join(min(int(n), 0xFFFF).to_bytes(2, sys.byteorder) for n in (rows, columns)) + bytes(4)
    fcntl.ioctl(terminal, TIOCSWINSZ, size)


def lead_session(line):
    """In the child: makes the program the leader of a session with that terminal line."""
    os.setsid()
    fcntl.ioctl(line, TIOCSCTTY, 0)


def carry(terminal, source, out):
    """In a child: until nobody has the terminal open any more, or the host is gone. Either way may be slow alone."""
    for fd in (terminal, source, out):
        os.set_blocking(fd, False)
    typed, shown, listening = b"", b"", True
    while True:
        poll = select.poll()
        poll.register(out, select.POLLOUT if shown else 0)
        if listening and not typed:
            poll.register(source, select.POLLIN)
        if typed or not shown:
            # Left out otherwise: a terminal that is hung up is always ready, and would keep us busy.
            poll.register(terminal, (select.POLLOUT if typed else 0) | (0 if shown else select.POLLIN))
        ready = dict(poll.poll())
        if ready.get(out, 0) & select.POLLERR:
            return  # the host reads no more
        if source in ready:
            typed = os.read(source, PIECE)
            listening = bool(typed)
        if ready.get(terminal, 0) & select.POLLOUT:
            try:
                typed = typed[os.write(terminal, typed) :]
            except BlockingIOError:
                pass
            except OSError:
                typed, listening = b"", False  # nobody is there to read it
        if shown and ready.get(out, 0) & select.POLLOUT:
            shown = shown[os.write(out, shown) :]
        elif not shown and ready.get(terminal, 0) & (select.POLLIN | select.POLLHUP | select.POLLERR):
            try:
                shown = os.read(terminal, PIECE)
            except BlockingIOError:
                continue
            except OSError:
                return  # EIO: the last one closed it
            if not shown:
                return
