"""Reading, writing and joining files."""

import os

from common import (
    ATTRIBUTE,
    EACCES,
    ECANCELED,
    EINVAL,
    TEMPORARY_NEW,
    TEMPORARY_OLD,
    clean,
    read_exactly,
    refuse_irregular,
    write_all,
)

COPY = 256 * 1024


def read_file(descriptors, path):
    """Tells size and time of change, then waits to be told which part is wanted: u64 from, u64 how much."""
    source, out = descriptors
    # O_NONBLOCK: a FIFO without a writer must not hold the task.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    status = os.fstat(fd)
    refuse_irregular(status.st_mode)
    write_all(out, b"\x00" + status.st_size.to_bytes(8, "big") + (status.st_mtime_ns % (1 << 64)).to_bytes(8, "big"))
    part = read_exactly(source, 16)
    if part is None:
        return  # nothing of it is wanted
    at = int.from_bytes(part[:8], "big")
    left = int.from_bytes(part[8:], "big")
    while left > 0:
        sent = os.sendfile(out, fd, at, min(left, 1 << 30))
        if sent == 0:
            return  # truncated meanwhile; the reader sees that bytes are missing
        at += sent
        left -= sent


def replace(path, fill, attributes=()):
    """Makes a file beside the one of that path, has it filled, and puts it in its place: all or nothing."""
    place = os.path.realpath(path)
    directory, name = os.path.split(place)
    try:
        mode = os.stat(place).st_mode
        refuse_irregular(mode)
        if not os.access(place, os.W_OK):
            raise OSError(EACCES, "permission denied")
    except FileNotFoundError:
        mode = None
        os.makedirs(directory, 0o755, exist_ok=True)
    prefix = TEMPORARY_NEW if mode is None else TEMPORARY_OLD
    temporary = os.path.join(directory, prefix + name[:200] + b"." + os.urandom(6).hex().encode())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        if mode is not None:
            os.fchmod(fd, mode & 0o7777)
        for key, value in attributes:
            os.setxattr(fd, ATTRIBUTE.encode() + key, value)
        fill(fd)
        os.rename(temporary, place)
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)


def write_file(descriptors, path, *attributes):
    """The source is cut in pieces, u32 length + bytes; a piece of length 0 ends it. End of file without one: given up."""
    source, out = descriptors
    path = clean(path)

    def fill(fd):
        if not copy_pieces(source, fd):
            raise OSError(ECANCELED, "the upload was given up")

    replace(path, fill, list(zip(attributes[::2], attributes[1::2])))
    write_all(out, b"\x00" + path)


def copy_pieces(source, target):
    while True:
        header = read_exactly(source, 4)
        if header is None:
            return False
        left = int.from_bytes(header, "big")
        if left == 0:
            return True
        while left:
            data = os.read(source, min(left, COPY))
            if not data:
                return False
            write_all(target, data)
            left -= len(data)


def copy_content(path, target):
    source = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(source)
        refuse_irregular(status.st_mode)
        while True:
            data = os.read(source, COPY)
            if not data:
                return status
            write_all(target, data)
    finally:
        os.close(source)


def compose(descriptors, destination, *sources):
    """Joins files into one and removes them."""
    out = descriptors[-1]
    destination = clean(destination)
    sources = [clean(source) for source in sources]
    for source in sources:
        if source == destination:
            raise OSError(EINVAL, "a source can not be the destination")
        refuse_irregular(os.stat(source).st_mode)

    def fill(fd):
        for source in sources:
            copy_content(source, fd)

    replace(destination, fill)
    for source in sources:
        try:
            os.unlink(source)
        except FileNotFoundError:
            pass  # named twice
    write_all(out, b"\x00" + destination)
