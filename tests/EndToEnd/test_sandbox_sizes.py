"""A sandbox is as large as its kernelspec says, also when the broker runs already."""

import pytest

pytestmark = pytest.mark.sandbox

MEASURE = """
import os
limit = int(open("/sys/fs/cgroup/memory/memory.limit_in_bytes" if os.path.isdir("/sys/fs/cgroup/memory") else "/sys/fs/cgroup/memory.max").read())
disk = os.statvfs("/home/user")
"""


def sizes(kernel):
    assert kernel.execute(MEASURE).status == "ok"
    return kernel.value("(limit >> 20, disk.f_blocks * disk.f_frsize >> 20)")


def test_two_kernelspecs_have_sandboxes_of_their_own_sizes(start):
    small = start(arguments=["--memory", "300M", "--disk", "64M"])
    large = start(arguments=["--memory", "3G", "--disk", "512M"])
    assert sizes(small) == (300, 64)
    assert sizes(large) == (3072, 512)


def test_the_temporary_folder_is_everybodys_as_on_any_machine(kernel):
    assert kernel.execute("import os, stat").status == "ok"
    assert kernel.value("oct(stat.S_IMODE(os.stat('/tmp').st_mode))") == "0o1777"


def test_a_kernel_that_exceeds_its_own_size_is_told(start):
    kernel = start(arguments=["--memory", "256M"])
    result = kernel.execute("x = b'x' * (1 << 30)")
    assert result.reply["content"]["ename"] == "KernelOutOfMemory", result.error
