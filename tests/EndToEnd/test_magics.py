"""What only a sandbox can do is one line away: %sandbox at the top of a cell, handled before the kernel sees it."""

import os
import re
import shutil
import threading
import time
from pathlib import Path

import pytest
from kernels import patience

pytestmark = pytest.mark.sandbox


@pytest.fixture
def place(site):
    """The notebook's folder, emptied: kernels run there."""
    folder = site.folder("work")
    yield folder
    shutil.rmtree(folder)
    site.folder("work")


@pytest.fixture
def free(start, place):
    """A kernel that may copy what it likes."""
    return start(INTERPRETER_KERNEL_TRANSFERS="any")


def sandbox(kernel):
    return [claim["sandbox"] for claim in kernel.site.status()["claims"]]


def test_sandbox_alone_lists_what_there_is(kernel):
    result = kernel.execute("%sandbox")
    assert result.status == "ok"
    for word in ("info", "put LOCAL", "get REMOTE", "timeout", "restart --fresh", "%%timeout"):
        assert word in result.stdout


def test_info_tells_what_is_true(kernel):
    kernel.execute("filled = bytearray(300 << 20)")
    facts = dict(re.split(r"\s+", line, maxsplit=1) for line in kernel.execute("%sandbox info").stdout.splitlines())
    assert [facts["sandbox"]] == sandbox(kernel)
    assert facts["service"] == "embedded (this machine)" and facts["kernel"] == "python3"
    assert re.match(r"\d+ s, since \d\d:\d\d:\d\d$", facts["up"]), facts
    used, total = re.match(r"([\d.]+) MiB of ([\d.]+) GiB$", facts["memory"]).groups()
    assert 300 < float(used) < 900 and float(total) == 2, facts
    assert re.match(r"1 of \d+ in use, 0 waiting$", facts["slots"])
    assert facts["lease"].startswith("1m, renewed") and "a cell none, all cells none" in facts["timeouts"]


def test_the_rest_of_the_cell_runs_as_the_same_cell_with_its_line_numbers(free, place):
    (place / "in.txt").write_text("brought in")
    result = free.execute("%sandbox put in.txt\n%sandbox timeout\nprint(open('in.txt').read())\nraise ValueError('here')")
    assert "in.txt → sandbox:in.txt (1 file, 10 bytes) in " in result.stdout and "brought in\n" in result.stdout
    assert result.stdout.index("sandbox:in.txt") < result.stdout.index("without limit") < result.stdout.index("brought in\n")
    assert re.search(r"> 4 ", re.sub(r"\x1b\[[0-9;]*m", "", result.error)), result.error
    assert [m["msg_type"] for m in result.messages].count("execute_input") == 1


def test_cells_are_numbered_as_if_they_were_ordinary_ones(kernel):
    counts = [kernel.execute(code).reply["content"]["execution_count"] for code in ("1", "%sandbox info", "%sandbox timeout\n2", "3")]
    assert counts == [1, 2, 3, 4]


def test_a_timeout_and_another_cell_magic_may_stand_with_it(kernel):
    assert kernel.execute("%sandbox timeout\n%%timeout 5s\n%%bash\necho through").stdout.endswith("through\n")
    assert "may run 1s (%%timeout)" in kernel.execute("%sandbox timeout\n%%timeout 1s\nwhile True: pass").error


# --- files -----------------------------------------------------------------------------------------------------------


def test_folders_go_in_and_come_out_as_they_were(free, place):
    data = place / "data"
    (data / "deep/er").mkdir(parents=True)
    (data / "empty").mkdir()
    contents = {"a.bin": os.urandom(3 << 20), "deep/er/é name.txt": "text".encode(), "deep/none": b""}
    for name, content in contents.items():
        (data / name).write_bytes(content)
    result = free.execute("%sandbox put data\n%sandbox get data back")
    assert result.status == "ok", result.error
    assert "(3 files, 3 MiB)" in result.stdout
    assert {str(p.relative_to(place / "back")): p.read_bytes() for p in (place / "back").rglob("*") if p.is_file()} == contents
    assert (place / "back/empty").is_dir()
    assert free.value("sorted(__import__('os').listdir('data'))") == ["a.bin", "deep", "empty"]


def test_a_large_transfer_shows_its_progress_in_one_place(free, place):
    (place / "many").mkdir()
    for number in range(1500):
        (place / f"many/{number}").write_bytes(b"x" * 1000)
    result = free.execute("%sandbox put many", timeout=patience(80))
    assert result.status == "ok", result.error
    shown = [m for m in result.messages if m["msg_type"] in ("display_data", "update_display_data")]
    assert len(shown) >= 2 and len({m["content"]["transient"]["display_id"] for m in shown}) == 1
    assert re.search(r"\d+ of 1500 files", shown[0]["content"]["data"]["text/plain"])
    assert "1500 files, 1.4 MiB" in shown[-1]["content"]["data"]["text/plain"]


def test_links_are_followed_in_neither_direction(free, place, site):
    secret = site.base / "secret.txt"
    secret.write_text("secret of the host")
    (place / "data").mkdir()
    (place / "data/real.txt").write_text("real")
    (place / "data/link.txt").symlink_to(secret)
    (place / "link").symlink_to(secret)
    assert "1 link" in free.execute("%sandbox put data").stdout
    assert free.value("__import__('os').listdir('data')") == ["real.txt"]
    assert "TransferRefused" in free.execute("%sandbox put link").error
    # And out: neither a link in the sandbox, nor one that waits on this side.
    free.execute("import os; os.makedirs('out/sub'); os.symlink('/etc/hostname', 'out/link'); open('out/sub/x', 'w').write('theirs'); open('x', 'w').write('theirs')")
    (place / "out").mkdir()
    (place / "out/sub").symlink_to(site.base)
    assert "is a link on this machine" in free.execute("%sandbox get out").error
    assert not (site.base / "x").exists() and not (place / "out/link").exists()
    (place / "x").symlink_to(secret)
    assert "is a link on this machine" in free.execute("%sandbox get x").error
    assert secret.read_text() == "secret of the host"
    assert "is a link in the sandbox" in free.execute("%sandbox get out/link").error


def test_hostile_names_in_the_sandbox_stay_in_the_folder_they_are_brought_to(free, place):
    free.execute("import os; os.makedirs('out')\nfor n in ('..\\\\up', 'a\\nb', '-rf', '...', '\\x1b[2Jx'): open('out/' + n, 'w').write(n)")
    before = {p for p in place.parent.iterdir()}
    result = free.execute("%sandbox get out")
    assert result.status == "ok", result.error
    assert "2 names that can't be used here" in result.stdout
    assert sorted(p.name for p in (place / "out").iterdir()) == sorted(["..\\up", "-rf", "..."])
    assert {p for p in place.parent.iterdir()} == before
    for remote in ("/", "..", "."):
        assert free.execute(f"%sandbox get {remote}").status == "error"


def test_what_is_over_the_bounds_is_refused_as_a_whole(start, place):
    kernel = start(INTERPRETER_KERNEL_TRANSFERS="any", INTERPRETER_KERNEL_TRANSFER_LIMIT="1M", INTERPRETER_KERNEL_TRANSFER_FILES="20")
    (place / "large").write_bytes(b"x" * (2 << 20))
    assert "TransferTooLarge" in kernel.execute("%sandbox put large").error
    kernel.execute("import os; os.makedirs('out')\nfor i in range(30): open(f'out/{i}', 'w').close()\nopen('large', 'wb').truncate(2 << 20)")
    assert "transferFiles" in kernel.execute("%sandbox get out").error
    assert "transferLimit" in kernel.execute("%sandbox get large elsewhere").error
    # A file that is endless although it says that it is not.
    assert "Transfer" in kernel.execute("%sandbox get /dev/zero zero").error
    assert [p.name for p in place.iterdir()] == ["large"]


def test_what_is_not_there_is_named(free, place):
    assert "There is no file or folder" in free.execute("%sandbox get nothing").error
    assert str(place / "nothing") in free.execute("%sandbox put nothing").error


# --- who may copy what -----------------------------------------------------------------------------------------------


def test_a_notebook_that_nobody_watches_copies_nothing_unless_it_was_allowed(kernel, place):
    (place / "mine").write_text("mine")
    for code in ("%sandbox put mine", "%sandbox put ~/.ssh"):
        assert kernel.execute(code).status == "error"
    error = kernel.execute("%sandbox put mine").error
    assert "TransferRefused" in error and "INTERPRETER_KERNEL_TRANSFERS" in error
    kernel.execute("open('theirs', 'w').write('theirs')")
    assert "TransferRefused" in kernel.execute("%sandbox get theirs").error
    assert [p.name for p in place.iterdir()] == ["mine"]


def test_a_person_is_asked(kernel, place):
    (place / "mine").write_text("mine")

    def answered(code, *answers):
        questions = []

        def ask(message):
            questions.append(message["content"]["prompt"])
            kernel.client.input(answers[len(questions) - 1])

        reply = kernel.client.execute_interactive(code, timeout=patience(30), allow_stdin=True, stdin_hook=ask, output_hook=lambda _: None)
        return reply["content"], questions

    content, questions = answered("%sandbox put mine\nprint(input('and? '))", "n")
    assert (content["status"], content["ename"]) == ("error", "TransferRefused") and "not allow" in content["evalue"]
    assert "copy " + str(place / "mine") in questions[0] and "4 bytes" in questions[0]
    content, questions = answered("%sandbox put mine\nanswer = input('and? ')", "y", "yes")
    assert content["status"] == "ok" and questions[1] == "and? "
    assert answered("%sandbox put mine", "a")[1] != []
    assert answered("%sandbox put mine\n%sandbox get mine again") == ({**content, "execution_count": content["execution_count"] + 2}, [])
    assert (place / "again").read_text() == "mine"


def test_within_its_folder_a_notebook_may_when_that_is_set(start, place, site):
    kernel = start(INTERPRETER_KERNEL_TRANSFERS="notebook")
    (place / "mine").write_text("mine")
    assert kernel.execute("%sandbox put mine\n%sandbox get mine again").status == "ok"
    kernel.execute("import os; os.makedirs('out/.git/hooks'); open('out/.git/hooks/x', 'w'); open('out/.hidden', 'w'); open('out/seen', 'w')")
    (site.base / "outside").write_text("x")
    for code in ("put ../../outside", "put /etc/hostname", "get mine ../mine", "get mine .bashrc", "get mine ~/.bashrc"):
        assert "TransferRefused" in kernel.execute("%sandbox " + code).error, code
    assert "2 hidden names" in kernel.execute("%sandbox get out").stdout
    assert sorted(str(p.relative_to(place)) for p in place.rglob("*")) == ["again", "mine", "out", "out/seen"]


# --- order, interrupts, the new sandbox ------------------------------------------------------------------------------


def test_a_magic_waits_its_turn_and_what_is_behind_waits_for_it(free, place):
    (place / "x").write_text("1")
    client = free.client
    requests = [
        client.execute("import time, os; time.sleep(1); print(os.path.exists('x'))"),
        client.execute("%sandbox put x\nprint(open('x').read())"),
        client.execute("print('after', os.path.exists('x'))"),
    ]
    assert [free.result(request, patience(30)).stdout.splitlines()[-1] for request in requests] == ["False", "1", "after True"]


def test_an_error_in_a_magic_stops_the_cells_behind_as_any_error_does(kernel):
    requests = [kernel.client.execute(code) for code in ("%sandbox frobnicate\nran = 1", "ran = 2")]
    first, second = (kernel.result(request, patience(30)) for request in requests)
    assert "SandboxMagicError" in first.error and "put LOCAL" in first.error
    assert second.status == "aborted"
    assert kernel.value("'ran' in globals()") is False


def test_an_error_in_a_cell_stops_a_magic_behind_it(kernel):
    requests = [kernel.client.execute(code) for code in ("import time; time.sleep(0.5); 1/0", "%sandbox timeout 7s")]
    assert [kernel.result(request, patience(30)).status for request in requests] == ["error", "aborted"]
    assert "without limit" in kernel.execute("%sandbox timeout").stdout


def test_a_transfer_can_be_interrupted(free, place):
    with open(place / "large", "wb") as file:
        file.truncate(900 << 20)
    request = free.client.execute("%sandbox put large\nran = True")
    threading.Timer(0.7, free.manager.interrupt_kernel).start()
    since = time.monotonic()
    result = free.result(request, patience(40))
    assert "KeyboardInterrupt" in result.error
    assert time.monotonic() - since < patience(5)
    assert free.value("'ran' in globals()") is False
    assert free.value("__import__('os').path.exists('large')") is False


def test_the_limit_of_this_kernel_is_set_in_a_cell(kernel):
    assert "may run 1s" in kernel.execute("%sandbox timeout 1s").stdout
    assert "may run 1s (%sandbox timeout)" in kernel.execute("while True: pass").error
    kernel.execute("%sandbox timeout none")
    assert kernel.execute("import time; time.sleep(1.5)").status == "ok"


def test_a_fresh_sandbox_knows_nothing_of_the_old_one(kernel):
    kernel.execute("kept = 1; open('kept.txt', 'w').write('x')")
    before = sandbox(kernel)
    requests = [kernel.client.execute(code) for code in ("%sandbox restart --fresh\nimport os; print('kept' in globals(), os.path.exists('kept.txt'))", "print('behind')")]
    result, behind = (kernel.result(request, patience(60)) for request in requests)
    assert result.status == "ok", result.error
    assert "False False\n" in result.stdout and before[0] in result.stdout
    assert behind.stdout == "behind\n"
    after = sandbox(kernel)
    assert len(after) == 1 and after != before and after[0] in result.stdout


def test_silent_cells_run_their_magics_and_show_nothing(kernel):
    kernel.execute("1")  # what the first cell waits for is told in any case
    result = kernel.result(kernel.client.execute("%sandbox timeout 7s\nsilently = 1", silent=True), patience(30))
    assert (result.status, result.messages) == ("ok", [])
    assert "may run 7s" in kernel.execute("%sandbox timeout\nprint(silently)").stdout


def test_magics_work_whatever_the_language(site, start):
    """R knows no magics of this kind, and would take the line for a syntax error."""
    if not Path("/usr/lib/R/site-library/IRkernel").exists():
        pytest.skip("r-cran-irkernel is not installed")
    site.install("sandbox-r", "--kernel", "ir")
    kernel = start(name="sandbox-r")
    result = kernel.execute("%sandbox info\ncat('through')")
    assert "kernel      ir" in result.stdout and "through" in result.stdout
