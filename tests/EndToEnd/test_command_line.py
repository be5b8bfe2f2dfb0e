"""The command line around the kernel: install, doctor, status, sandbox, serve."""

import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from kernels import eventually, free_ports, sandboxed_processes

pytestmark = pytest.mark.sandbox


def test_install_writes_a_kernelspec_that_any_client_can_start(site):
    folder = site.install("sandbox-spec", "--display-name", "A sandbox")
    spec = json.loads((folder / "kernel.json").read_text())
    assert os.path.isabs(spec["argv"][0]) and os.access(spec["argv"][0], os.X_OK)
    assert "{connection_file}" in spec["argv"]  # an element of its own, as Polyglot wants it
    assert (spec["display_name"], spec["language"], spec["interrupt_mode"]) == ("A sandbox", "python", "message")
    assert spec["metadata"].get("debugger") is True
    assert "kernel_protocol_version" not in spec
    assert {"logo-svg.svg", "logo-32x32.png", "logo-64x64.png"} <= {path.name for path in folder.iterdir()}
    done = site.run("uninstall", "--prefix", site.base / "prefix", "--name", "sandbox-spec")
    assert done.returncode == 0, done.stderr
    assert not folder.exists()


def test_install_is_safe_to_repeat(site):
    assert site.install("sandbox-twice") == site.install("sandbox-twice")


def test_install_for_the_user_goes_where_jupyter_looks(site):
    done = site.run("install", "--user", "--name", "sandbox-user")
    assert done.returncode == 0, done.stderr
    assert Path(site.environment["JUPYTER_DATA_DIR"], "kernels/sandbox-user/kernel.json").exists()
    assert site.run("uninstall", "--user", "--name", "sandbox-user").returncode == 0


@pytest.mark.parametrize("name", ["", "../up", "a b", "a/b", "é"])
def test_a_name_that_jupyter_would_not_take_is_refused(site, name):
    done = site.run("install", "--prefix", site.base / "prefix", "--name", name)
    assert done.returncode != 0 and done.stderr


def test_doctor_finds_this_machine_fit(site):
    done = site.run("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    checks = json.loads(site.run("doctor", "--json").stdout)
    assert all({"name", "ok", "required"} <= set(check) for check in checks) and len(checks) >= 3
    assert all(check["ok"] for check in checks if check["required"])


def test_help_names_the_commands_and_the_exit_codes(site):
    text = site.run("--help").stdout
    for command in ("kernel", "install", "uninstall", "doctor", "status", "sandbox", "serve", "broker"):
        assert command in text
    assert "exit code" in text.lower()


def test_an_unknown_command_is_an_error(site):
    done = site.run("frobnicate")
    assert done.returncode == 2 and done.stdout == "" and "frobnicate" in done.stderr


def test_results_are_on_stdout_and_nothing_else_is(site, kernel):
    kernel.execute("1")
    status = site.status()
    assert set(status) >= {"limit", "used", "queued", "spares", "claims"}
    assert (status["used"], len(status["claims"])) == (1, 1)
    assert set(status["claims"][0]) >= {"id", "sandbox", "state", "since"}
    listed = json.loads(site.run("sandbox", "list", "--json").stdout)
    assert [one["id"] for one in listed] == [status["claims"][0]["sandbox"]]
    assert json.loads(site.run("sandbox", "info", status["claims"][0]["sandbox"], "--json").stdout)["id"] == listed[0]["id"]


def test_status_without_a_broker_starts_none(site):
    done = site.run("status", "--json", INTERPRETER_KERNEL_RUNTIME_DIR=str(site.folder("empty")))
    assert done.returncode == 0 and json.loads(done.stdout)["used"] == 0
    assert list((site.base / "empty").glob("*.sock")) == []


def test_the_host_alone_serves_and_leaves_nothing(site):
    port = free_ports(1)[0]
    (site.base / "api-key").write_text("a-key-for-the-test\n")
    (site.base / "api-key").chmod(0o600)
    server = subprocess.Popen(
        [str(site.executable), "serve", "--listen", f"http://127.0.0.1:{port}", "--api-key-file", str(site.base / "api-key")],
        env=site.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:

        def call(path, key=None, body=None):
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers={"Content-Type": "application/json"})
            if key:
                request.add_header("X-API-Key", key)
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return answer.status, json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                return error.code, None
            except urllib.error.URLError:
                return 0, None

        eventually(lambda: call("/sandboxes")[0] != 0, 10)
        assert call("/sandboxes")[0] == 401 and call("/sandboxes", "wrong")[0] == 401
        assert call("/sandboxes", "a-key-for-the-test") == (200, [])
        status, made = call("/sandboxes", "a-key-for-the-test", json.dumps({"templateID": "base", "timeout": 60}).encode())
        assert status == 201 and made["sandboxID"]
        assert sandboxed_processes(site)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)
    eventually(lambda: not sandboxed_processes(site), 2)


# --- the first five minutes ------------------------------------------------------------------------------------------


COMMANDS = ["kernel", "install", "uninstall", "doctor", "status", "sandbox", "sweep", "serve", "broker", "completion"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example_and_the_exit_codes(site, command):
    text = site.run(command, "--help").stdout
    assert "Examples:\n  " in text and f"interpreter-kernel {command}" in text.split("Examples:")[1]
    assert "Exit codes:" in text and "143" in text


def test_install_says_what_comes_next(site):
    done = site.run("install", "--prefix", site.base / "prefix", "--name", "sandbox-next", "--display-name", "Mine")
    assert 'jupyter lab' in done.stderr and '"Mine"' in done.stderr and "kernel_name=sandbox-next" in done.stderr
    site.run("uninstall", "--prefix", site.base / "prefix", "--name", "sandbox-next")


def test_doctor_says_what_comes_next_and_why_something_matters(site):
    assert "Next: " in site.run("doctor").stdout
    done = site.run("doctor", "--python", "/usr/bin/false")
    assert done.returncode == 1
    assert "MISSING" in done.stdout and "To mend it:\n  1. python: the kernel inside the sandbox" in done.stdout, done.stdout


def test_bash_completes_commands_and_options(site):
    script = site.run("completion", "bash").stdout

    def complete(line):
        words = line.split(" ")
        code = f'{script}\nCOMP_LINE="{line}"; COMP_POINT={len(line)}; COMP_WORDS=({line} ""); COMP_CWORD={len(words) - 1}; _interpreter_kernel; echo "${{COMPREPLY[@]}}"'
        path = f"{site.executable.parent}:{site.environment['PATH']}"
        done = subprocess.run(["bash", "-c", code], env={**site.environment, "PATH": path}, capture_output=True, text=True, timeout=60)
        return done.stdout.split()

    assert complete("interpreter-kernel doc") == ["doctor"]
    assert complete("interpreter-kernel install --cell-t") == ["--cell-timeout"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shells_script_is_one_that_it_can_read(site, shell):
    script = site.run("completion", shell).stdout
    assert "[suggest:" in script
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_shell_is_an_error(site):
    assert site.run("completion", "powershell").returncode == 2
