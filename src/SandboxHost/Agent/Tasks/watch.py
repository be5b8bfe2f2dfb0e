"""Watching a directory, by inotify."""

import ctypes
import os
import select
import sys

from common import E2BIG, ENOTDIR, TEMPORARY_OLD, clean, temporary, write_all
from entries import Names, describe

MAX_WATCHED = 8192
MAX_RENAMES = 256
MODIFY, ATTRIB, MOVED_FROM, MOVED_TO, CREATED, DELETED, DELETE_SELF, MOVE_SELF = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
OVERFLOW, IGNORED, IS_DIRECTORY = 0x4000, 0x8000, 0x40000000
ONLY_DIRECTORY, DO_NOT_FOLLOW = 0x01000000, 0x02000000
WATCHED = MODIFY | ATTRIB | MOVED_FROM | MOVED_TO | CREATED | DELETED
# As in filesystem.proto.
CREATE, WRITE, REMOVE, RENAME, CHMOD = 1, 2, 3, 4, 5


def watch(descriptors, path, recursive, with_entry):
    Watch(clean(path), recursive == b"1", with_entry == b"1", descriptors[-1]).run()


class Watch:
    """Tells changes below a directory:  u32 length | u8 type | name, ended by a zero byte | the entry, if asked for."""

    def __init__(self, top, recursive, with_entry, out):
        self.library = ctypes.CDLL(None, use_errno=True)
        self.error = ctypes.get_errno
        self.top, self.recursive, self.with_entry, self.out = top, recursive, with_entry, out
        self.names = Names()
        self.directories = {}  # watch descriptor -> path relative to the top, b"" for the top itself
        self.told = set()  # found while looking through a new directory; their own events may still come
        self.uploads = {}  # cookie of a rename -> whether it replaced a file

    def run(self):
        if os.stat(self.top).st_mode & 0o170000 != 0o040000:
            raise OSError(ENOTDIR, "it is not a directory")
        self.inotify = self.library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.inotify < 0:
            raise OSError(self.error(), os.strerror(self.error()))
        self.add(b"", DELETE_SELF | MOVE_SELF)
        if self.recursive:
            self.descend(b"", tell=False)
        write_all(self.out, b"\x00")
        poll = select.poll()
        poll.register(self.inotify, select.POLLIN)
        poll.register(self.out, 0)  # the host closing its end is an error of ours
        while True:
            if any(fd == self.out for fd, _ in poll.poll()):
                return
            self.take(os.read(self.inotify, 65536))

    def add(self, relative, more=0):
        if len(self.directories) >= MAX_WATCHED:
            raise OSError(E2BIG, f"there are more than {MAX_WATCHED} directories to watch")
        # The top may be reached by a link, what is below it is not.
        flags = WATCHED | ONLY_DIRECTORY | more | (DO_NOT_FOLLOW if relative else 0)
        number = self.library.inotify_add_watch(self.inotify, self.path(relative), flags)
        if number < 0:
            raise OSError(self.error(), os.strerror(self.error()))
        self.directories[number] = relative

    def path(self, relative):
        return os.path.join(self.top, relative) if relative else self.top

    def descend(self, relative, tell):
        """Watches what is below. What is found there was made before the watch could see it, so it is told now."""
        waiting = [relative]
        while waiting:
            relative = waiting.pop()
            try:
                with os.scandir(self.path(relative)) as entries:
                    found = [(os.path.join(relative, e.name), e.is_dir(follow_symlinks=False), holds_bytes(e)) for e in entries]
            except OSError:
                continue  # gone again, or not ours to look into
            for name, is_directory, written in found:
                if tell and not temporary(name):
                    self.told.add(name)
                    self.tell(CREATE, name)
                    if written:
                        self.tell(WRITE, name)
                if is_directory:
                    try:
                        self.add(name)
                    except (FileNotFoundError, PermissionError, NotADirectoryError):
                        continue
                    waiting.append(name)

    def take(self, data):
        """struct inotify_event: s32 watch, u32 mask, u32 cookie, u32 length of the name, which zero bytes fill up."""
        at = 0
        while at < len(data):
            number, mask, cookie, size = (int.from_bytes(data[at + i : at + i + 4], sys.byteorder) for i in (0, 4, 8, 12))
            name = data[at + 16 : at + 16 + size].rstrip(b"\0")
            at += 16 + size
            if mask & OVERFLOW:
                # The answer has begun; an event of type 0 with a text says that it broke off, and why.
                self.send(0, b"the queue of events ran over; what changed meanwhile is not known")
                os._exit(0)
            if mask & IGNORED:
                self.directories.pop(number, None)
            elif number in self.directories:
                self.change(number, mask, cookie, name)

    def change(self, number, mask, cookie, name):
        parent = self.directories[number]
        if not name:
            if parent == b"" and mask & (DELETE_SELF | MOVE_SELF | ATTRIB):
                self.tell(REMOVE if mask & DELETE_SELF else RENAME if mask & MOVE_SELF else CHMOD, b".")
            return  # of a directory below, its parent tells
        relative = os.path.join(parent, name)
        if temporary(name):
            if mask & MOVED_FROM:
                # Renames of different processes may be told interleaved, and of one given up the second half never comes.
                if len(self.uploads) >= MAX_RENAMES:
                    self.uploads.clear()
                self.uploads[cookie] = name.startswith(TEMPORARY_OLD)
            return  # an upload under way
        if mask & (CREATED | MOVED_TO):
            replaced = self.uploads.pop(cookie, None) if mask & MOVED_TO else None
            if relative in self.told:
                self.told.discard(relative)
            elif not replaced:
                self.tell(CREATE, relative)
            if replaced is not None:
                self.tell(WRITE, relative)
            if mask & IS_DIRECTORY and self.recursive:
                try:
                    self.add(relative)
                    self.descend(relative, tell=True)
                except (FileNotFoundError, PermissionError, NotADirectoryError):
                    pass  # it went again
        if mask & MOVED_FROM:
            self.told.discard(relative)
            self.tell(RENAME, relative)
            if mask & IS_DIRECTORY:
                self.forget(relative)
        if mask & ATTRIB:
            self.tell(CHMOD, relative)
        if mask & MODIFY:
            self.tell(WRITE, relative)
        if mask & DELETED:
            self.told.discard(relative)
            self.tell(REMOVE, relative)

    def forget(self, relative):
        """A directory that was moved away is no longer below the top, or is found anew under its new name."""
        for number, path in list(self.directories.items()):
            if path == relative or path.startswith(relative + b"/"):
                del self.directories[number]
                self.library.inotify_rm_watch(self.inotify, number)

    def tell(self, kind, relative):
        entry = b""
        if self.with_entry:
            path = self.path(b"" if relative == b"." else relative)
            try:
                entry = describe(path, os.lstat(path), self.names)
            except OSError:
                pass  # removed, or renamed
        self.send(kind, relative, entry)

    def send(self, kind, name, entry=b""):
        body = bytes((kind,)) + name + b"\0" + entry
        write_all(self.out, len(body).to_bytes(4, "big") + body)


def holds_bytes(entry):
    try:
        return entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_size > 0
    except OSError:
        return False  # it went
