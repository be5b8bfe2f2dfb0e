#!/usr/bin/env python3
"""Every way out of a kernel, and how long until the service counts its sandbox no more: leaks.py [--runs 20] [WAY...]

The service is `interpreter-kernel serve` over TCP, asked every few milliseconds; the clock starts when the way out is taken.
Ends non-zero when a sandbox outlives its bound, or anything at all is left on the machine.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time

from harness import kernels
from proxy import FaultProxy
from service import Service

LEASE = 15.0
SURVIVED = 0.25  # the bound where a process of ours lives on
MARGIN = 2.0  # the service looks for what expired every so often


class Run:
    """One kernel with a sandbox, about to go."""

    def __init__(self, site, service, proxy, through_shell=False):
        self.site, self.service, self.proxy = site, service, proxy
        variables = {**service.variables, "E2B_API_URL": proxy.url, "E2B_SANDBOX_URL": proxy.url, "INTERPRETER_KERNEL_LIFETIME": f"{LEASE:g}s"}
        self.kernel = Launched(site, variables) if through_shell else kernels.Kernel(site, **variables)
        assert self.kernel.execute("1").status == "ok"
        assert len(service.sandboxes()) == 1

    @property
    def pid(self):
        return self.kernel.process.pid

    def broker(self):
        return kernels.brokers(self.site)[0].pid


class Launched:
    """A kernel that an editor's process started, so that there is a parent and a tree to kill."""

    def __init__(self, site, variables):
        self.file = site.base / "jrt" / f"kernel-{os.urandom(4).hex()}.json"
        from jupyter_client.connect import write_connection_file

        write_connection_file(str(self.file), ip="127.0.0.1", key=os.urandom(16).hex().encode())
        self.parent = subprocess.Popen(
            [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", str(site.executable), "kernel", "-f", str(self.file)],
            env={**site.environment, **variables}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        from jupyter_client import BlockingKernelClient

        self.client = BlockingKernelClient(connection_file=str(self.file))
        self.client.load_connection_file()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.process = self.parent
        self.printed = ""

    execute = kernels.Kernel.execute
    result = kernels.Kernel.result

    def close(self):
        self.client.stop_channels()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.parent.pid, signal.SIGKILL)
        self.parent.wait()
        self.file.unlink(missing_ok=True)


def shutdown(run):
    run.kernel.client.shutdown()


def kernel_died(run):
    run.kernel.client.execute("import os; os._exit(3)")


def out_of_memory(run):
    run.kernel.client.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")


def by_signal(number):
    def way(run):
        os.kill(run.pid, number)

    way.__name__ = signal.Signals(number).name
    return way


def parent_killed(run):
    os.kill(run.kernel.parent.pid, signal.SIGKILL)


def tree_killed(run):
    os.killpg(run.kernel.parent.pid, signal.SIGKILL)


def broker_killed(run):
    os.kill(run.broker(), signal.SIGKILL)


def both_killed(run):
    os.kill(run.broker(), signal.SIGKILL)
    os.kill(run.pid, signal.SIGKILL)


def asleep(run):
    """The machine sleeps past the lease: nobody renews, and nobody sees that."""
    stopped = [run.broker(), run.pid]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    return lambda: [os.kill(pid, signal.SIGCONT) for pid in stopped]


def network_gone(run):
    """The service can't be reached while the kernel goes; the clock starts when it can again."""
    run.proxy.refuse(True)
    os.kill(run.pid, signal.SIGKILL)
    time.sleep(1.0)
    assert len(run.service.sandboxes()) == 1
    run.proxy.refuse(False)


# way, where a process of ours lives on (else the lease is the bound), who starts the kernel, runs for each twenty
WAYS = {
    "shutdown_request": (shutdown, True, False, 20),
    "kernel process died, restart declined": (kernel_died, True, False, 20),
    "kernel process killed (as when out of memory)": (out_of_memory, True, False, 20),
    "SIGTERM": (by_signal(signal.SIGTERM), True, False, 20),
    "SIGHUP": (by_signal(signal.SIGHUP), True, False, 20),
    "SIGKILL": (by_signal(signal.SIGKILL), True, False, 20),
    "parent killed": (parent_killed, True, True, 20),
    "editor's tree killed": (tree_killed, True, True, 20),
    "broker killed": (broker_killed, True, False, 20),
    "broker and kernel killed together": (both_killed, False, False, 3),
    "machine asleep past the lease": (asleep, False, False, 1),
    "network gone during the kill": (network_gone, None, False, 5),
}
RETRY = 5.5  # the longest pause between two attempts to kill


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("ways", nargs="*")
    options = parser.parse_args()
    site = kernels.Site("sandbox-python")
    site.install()
    os.environ.update(site.environment)
    service = Service(site)
    proxy = FaultProxy(service.port)
    failed = False
    print(f"{'way out':46} {'runs':>4} {'p50 ms':>9} {'most ms':>9} {'bound ms':>9}")
    try:
        for name, (way, survives, through_shell, of_twenty) in WAYS.items():
            if options.ways and not any(word in name for word in options.ways):
                continue
            bound = SURVIVED if survives else RETRY if survives is None else LEASE + MARGIN
            times = []
            for _ in range(max(1, options.runs * of_twenty // 20)):
                run = Run(site, service, proxy, through_shell)
                since = time.monotonic()
                undo = way(run)
                if undo is None and survives is None:
                    since = time.monotonic()
                kernels.eventually(lambda: not service.sandboxes(), 60, every=0.003)
                times.append(time.monotonic() - since)
                if undo:
                    undo()
                run.kernel.close()
            times.sort()
            met = times[-1] <= bound
            failed |= not met
            print(f"{name:46} {len(times):4} {times[len(times) // 2] * 1000:9.0f} {times[-1] * 1000:9.0f} {bound * 1000:9.0f}{'' if met else '  MISSED'}", flush=True)
    finally:
        proxy.close()
        service.close()
        for broker in kernels.brokers(site):
            kernels.kill(broker.pid, 15)
        kernels.eventually(lambda: not kernels.brokers(site), 30)
    left = [str(process) for process in kernels.processes_of(site)]
    print("left on the machine: " + (", ".join(left) or "nothing"))
    site.remove()
    return 1 if failed or left else 0


if __name__ == "__main__":
    sys.exit(main())
