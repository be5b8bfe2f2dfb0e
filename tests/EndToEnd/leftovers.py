"""Finds what a site has left on the machine: processes, mounts, cgroups, files, unix sockets."""

import collections
import contextlib
import os
import re
import time
from pathlib import Path

import kernels

CGROUPS = Path("/sys/fs/cgroup")
# Where hosts that run as root keep the files of their sandboxes.
HOSTS = Path("/run/interpreter-kernel-host")
# Where the product, or a client on its behalf, keeps things while it runs.
WATCHED_FOLDERS = ("rt", "xdg", "jrt", "tmp")


def cgroups():
    return {folder for folder, _, _ in os.walk(CGROUPS)}


def mounts(site):
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if any(mark in line for mark in site.marks)]


def files(site):
    """How many entries there are of each name. Numbers and ids in names are evened out: a new broker may count anew."""
    found = collections.Counter()
    for watched in [site.base / name for name in WATCHED_FOLDERS] + [HOSTS / host for host in site.hosts]:
        for folder, folders, names in os.walk(watched):
            # A broker that was killed leaves a line about itself there, by which its successors know its remote sandboxes.
            if folder.endswith("/rt/instances"):
                continue
            for name in folders + names:
                found[re.sub(r"[0-9a-z]{15,}|[0-9a-f]{6,}|\d+", "#", os.path.join(folder, name))] += 1
    return found


def sockets(site):
    """The unix sockets that somebody listens on; connections to them bear the same name."""
    lines = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:] if site.name in line)
    listening = (fields[-1] for fields in lines if int(fields[3], 16) & 0x10000)
    return collections.Counter(re.sub(r"[0-9a-z]{15,}|[0-9a-f]{6,}|\d+", "#", name.split(site.name)[1]) for name in listening)


def processes(site):
    """All of the site's processes except the broker's own family, which stays between kernels.

    Only what runs on the host counts as family: anything in a sandbox is a leftover once its kernel is gone.
    """
    everything = kernels.processes_of(site)
    family = {process.pid for process in kernels.brokers(site)}
    grown = bool(family)
    while grown:
        more = {p.pid for p in everything if p.parent in family and not p.sandboxed and "runc" not in p.command.split(" ")[0]} - family
        family |= more
        grown = bool(more)
    return [process for process in everything if process.pid not in family and not _zombie(process.pid)]


def _zombie(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def _foreign(site, cgroup):
    """A new cgroup of somebody else: other sandboxes, or other things altogether, may come and go on the machine."""
    if "/interpreter-kernel-" in cgroup:
        return not any(mark in cgroup for mark in site.marks)
    with contextlib.suppress(OSError):
        return bool(Path(cgroup, "cgroup.procs").read_text().strip())
    return True  # gone meanwhile


class Baseline:
    """What there is while nothing runs but, perhaps, the broker."""

    def __init__(self, site):
        self.site = site
        self.cgroups = cgroups()
        self.mounts = collections.Counter(mounts(site))
        self.files = files(site)
        self.sockets = sockets(site)

    def allow_what_is_there(self):
        self.cgroups |= cgroups()
        self.mounts |= collections.Counter(mounts(self.site))
        self.files |= files(self.site)
        self.sockets |= sockets(self.site)

    def _left(self):
        yield from (f"process {process}" for process in processes(self.site))
        yield from (f"mount {mount}" for mount in (collections.Counter(mounts(self.site)) - self.mounts))
        yield from (f"cgroup {group}" for group in sorted(cgroups() - self.cgroups) if not _foreign(self.site, group))
        yield from (f"file {name}" for name in (files(self.site) - self.files))
        yield from (f"socket {name}" for name in (sockets(self.site) - self.sockets))

    def left(self, seconds=2.0):
        """What is left once everything had `seconds` to go."""
        deadline = time.monotonic() + kernels.patience(seconds)
        while found := list(self._left()):
            if time.monotonic() > deadline:
                return found
            time.sleep(0.1)
        return []
