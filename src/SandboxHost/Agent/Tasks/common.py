"""What the file tasks share: their pipes, and what they think of a path."""

import os

EEXIST, EXDEV, ENOTDIR, EISDIR, EINVAL, E2BIG, EACCES, ENOTEMPTY, ECANCELED = 17, 18, 20, 21, 22, 7, 13, 39, 125

# Uploads are written beside their destination under such a name: for a new file, and over an old one. A watch tells by
# it what the rename at the end means.
TEMPORARY_NEW, TEMPORARY_OLD = b".ik-n-", b".ik-o-"

# Where the metadata of an upload is kept: extended attributes of the file, as envd does.
ATTRIBUTE = "user.e2b."


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_exactly(fd, size):
    """As many bytes; None when the pipe ends before."""
    data = b""
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            return None
        data += more
    return data


def clean(path):
    """The path without . and .. and doubled slashes, by its text alone: this is what envd does."""
    path = os.path.normpath(path)
    return path[1:] if path.startswith(b"//") else path


def refuse_irregular(mode):
    kind = mode & 0o170000
    if kind == 0o040000:
        raise OSError(EISDIR, "it is a directory")
    if kind != 0o100000:
        raise OSError(EINVAL, "it is not a regular file")


def temporary(name):
    return os.path.basename(name).startswith((TEMPORARY_NEW, TEMPORARY_OLD))
