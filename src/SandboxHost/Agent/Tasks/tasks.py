"""The file tasks of a sandbox, each in a process of its own: a child of the agent, with the rights of the sandbox's user.

The agent imports this when the first task is asked for, so that the start of a sandbox does not wait for it. A task has
pipes of the host as its only ties: the last descriptor takes the answer, the first (if there are two) brings data.

An answer is   u8 0 and the result   or   u8 1, u32 errno, text.

Nothing in a task may wait for anything but those pipes and regular files: what is opened is opened without blocking and
looked at before it is used. Whatever runs beside it in the sandbox may change files under it, stop it or kill it;
that harms the sandbox alone, and the host, which reads with bounds and a clock, learns no more than bytes.
"""

import os

import _signal
from changes import move, remove
from common import write_all
from content import compose, read_file, write_file
from entries import list_directory, make, stat

TASKS = {
    b"read": read_file,
    b"write": write_file,
    b"compose": compose,
    b"stat": stat,
    b"make": make,
    b"list": list_directory,
    b"move": move,
    b"remove": remove,
}


def run(fields, descriptors):
    """In the child, which has only those descriptors: does one task and ends the process."""
    name, arguments, out = fields[0], fields[1:], descriptors[-1]
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    try:
        if name == b"watch":
            from watch import watch  # rare, and slow to import

            watch(descriptors, *arguments)
        else:
            TASKS[name](descriptors, *arguments)
    except OSError as e:
        text = e.strerror or str(e)
        write_all(out, b"\x01" + (e.errno or 5).to_bytes(4, "big") + text.encode())
    os._exit(0)
