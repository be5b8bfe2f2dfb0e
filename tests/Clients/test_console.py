"""`jupyter console` in a terminal: a kernel of its own, and one that somebody else has (--existing), two clients on it."""

import os
import re
import sys
from pathlib import Path

import kernels
import pytest
from kernels import eventually

pexpect = pytest.importorskip("pexpect")

CLIENT = "jupyter console"


class Console:
    """A terminal with a console in it. With the simple prompt each line is sent as it is."""

    def __init__(self, site, *arguments):
        self.site = site
        command = ["-m", "jupyter_console", "--simple-prompt", *map(str, arguments)]
        environment = {**site.environment, "TERM": "dumb", "NO_COLOR": "1", "PYTHON_COLORS": "0"}
        self.child = pexpect.spawn(
            sys.executable, command, env=environment, cwd=str(site.folder("work")), encoding="utf-8", timeout=60, dimensions=(50, 200)
        )
        self.prompt()

    def prompt(self):
        """What was shown up to the next prompt for code."""
        self.child.expect(r"In \[\d+\]: ")
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.child.before).replace("\r", "")

    def run(self, line):
        self.child.sendline(line)
        return self.prompt()

    def leave(self, patience=-1):
        """Ctrl-D, and yes to whatever it asks."""
        self.child.sendeof()
        while self.child.expect([r"\)\? ", pexpect.EOF], timeout=patience) == 0:
            self.child.sendline("y")
        self.child.wait()

    def close(self):
        """A console that is killed leaves its connection file; so it is asked first."""
        if self.child.isalive():
            try:
                self.leave(patience=15)
            except (pexpect.ExceptionPexpect, OSError):
                self.child.close(force=True)
                for file in Path(self.site.environment["JUPYTER_RUNTIME_DIR"]).glob(f"kernel-{self.child.pid}.json"):
                    file.unlink()


@pytest.fixture
def console(site, nothing_left):
    opened = []

    def open_one(*arguments):
        opened.append(Console(site, *(arguments or ("--kernel", site.kernel_name))))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.mark.feature("run cells")
def test_lines_are_run_and_their_results_shown(console):
    one = console()
    assert "Out[1]: 42" in one.run("6 * 7")
    assert "hello" in one.run("print('hello')")


@pytest.mark.feature("errors")
def test_an_error_shows_its_traceback_and_the_console_goes_on(console):
    one = console()
    assert "ZeroDivisionError: division by zero" in one.run("1 / 0")
    assert "2" in one.run("1 + 1")


@pytest.mark.feature("input()")
def test_input_is_asked_in_the_terminal(console):
    one = console()
    one.child.sendline("print('Hello', input('Name? '))")
    one.child.expect(r"(\r|\n|\x1b\[\?2004h)Name\? ")  # the line that was typed has these words as well
    assert "Hello Ada" in one.run("Ada")


@pytest.mark.feature("interrupt")
def test_ctrl_c_interrupts_the_cell_and_the_variables_stay(console):
    one = console()
    one.run("kept = 'kept'")
    one.child.sendline("print('loop' + 'ing', flush=True); exec('while True: pass')")
    one.child.expect(r"[\r\n]looping")
    one.child.sendintr()
    assert "KeyboardInterrupt" in one.prompt()
    assert "kept" in one.run("print(kept)")


@pytest.mark.feature("shutdown")
def test_ctrl_d_ends_the_console_and_its_kernel(site, console):
    one = console()
    one.run("1")
    one.leave()
    if site.sandboxed:
        eventually(lambda: site.used() == 0, 5)


@pytest.mark.feature("two clients")
def test_two_clients_share_one_kernel_and_leaving_one_keeps_it(site, console, kernel):
    first = console("--existing", kernel.manager.connection_file)
    assert kernel.execute("x = 'from the notebook'").status == "ok"
    assert "from the notebook" in first.run("print(x)")
    first.run("y = 'from the terminal'")
    assert kernel.value("y") == "from the terminal"
    first.leave()
    assert kernel.process.poll() is None
    assert kernel.value("x") == "from the notebook"


@pytest.mark.feature("two clients")
def test_the_newest_kernel_is_found_without_naming_its_file(site, console):
    owner = console()
    owner.run("x = 'the owner was here'")
    (newest,) = Path(site.environment["JUPYTER_RUNTIME_DIR"]).glob("kernel-*.json")
    second = console("--existing")
    assert "the owner was here" in second.run("print(x)")
    second.leave()
    assert os.path.exists(newest)
    assert "the owner was here" in owner.run("print(x)")


@pytest.mark.feature("kernel death")
def test_a_kernel_that_dies_is_told_in_the_terminal(site, console):
    one = console()
    one.child.sendline("import os; os.kill(os.getpid(), 9)")
    one.child.expect(r"died|SIGKILL|KernelDied|[Dd]ead kernel|restart")
