"""Whose Jupyter a test uses: this machine's, or that of Debian 13 in its directory (scripts/debian13.sh).

Programs of either run as processes of this machine and see the site's folders, so what they leave is found by the same checks.
"""

import json
import re
import subprocess
from pathlib import Path

from kernels import REPOSITORY

DEBIAN13 = REPOSITORY / "scripts/debian13.sh"
NAMES = {"debian12": "(Debian 12)", "debian13": "(Debian 13)"}


def root_filesystem():
    """Where Debian 13 is; made when it is not there yet."""
    made = subprocess.run([str(DEBIAN13), "setup"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    return made.stdout.strip()


def record(folder, client, kernel, features):
    """Notes what worked, for the table in docs/clients.md. A run of some tests only leaves the rest as it was."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{re.sub('[^A-Za-z0-9]+', '-', client).strip('-')}.{kernel}.json"
    before = json.loads(file.read_text())["features"] if file.exists() else {}
    file.write_text(json.dumps({"client": client, "kernel": kernel, "features": {**before, **features}}, indent=1) + "\n")


class Stack:
    def __init__(self, name, site):
        self.name = name
        self.site = site
        self.prefix = []
        self.environment = dict(site.environment)
        if name == "debian13":
            root_filesystem()
            self.prefix = [str(DEBIAN13), "exec"]
            self.environment["JUPYTER_PATH"] = str(self._enter_kernels())

    def _enter_kernels(self):
        """The site's kernelspecs for a Jupyter in that root: their programs run in this machine's."""
        target = self.site.base / "debian13/share/jupyter"
        for spec in self.site.base.glob("prefix/share/jupyter/kernels/*/kernel.json"):
            content = json.loads(spec.read_text())
            content["argv"] = ["/usr/local/bin/host-exec", *content["argv"]]
            folder = target / "kernels" / spec.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            for other in spec.parent.iterdir():
                (folder / other.name).write_bytes(other.read_bytes())
            (folder / "kernel.json").write_text(json.dumps(content))
        return target

    def command(self, *arguments):
        """`jupyter …`, `python3 …` and so on of this Jupyter."""
        program, *rest = map(str, arguments)
        return [*self.prefix, program if self.prefix else str(Path("/usr/bin", program)), *rest]

    def run(self, *arguments, timeout=120, **options):
        options.setdefault("cwd", str(self.site.folder("work")))
        return subprocess.run(
            self.command(*arguments), env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, **options
        )

    def popen(self, *arguments, **options):
        options.setdefault("cwd", str(self.site.folder("work")))
        return subprocess.Popen(self.command(*arguments), env=self.environment, stdin=subprocess.DEVNULL, **options)
