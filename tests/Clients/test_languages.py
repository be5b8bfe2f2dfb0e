"""Other languages than Python, with their own kernels in the sandbox: R and Octave of Debian 13, installed by `install --kernel NAME`.

They run in sandboxes whose root file system is Debian 13's directory (scripts/debian13.sh), whatever this machine has.
"""

import json
import os
import time
from pathlib import Path

import pytest
from kernels import eventually

CLIENT = "languages"
ROOT = os.environ.get("IK_TEST_ROOT_FILESYSTEM")
pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.limit(180),
    pytest.mark.skipif(not ROOT, reason="run by scripts/languages.sh, which makes the root file system"),
]

LANGUAGES = {
    "r": {
        "kernel": "ir",
        "language": "R",
        "extension": ".r",
        "sum": ("x <- c(1, 2, 3.5)\nsum(x)", "6.5"),
        "printed": ('cat("hello\\n")', "hello\n"),
        "error": ('stop("on purpose")', "on purpose"),
        "failed": "error",
        "again": ("sum(x) + 1", "7.5"),
        "loop": 'cat("looping\\n"); flush.console(); repeat { Sys.sleep(0.05) }',
        "completion": ("read.cs", "read.csv"),
        "where": 'cat(Sys.info()[["nodename"]], "\\n")',
    },
    "octave": {
        "kernel": "octave",
        "language": "octave",
        "extension": ".m",
        "sum": ("x = [1 2 3.5];\nsum(x)", "6.5"),
        "printed": ('printf("hello\\n")', "hello"),
        "error": ('error("on purpose")', "on purpose"),
        "failed": "ok",  # that kernel prints the error and says that all is well, outside of a sandbox too
        "again": ("sum(x) + 1", "7.5"),
        "loop": 'printf("looping\\n"); fflush(stdout); while true, pause(0.05); end',
        "completion": ("fprint", "fprintf"),
        "where": 'printf("%s\\n", gethostname())',
    },
}


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request, site):
    given = LANGUAGES[request.param]
    folder = site.install(f"sandbox-{request.param}", "--kernel", given["kernel"])
    return {**given, "name": f"sandbox-{request.param}", "folder": folder}


@pytest.fixture
def speaker(language, start):
    return start(name=language["name"])


def said(result):
    """What a cell shows: its streams, results and displays, as text."""
    parts = [m["content"]["text"] for m in result.messages if m["msg_type"] == "stream"]
    parts += [m["content"]["data"].get("text/plain", "") for m in result.messages if "data" in m["content"]]
    return "".join(parts)


@pytest.mark.feature("kernelspec")
def test_the_kernelspec_names_the_language(language):
    spec = json.loads(Path(language["folder"], "kernel.json").read_text())
    assert spec["language"].lower() == language["language"].lower()
    assert f"--kernel={language['kernel']}" in spec["argv"]
    assert "andbox" in spec["display_name"]


@pytest.mark.feature("kernel_info")
def test_kernel_info_shows_the_real_language(language, speaker):
    info = speaker.ask(speaker.client.kernel_info())["content"]
    assert info["language_info"]["name"].lower() == language["language"].lower()
    assert info["language_info"]["file_extension"] == language["extension"]
    assert info["status"] == "ok" and info["banner"]


@pytest.mark.feature("run cells")
def test_cells_keep_their_variables_print_fail_and_go_on(language, speaker):
    for cell in ("sum", "printed"):
        code, expected = language[cell]
        result = speaker.execute(code)
        assert result.status == "ok", result.error
        assert expected in said(result)
    code, expected = language["error"]
    failed = speaker.execute(code)
    assert failed.status == language["failed"]
    assert expected in failed.error + said(failed)
    assert language["again"][1] in said(speaker.execute(language["again"][0]))


@pytest.mark.feature("completion")
def test_completion_knows_the_language(language, speaker):
    code, expected = language["completion"]
    assert expected in speaker.ask(speaker.client.complete(code, len(code)))["content"]["matches"]


@pytest.mark.feature("interrupt")
def test_an_interrupt_ends_a_loop_and_the_variables_stay(language, speaker):
    assert speaker.execute(language["sum"][0]).status == "ok"
    request = speaker.begin(language["loop"])
    since = time.monotonic()
    speaker.manager.interrupt_kernel()
    speaker.result(request, timeout=20)  # Octave's kernel calls an interrupted cell "ok"; it would not have ended
    assert time.monotonic() - since < 20
    assert language["again"][1] in said(speaker.execute(language["again"][0]))


@pytest.mark.feature("sandbox")
def test_it_runs_in_the_sandbox_and_its_slot_is_freed(site, language, speaker):
    assert "sandbox" in said(speaker.execute(language["where"]))
    assert site.used() == 1
    speaker.manager.shutdown_kernel()
    eventually(lambda: site.used() == 0, 5)
