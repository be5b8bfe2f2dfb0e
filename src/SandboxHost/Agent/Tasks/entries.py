"""Describing files and directories.

A list of entries is texts, each ended by a zero byte, nine for each entry; describe() says which.
"""

import os

from common import ATTRIBUTE, E2BIG, EEXIST, ENOTDIR, clean, write_all

MAX_ENTRIES = 50_000
MAX_LIST = 16 * 1024 * 1024


class Names:
    """The names of users and groups, as far as there are any; looked up once."""

    def __init__(self):
        self.known = {}

    def of(self, file, number):
        if file not in self.known:
            self.known[file] = names = {}
            try:
                with open(file, "rb") as lines:
                    for line in lines:
                        parts = line.rstrip(b"\n").split(b":")
                        if len(parts) > 2:
                            names.setdefault(parts[2], parts[0])
            except OSError:
                pass  # numbers will do
        text = str(number).encode()
        return self.known[file].get(text, text)


def describe(path, status, names):
    """path, st_mode, size, owner, group, time of change in ns, mode of a link's target, the target, attributes.

    The mode of the target is empty when it is no link, and 0 when the link leads nowhere. Attributes are key=value, each
    ended by a line feed, which neither can have.
    """
    mode, target = b"", b""
    if status.st_mode & 0o170000 == 0o120000:
        try:
            mode = str(os.stat(path).st_mode).encode()
            target = os.path.realpath(path)
        except OSError:
            mode, target = b"0", path
    fields = (
        path,
        str(status.st_mode).encode(),
        str(status.st_size).encode(),
        names.of("/etc/passwd", status.st_uid),
        names.of("/etc/group", status.st_gid),
        str(status.st_mtime_ns).encode(),
        mode,
        target,
        attributes_of(path) if mode == b"" else b"",
    )
    return b"\0".join(fields) + b"\0"


def attributes_of(path):
    try:
        names = [n for n in os.listxattr(path, follow_symlinks=False) if n.startswith(ATTRIBUTE)]
        pairs = [(n[len(ATTRIBUTE) :].encode(), os.getxattr(path, n, follow_symlinks=False)) for n in names]
    except OSError:
        return b""  # no such thing here, or the file went
    return b"".join(k + b"=" + v + b"\n" for k, v in pairs if all(32 <= c < 127 for c in k + v))


def stat(descriptors, path):
    path = clean(path)
    write_all(descriptors[-1], b"\x00" + describe(path, os.lstat(path), Names()))


def make(descriptors, path):
    path = clean(path)
    try:
        if os.stat(path).st_mode & 0o170000 == 0o040000:
            raise OSError(EEXIST, "directory already exists: " + os.fsdecode(path))
        raise OSError(ENOTDIR, "path already exists but it is not a directory: " + os.fsdecode(path))
    except FileNotFoundError:
        os.makedirs(path, 0o755)
    stat(descriptors, path)


def list_directory(descriptors, path, depth):
    """Below a directory, its parents first, each directory by name; links are shown, not followed."""
    top, depth, names = clean(path), int(depth), Names()
    answer, count = bytearray(b"\x00"), 0
    waiting = [(entry, 1) for entry in children(top)]
    while waiting:
        path, level = waiting.pop()
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue  # it went meanwhile
        answer += describe(path, status, names)
        count += 1
        if count > MAX_ENTRIES or len(answer) > MAX_LIST:
            raise OSError(E2BIG, f"there are more than {MAX_ENTRIES} entries, or their names are too long for one answer; list with less depth")
        if level < depth and status.st_mode & 0o170000 == 0o040000:
            try:
                waiting += [(entry, level + 1) for entry in children(path)]
            except (PermissionError, FileNotFoundError, NotADirectoryError):
                pass  # not ours to look into, or changed meanwhile: it is listed, its content is not
    write_all(descriptors[-1], answer)


def children(directory):
    """Paths of what is in a directory, the last by name first."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            found.append(entry.path)
            if len(found) > MAX_ENTRIES:
                raise OSError(E2BIG, f"there are more than {MAX_ENTRIES} entries in {os.fsdecode(directory)}")
    return sorted(found, reverse=True)
