"""Moving and removing."""

import os

from common import ENOTEMPTY, EXDEV, TEMPORARY_NEW, clean, write_all
from content import copy_content
from entries import children, stat


def move(descriptors, source, destination):
    source, destination = clean(source), clean(destination)
    os.lstat(source)
    os.makedirs(os.path.dirname(destination), 0o755, exist_ok=True)
    try:
        os.rename(source, destination)
    except OSError as e:
        if e.errno != EXDEV:
            raise
        # The home and /tmp are two file systems here; where they are one, a move between them is nothing special.
        across(source, destination)
    stat(descriptors, destination)


def across(source, destination):
    temporary = os.path.join(os.path.dirname(destination), TEMPORARY_NEW + os.urandom(6).hex().encode())
    try:
        copy_tree(source, temporary)
        os.rename(temporary, destination)
    except OSError:
        delete(temporary)
        raise
    delete(source)


def copy_tree(source, destination):
    waiting, finished = [(source, destination)], []
    while waiting:
        path, target = waiting.pop()
        status = os.lstat(path)
        kind = status.st_mode & 0o170000
        if kind == 0o040000:
            os.mkdir(target, 0o700)
            finished.append((target, status))
            for entry in children(path):
                waiting.append((entry, os.path.join(target, os.path.basename(entry))))
        elif kind == 0o120000:
            os.symlink(os.readlink(path), target)
        elif kind == 0o100000:
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                copy_content(path, fd)
                os.fchmod(fd, status.st_mode & 0o7777)
                os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
            finally:
                os.close(fd)
        elif kind == 0o010000:
            os.mkfifo(target, status.st_mode & 0o7777)
        else:
            raise OSError(EXDEV, "a socket or device can not be moved to another file system")
    # Last, and inner ones first: filling a directory changes its time, and may need rights it does not give.
    for target, status in reversed(finished):
        os.chmod(target, status.st_mode & 0o7777)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def remove(descriptors, path):
    delete(clean(path))
    write_all(descriptors[-1], b"\x00")


def delete(path):
    """All that is below a path; links are removed, not followed. Nothing there is fine."""
    waiting = [path]
    opened = set()
    while waiting:
        path = waiting[-1]
        try:
            if path not in opened and os.lstat(path).st_mode & 0o170000 == 0o040000:
                opened.add(path)
                try:
                    waiting += children(path)
                except PermissionError:
                    os.chmod(path, 0o700)  # ours, only shut
                    waiting += children(path)
            elif path in opened:
                os.rmdir(path)
                waiting.pop()
            else:
                os.unlink(path)
                waiting.pop()
        except FileNotFoundError:
            waiting.pop()
        except OSError as e:
            # Something was put in meanwhile: once more from the start of this directory.
            if e.errno != ENOTEMPTY or path not in opened:
                raise
            waiting += children(path)
