"""What a cell must not be able to do, tried from a cell, each beside the same attempt outside where it succeeds."""

import contextlib
import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from kernels import eventually, patience, python_outside, sandboxed_processes

pytestmark = pytest.mark.sandbox

SECRET = "sk-e2e-4f1d0c5e9b7a"

# Looks for a text in all the places where a program can come by its user's secrets; prints where it is.
HUNT = """
import os, sys
def hunt(secret, roots):
    found = [f"environment {name}" for name, value in os.environ.items() if secret in value]
    for root in roots:
        for folder, folders, names in os.walk(root):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    if os.path.isfile(path) and os.path.getsize(path) < 1_000_000 and secret.encode() in open(path, "rb").read():
                        found.append(path)
                except OSError:
                    pass
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("environ", "cmdline"):
            try:
                if secret.encode() in open(f"/proc/{pid}/{name}", "rb").read():
                    found.append(f"/proc/{pid}/{name}")
            except OSError:
                pass
    return found
"""

REACH = """
import socket
def reach(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
        return "reached"
    except OSError as error:
        return type(error).__name__
"""

# The ports on which the process of the cell itself listens, known by its descriptors: not by what its network shows, which
# would be the host's if it were not apart.
OWN_PORTS = """
import os
def own_ports():
    held = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            held.add(os.readlink("/proc/self/fd/" + name))
        except OSError:
            pass
    with open("/proc/self/net/tcp") as file:
        lines = [line.split() for line in file][1:]
    return {int(line[1].split(":")[1], 16) for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in held}
"""

WRITE = """
def write(path):
    try:
        with open(path, "w") as file:
            file.write("x")
        return "written"
    except OSError as error:
        return error.strerror
"""


@contextlib.contextmanager
def listening(host):
    """A server on the host; yields its port."""
    with socket.create_server((host, 0)) as server:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def _accept(server):
    with contextlib.suppress(OSError):
        while True:
            server.accept()[0].close()


def own_address():
    """An address of this machine that is not loopback, or None. Connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]
    return None


def outside(code):
    done = python_outside(code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def inside(kernel, definitions, expression):
    done = kernel.execute(definitions)
    assert done.status == "ok", done.error
    return kernel.value(expression)


def test_it_runs_somewhere_else(kernel):
    host, user, uid = kernel.value("(__import__('socket').gethostname(), __import__('getpass').getuser(), __import__('os').getuid())")
    assert (host, user) == ("sandbox", "user")
    assert host != socket.gethostname()
    assert uid != 0


def test_the_hosts_home_and_secrets_are_not_visible(site, start):
    home = Path(site.environment["HOME"])
    (home / "secret.txt").write_text(SECRET)
    kernel = start(IK_TEST_SECRET=SECRET, OPENAI_API_KEY=SECRET)
    search = HUNT + f"\nsecret = 'sk-e2e-' + '{SECRET[7:]}'"  # not the text itself, which is in the cell's history
    control = python_outside(search + f"\nprint(hunt(secret, [{str(home)!r}]))", environment={**site.environment, "OPENAI_API_KEY": SECRET})
    assert "environment OPENAI_API_KEY" in control.stdout and "secret.txt" in control.stdout
    assert inside(kernel, search, "hunt(secret, ['/home', '/root', '/tmp', '/run', '/var', '/etc', '/opt', '/srv', '/mnt', '/media'])") == []
    assert kernel.value(f"__import__('os').path.exists({str(home)!r})") is False


def test_the_connection_file_its_key_and_the_brokers_socket_are_not_visible(site, kernel):
    key = kernel.connection["key"]
    half = len(key) // 2
    assert inside(kernel, HUNT + f"\nkey = {key[:half]!r} + {key[half:]!r}", "hunt(key, ['/home', '/root', '/tmp', '/run', '/var', '/etc'])") == []
    paths = [kernel.manager.connection_file, str(site.runtime / "broker.sock"), str(site.base)]
    assert all(os.path.exists(path) for path in paths)
    assert kernel.value(f"[__import__('os').path.exists(path) for path in {paths!r}]") == [False] * 3


def test_the_key_is_on_no_command_line(kernel):
    key = kernel.connection["key"].encode()
    lines = [Path(f"/proc/{entry}/cmdline").read_bytes() for entry in os.listdir("/proc") if entry.isdigit() and os.path.exists(f"/proc/{entry}/cmdline")]
    assert not any(key in line for line in lines)


@pytest.mark.parametrize("path", ["/usr/ik-probe", "/usr/bin/ik-probe", "/etc/ik-probe", "/ik-probe", "/usr/lib/python3/dist-packages/ik-probe.py", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger"])
def test_the_system_can_not_be_written(kernel, path):
    assert inside(kernel, WRITE, f"write({path!r})") != "written"
    if not path.startswith("/proc"):
        assert not os.path.exists(path)
        if os.geteuid() == 0:
            assert outside(WRITE + f"\nprint(write({path!r}))") == "written"
            os.unlink(path)
    # Inside, too, there is a place to write.
    assert inside(kernel, WRITE, "[write('/home/user/probe'), write('/tmp/probe')]") == ["written"] * 2
    assert not os.path.exists("/tmp/probe")


def test_the_hosts_processes_are_not_visible(kernel):
    list_them = "sorted(int(name) for name in __import__('os').listdir('/proc') if name.isdigit())"
    assert os.getpid() in json.loads(outside(f"print({list_them})"))
    seen = kernel.value("[open(f'/proc/{p}/cmdline').read() for p in __import__('os').listdir('/proc') if p.isdigit()]")
    assert 0 < len(seen) < 12
    assert not any("pytest" in line or "interpreter-kernel\0kernel" in line or "\0broker" in line for line in seen)


def test_the_hosts_processes_can_not_be_signalled(kernel):
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        kernel.execute(f"import os\nfor pid in ({bystander.pid}, {os.getpid()}):\n    try:\n        os.kill(pid, 9)\n    except OSError:\n        pass")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_loopback_ports_of_the_host_are_out_of_reach(kernel):
    ports = [kernel.connection[name] for name in ("shell_port", "iopub_port", "control_port", "stdin_port", "hb_port")]
    with listening("127.0.0.1") as port:
        ports.append(port)
        for one in ports:
            assert outside(REACH + f"\nprint(reach('127.0.0.1', {one}))") == "reached"
        tried = inside(kernel, REACH + OWN_PORTS, f"{{port: reach('127.0.0.1', port) for port in {ports}}}")
        # The remote kernel has ports too, on a loopback of its own, and by chance one of them has the number of one of ours.
        own = kernel.value("own_ports()")
        assert [port for port, answer in tried.items() if answer == "reached" and port not in own] == []
        assert own and not own.issuperset(ports)


def test_the_network_is_out_of_reach(kernel):
    addresses = [address for address in [own_address()] if address]
    with listening("0.0.0.0") as port:
        for address in addresses:
            assert outside(REACH + f"\nprint(reach({address!r}, {port}))") == "reached"
        tried = [*((address, port) for address in addresses), ("1.1.1.1", 53), ("8.8.8.8", 443)]
        assert "reached" not in inside(kernel, REACH, f"[reach(*address) for address in {tried!r}]")
    assert kernel.value("[name for _, name in __import__('socket').if_nameindex()]") == ["lo"]


def test_sockets_of_the_host_in_the_abstract_namespace_are_out_of_reach(site, kernel):
    name = f"\0{site.name}-abstract"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        code = f"import socket\ndef reach_abstract():\n    try:\n        socket.socket(socket.AF_UNIX).connect({name!r})\n        return 'reached'\n    except OSError as error:\n        return type(error).__name__"
        assert outside(code + "\nprint(reach_abstract())") == "reached"
        assert inside(kernel, code, "reach_abstract()") == "ConnectionRefusedError"


FORKS = """
import os, signal, time
def forks(count):
    children, stopped = [], None
    try:
        for _ in range(count):
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            children.append(pid)
    except OSError as error:
        stopped = error.strerror
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)
    return len(children), stopped
"""


def test_processes_have_an_end(kernel):
    assert outside(FORKS + "\nprint(forks(700))") == "(700, None)"
    count, stopped = inside(kernel, FORKS, "forks(700)")
    assert count < 512 and stopped == "Resource temporarily unavailable"
    assert kernel.execute("1").status == "ok"


BOMB = """
import os, time
end = time.monotonic() + 4  # then all of them rest, so that the test takes no more of the machine than it must
while time.monotonic() < end:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
time.sleep(600)
"""


def test_a_fork_bomb_hurts_nobody_outside(site, kernel):
    kernel.client.execute(BOMB)
    eventually(lambda: len(sandboxed_processes(site)) > 400, 20)
    assert python_outside("print(sum(range(1_000_000)))", timeout=30).stdout == "499999500000\n"
    assert len(sandboxed_processes(site)) <= 512
    # The kernel is lost to its own bomb; ending it, and all of the bomb with it, is what has to work.
    kernel.manager.shutdown_kernel(now=True)
    eventually(lambda: not sandboxed_processes(site) and site.used() == 0, 5)


EAT = """
import mmap
def eat(gigabytes):
    block = mmap.mmap(-1, int(gigabytes * (1 << 30)))
    for offset in range(0, len(block), 4096):
        block[offset] = 1
    print("ate", gigabytes)
"""


def available_memory():
    return int(next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable")).split()[1]) * 1024


@pytest.mark.slow
def test_memory_has_an_end(kernel):
    gigabytes = 2.5  # the limit is 2
    assert available_memory() > 4 << 30, "this test needs 4 GiB of free memory for its control"
    assert outside(EAT + f"\neat({gigabytes})") == f"ate {gigabytes}"
    code = f"import subprocess, sys\nended = subprocess.run([sys.executable, '-c', {EAT + f'eat({gigabytes})'!r}], capture_output=True)"
    assert kernel.execute(code).status == "ok"
    assert kernel.value("(ended.returncode, ended.stdout)") == (-9, b"")
    small = f"ended = subprocess.run([sys.executable, '-c', {EAT + 'eat(0.2)'!r}], capture_output=True)"
    assert kernel.execute(small).status == "ok" and kernel.value("ended.returncode") == 0


@pytest.mark.slow
def test_a_kernel_that_takes_too_much_memory_itself_is_killed_and_says_so(kernel):
    result = kernel.execute(EAT + "eat(4)", timeout=60)
    assert result.status == "error" and "ran out of memory" in result.error, result.error
    assert kernel.wait_exit(patience(5)) == 4


FILL = """
import os
def fill(path, gigabytes):
    try:
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, int(gigabytes * (1 << 30)))
        return "filled"
    except OSError as error:
        return error.strerror
    finally:
        os.unlink(path)
"""


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["/home/user", "/tmp", "/dev/shm"])
def test_disk_has_an_end(site, kernel, folder):
    assert outside(FILL + f"\nprint(fill({str(site.base / 'big')!r}, 3))") == "filled"
    # Where files are kept in memory, the bound may be met as the one or the other, never by the host.
    assert inside(kernel, FILL, f"fill('{folder}/big', 3)") in ("No space left on device", "File too large")
    assert kernel.execute("1").status == "ok"


def test_no_privileges_can_be_had(kernel):
    status = kernel.value("open('/proc/self/status').read()")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert [fields[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")] == ["0" * 16] * 4 + ["1", "2"]
    code = "import ctypes\ndef call(name, *arguments):\n    libc = ctypes.CDLL(None, use_errno=True)\n    return getattr(libc, name)(*arguments), ctypes.get_errno()"
    # mount, a new user namespace, another root: what an escape begins with.
    assert [inside(kernel, code, call)[0] for call in ("call('mount', b'x', b'/tmp', b'tmpfs', 0, None)", "call('unshare', 0x10000000)", "call('chroot', b'/tmp')")] == [-1] * 3


def test_devices_are_only_the_harmless_ones(kernel):
    assert not set(kernel.value("__import__('os').listdir('/dev')")) & {"mem", "kmem", "sda", "vda", "kvm", "fuse", "loop0", "net"}
    assert kernel.value("open('/dev/urandom', 'rb').read(4) != open('/dev/zero', 'rb').read(4)") is True


def test_two_kernels_do_not_see_each_other(start):
    one, other = start(), start()
    one.execute(
        "import socket, subprocess, threading, os\n"
        "open('/home/user/mine', 'w').write('x'); open('/tmp/mine', 'w').write('x'); open('/dev/shm/mine', 'w').write('x')\n"
        "server = socket.create_server(('127.0.0.1', 7777)); child = subprocess.Popen(['sleep', '4321'])\n"
        "abstract = socket.socket(socket.AF_UNIX); abstract.bind('\\0mine'); abstract.listen()"
    )
    look = (
        REACH
        + "import os\ndef see():\n"
        + "    files = [path for path in ('/home/user/mine', '/tmp/mine', '/dev/shm/mine') if os.path.exists(path)]\n"
        + "    lines = [open(f'/proc/{pid}/cmdline').read() for pid in os.listdir('/proc') if pid.isdigit()]\n"
        + "    try:\n        socket.socket(socket.AF_UNIX).connect('\\0mine')\n        unix = 'reached'\n"
        + "    except OSError as error:\n        unix = type(error).__name__\n"
        + "    return files, any('4321' in line for line in lines), reach('127.0.0.1', 7777), unix"
    )
    assert inside(one, look, "see()") == (["/home/user/mine", "/tmp/mine", "/dev/shm/mine"], True, "reached", "reached")
    assert inside(other, look, "see()") == ([], False, "ConnectionRefusedError", "ConnectionRefusedError")
