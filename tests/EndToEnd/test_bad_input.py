"""What is wrong is told, with the mend; what can't serve ends non-zero; what runs goes on running; nothing is left."""

import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
import uuid
from pathlib import Path

import pytest
from kernels import DELIMITER, Site, WireClient, brokers, connection_file, eventually, kill, processes_of, sandboxed_processes
from leftovers import mounts

# --- the connection file ---------------------------------------------------------------------------------------------


def refused(site, file, *said, prefix=(), **environment):
    """The kernel ends by itself, soon and non-zero, and its message holds all that is `said`."""
    done = site.run("kernel", "-f", file, timeout=20, prefix=prefix, **environment)
    assert done.returncode not in (0, -6, 134, 139), done.stderr
    assert done.stdout == ""
    for text in said:
        assert text.lower() in done.stderr.lower(), f"{text!r} is not in: {done.stderr}"
    assert "   at " not in done.stderr, f"a stack trace is no error message: {done.stderr}"
    return done


@pytest.mark.sandbox
def test_a_missing_connection_file_is_named(site):
    refused(site, site.base / "nowhere.json", "nowhere.json")


@pytest.mark.sandbox
def test_no_connection_file_at_all_is_an_error_of_use(site):
    done = site.run("kernel")
    assert done.returncode != 0 and "-f" in done.stderr + done.stdout


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "content", ["", "{", '{"shell_port": 50', "[]", "null", '"text"', "\0\0\0\0", "[" * 100_000, "{}"], ids=lambda content: repr(content)[:20]
)
def test_a_connection_file_that_is_none_is_refused(site, content):
    file = site.base / "bad.json"
    file.write_text(content)
    refused(site, file, "bad.json")


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shell_port", "many"),
        ("shell_port", -1),
        ("iopub_port", 65536),
        ("hb_port", 1.5),
        ("control_port", None),
        ("stdin_port", []),
        ("ip", 7),
        ("transport", "carrier-pigeon"),
        ("signature_scheme", "hmac-rot13"),
        ("key", {"a": 1}),
    ],
)
def test_a_wrong_entry_of_the_connection_file_is_named(site, key, value):
    file = site.base / "wrong.json"
    connection_file(file, **{key: value})
    refused(site, file, key)


@pytest.mark.sandbox
def test_a_connection_file_that_may_not_be_read_is_refused(site):
    file = site.base / "secret.json"
    connection_file(file)
    file.chmod(0)
    # Root reads everything, unless it gives up that capability first.
    prefix = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    refused(site, file, "secret.json", prefix=prefix)
    refused(site, site.folder("a-folder.json"), "a-folder.json")


@pytest.mark.sandbox
@pytest.mark.parametrize("channel", ["shell", "iopub", "stdin", "control", "hb"])
def test_a_port_in_use_is_named(site, channel):
    file = site.base / "taken.json"
    ports = connection_file(file)
    with socket.create_server(("127.0.0.1", ports[f"{channel}_port"])):
        refused(site, file, str(ports[f"{channel}_port"]), "another program")


@pytest.mark.sandbox
def test_unknown_keys_and_arguments_are_tolerated(site, start):
    file = site.base / "jrt/extra.json"
    connection_file(file, jupyter_session="/some/notebook.ipynb", something={"new": [1]})
    kernel = start(connection_file=file, arguments=["--HistoryManager.hist_file=:memory:", "--unknown"])
    assert kernel.execute("1").status == "ok"


@pytest.mark.sandbox
@pytest.mark.parametrize("changes", [{"key": ""}, {"signature_scheme": "hmac-sha512"}, {"transport": "ipc"}], ids=["no key", "sha512", "ipc"])
def test_other_legal_connection_files_work(site, start, changes):
    file = site.base / "jrt/legal.json"
    if "transport" in changes:
        changes = {**changes, "ip": str(site.base / "jrt/ipc"), **{f"{name}_port": n for n, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}}
    connection_file(file, **changes)
    kernel = start(connection_file=file)
    assert kernel.execute("print('hello')").stdout == "hello\n"


# --- hostile and broken peers ----------------------------------------------------------------------------------------


def good_parts(client):
    return [json.dumps(part).encode() for part in (client.header("kernel_info_request"), {}, {}, {})]


def bad_messages(client):
    parts = good_parts(client)
    signature = client.sign(parts)
    yield [b""]
    yield [b"garbage"]
    yield [DELIMITER]
    yield [DELIMITER, signature]
    for count in range(1, 4):  # short, but signed
        yield [DELIMITER, client.sign(parts[:count]), *parts[:count]]
    yield [DELIMITER, b"", *parts]
    yield [DELIMITER, b"0" * 64, *parts]
    yield [DELIMITER, signature[:-1], *parts]
    yield [DELIMITER, client.sign(parts, b"another key"), *parts]
    yield [DELIMITER, b"\xff\xfe" * 32, *parts]
    yield [b"no", b"delimiter", *parts]
    for index in range(4):  # signed, but no JSON object
        for bad in (b"", b"{", b"[]", b"\xff\xff", b"null", b'{"msg_type": 5, "msg_id": []}'):
            broken = [*parts[:index], bad, *parts[index + 1 :]]
            yield [DELIMITER, client.sign(broken), *broken]
    yield [DELIMITER, signature, *parts, *[b"x"] * 5000]  # a good request with thousands of buffers


def still_serves(kernel):
    assert kernel.execute("print('still here')", timeout=30).stdout == "still here\n"


@pytest.mark.parametrize("channel", ["shell", "control", "stdin"])
def test_forged_short_and_broken_messages_do_no_harm(kernel, wire, channel):
    client = wire(kernel.connection)
    for message in bad_messages(client):
        client.sockets[channel].send_multipart(message)
    time.sleep(0.5)
    still_serves(kernel)


@pytest.mark.sandbox
def test_a_forged_message_is_not_answered_and_does_nothing(kernel, wire):
    client = wire(kernel.connection)
    request = {"code": "open('forged', 'w')", "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False, "stop_on_error": True}
    parts = [json.dumps(part).encode() for part in (client.header("execute_request"), {}, {}, request)]
    client.sockets["shell"].send_multipart([DELIMITER, client.sign(parts, b"guess"), *parts])
    assert client.receive("shell", 1) is None
    assert kernel.value("__import__('os').path.exists('forged')") is False


@pytest.mark.sandbox  # plain ipykernel raises inside on such a message
def test_unknown_message_types_do_no_harm(kernel, wire):
    client = wire(kernel.connection).listen()
    for channel in ("shell", "control", "stdin"):
        for name in ("made_up_request", "", "x" * 10_000, "execute_reply", "status"):
            client.send(channel, name, {"unknown": True})
    still_serves(kernel)


@pytest.mark.limit(150)
@pytest.mark.slow
@pytest.mark.parametrize("channel", ["shell", "control", "stdin", "iopub", "hb"])
def test_100_mb_of_garbage_on_a_socket_do_no_harm(kernel, channel):
    generator = random.Random(1)
    block = generator.randbytes(1 << 20)
    sent = 0
    with socket.create_connection(("127.0.0.1", kernel.connection[f"{channel}_port"]), timeout=5) as peer:
        try:
            for _ in range(100):
                peer.sendall(block)
                sent += len(block)
        except OSError:
            pass  # hanging up on us is a good answer
    still_serves(kernel)


@pytest.mark.limit(150)
@pytest.mark.slow
@pytest.mark.sandbox
def test_100_mb_in_well_formed_frames_without_a_signature_do_no_harm(kernel, wire):
    client = wire(kernel.connection)
    client.sockets["shell"].send_multipart([DELIMITER, b"0" * 64, b"{}", b"{}", b"{}", b"x" * 100_000_000])
    client.sockets["control"].send(b"y" * 100_000_000)
    for _ in range(1000):
        client.sockets["stdin"].send_multipart([b"z" * 100_000])
    still_serves(kernel)


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.limit(150)
def test_a_client_that_never_reads_keeps_nothing_from_the_others(kernel, wire):
    kernel.client.stop_channels()  # it would be a second one that does not read
    stuck, reading = wire(kernel.connection, receive_limit=1), wire(kernel.connection).listen()
    stuck.send("shell", "kernel_info_request", {})
    request = reading.execute("for i in range(20_000): display({'text/plain': f'{i} ' + 'x' * 2000}, raw=True)")
    found = [m.content["data"]["text/plain"] for m in reading.outputs(request, timeout=120) if m.type == "display_data"]
    assert [int(text.split()[0]) for text in found] == list(range(20_000))
    kernel.connect()
    still_serves(kernel)


def test_many_clients_may_come_and_go(kernel, wire):
    for _ in range(30):
        client = wire(kernel.connection)
        client.send("shell", "kernel_info_request", {})
        client.close()
    still_serves(kernel)


# --- a machine or a sandbox without what is needed --------------------------------------------------------------------


@pytest.mark.sandbox
def test_a_kernel_that_is_not_in_the_sandbox_is_named_in_the_cell(site, start):
    site.install("nonesuch-in-sandbox", "--kernel", "nonesuch", "--display-name", "Nonesuch")
    kernel = start(name="nonesuch-in-sandbox", wait=False)
    kernel.client = kernel.manager.client()
    kernel.client.start_channels()
    result = kernel.execute("1", timeout=40)
    assert result.status == "error" and "nonesuch" in result.error, result.error
    assert "python3" in result.error  # those that there are


@pytest.fixture
def elsewhere():
    """Another site with a broker of its own, for a machine on which something is missing."""
    place = Site("sandbox-python")
    yield place
    for broker in brokers(place):
        kill(broker.pid, 15)
    eventually(lambda: not brokers(place), 10)
    eventually(lambda: not processes_of(place), 3)
    left = mounts(place)
    place.remove()
    assert left == []


def hiding(*commands):
    """A prefix that runs a program in a mount namespace of its own, after these commands. Hiding a part of the system takes root."""
    if os.geteuid() != 0:
        pytest.skip("hiding a part of the system takes root")
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", " && ".join([*commands, 'exec "$@"']), "sh")


def hide_runc():
    folders = {str(Path(found).resolve().parent) for name in ("runc", "crun", "runsc") if (found := shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"))}
    return [f"mount -t tmpfs none {folder}" for folder in sorted(folders)]


def hide_libzmq():
    names = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin"}).stdout
    files = {os.path.realpath(line.split(" => ")[1]) for line in names.splitlines() if "libzmq.so" in line}
    assert files
    return [f"mount --bind /dev/null {file}" for file in files]


def hide_ipykernel():
    """Leaves Python with its standard library."""
    import ipykernel

    return [f"mount -t tmpfs none {Path(ipykernel.__file__).parents[1]}"]


def first_cell(site, prefix, **environment):
    """Starts a kernel whose machine lacks something, as a client does, and returns the first cell's error, or what it printed before it ended."""
    file = site.base / "jrt" / f"kernel-{uuid.uuid4().hex[:6]}.json"
    connection = connection_file(file)
    log = site.logs / "first-cell.log"
    with open(log, "wb") as log_file:
        process = subprocess.Popen(
            [*prefix, str(site.executable), "kernel", "-f", str(file)],
            env={**site.environment, **environment}, stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file, start_new_session=True,
        )  # fmt: skip
    client = WireClient(connection)
    try:
        request = client.execute("1")
        deadline = time.monotonic() + 45
        while process.poll() is None and time.monotonic() < deadline:
            if (frames := client.receive("shell", 0.2)) is not None and frames.parent.get("msg_id") == request:
                assert frames.content["status"] == "error", frames.content
                return "\n".join([frames.content["ename"], frames.content["evalue"], *frames.content["traceback"]])
        assert process.poll() not in (None, 0), f"no error and no end: {log.read_text()}"
        return log.read_text()
    finally:
        client.close()
        kill(process.pid, 15)
        process.wait(10)
        file.unlink()


@pytest.mark.sandbox
def test_without_runc_the_cell_and_doctor_say_what_to_install(elsewhere):
    prefix = hiding(*hide_runc())
    assert "runc" in first_cell(elsewhere, prefix)
    done = elsewhere.run("doctor", prefix=prefix)
    assert done.returncode != 0 and "apt" in done.stdout and "runc" in done.stdout


@pytest.mark.sandbox
def test_without_libzmq_the_kernel_and_doctor_say_what_to_install(elsewhere):
    prefix = hiding(*hide_libzmq())
    connection_file(elsewhere.base / "good.json")
    refused(elsewhere, elsewhere.base / "good.json", "libzmq5", prefix=prefix)
    done = elsewhere.run("doctor", prefix=prefix)
    assert done.returncode != 0 and "libzmq5" in done.stdout


@pytest.mark.sandbox
def test_without_ipykernel_the_cell_and_doctor_say_what_to_install(elsewhere):
    prefix = hiding(*hide_ipykernel())
    assert "ipykernel" in first_cell(elsewhere, prefix)
    done = elsewhere.run("doctor", prefix=prefix)
    assert done.returncode != 0 and "ipykernel" in done.stdout


@pytest.mark.sandbox
def test_a_runtime_folder_that_others_can_enter_is_refused(elsewhere):
    elsewhere.runtime.chmod(0o777)
    assert str(elsewhere.runtime) in first_cell(elsewhere, ())


@pytest.mark.sandbox
def test_a_service_that_is_not_there_is_named(elsewhere):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = first_cell(elsewhere, (), E2B_API_KEY="e2b_" + "0" * 40, E2B_API_URL=f"http://127.0.0.1:{port}")
    assert str(port) in error and "0" * 40 not in error


@pytest.mark.sandbox
def test_wrong_settings_are_all_reported_at_once(site, elsewhere):
    wrong = {"INTERPRETER_KERNEL_LIMIT": "many", "INTERPRETER_KERNEL_LIFETIME": "soon"}
    error = first_cell(elsewhere, (), **wrong)
    assert all(word in error for word in (*wrong, *wrong.values())), error
    done = site.run("install", "--prefix", site.base / "unused", "--limit", "some", "--memory", "lots")
    assert done.returncode == 2 and all(word in done.stderr for word in ("--limit", "some", "--memory", "lots"))
    assert not (site.base / "unused").exists()


# --- the broker's socket ---------------------------------------------------------------------------------------------


@pytest.mark.sandbox
def test_garbage_on_the_brokers_socket_does_no_harm(site, kernel):
    kernel.execute("1")
    for message in (b"", b"\0" * 100_000, b"GET / HTTP/9.9\r\n\r\n", b"POST /claims HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n{", b"x" * (1 << 20)):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(5)
            peer.connect(str(site.runtime / "broker.sock"))
            try:
                peer.sendall(message)
                peer.shutdown(socket.SHUT_WR)
                peer.recv(1 << 16)
            except OSError:
                pass  # hung up on, or let wait: both are fine
    assert site.used() == 1
    still_serves(kernel)


@pytest.mark.sandbox
def test_a_broker_under_many_claims_at_once_ends_with_none(site):
    body = json.dumps({"key": uuid.uuid4().hex, "owner": {"pid": os.getpid(), "label": "test"}, "template": "base", "lifetimeSeconds": 60, "limit": 2}).encode()

    def claim_and_leave():
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(10)
            peer.connect(str(site.runtime / "broker.sock"))
            peer.sendall(b"POST /claims HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            peer.recv(100)

    site.status()
    threads = [threading.Thread(target=claim_and_leave) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    eventually(lambda: site.used() == 0 and site.status()["queued"] == 0 and not sandboxed_processes(site), 5)
