"""What plain ipykernel can do by Jupyter's own tests, the kernel under test can do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from kernels import PLAIN


def outcomes(site, name):
    # A folder of its own for IPython: the history tests fail for anybody who has a history.
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kernel_capabilities.py")), name],
        env={**site.environment, "IPYTHONDIR": str(site.folder(f"ipython-{name}"))},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.mark.limit(320)
def test_every_capability_of_plain_ipykernel_is_there(site):
    plain, ours = outcomes(site, PLAIN), outcomes(site, site.kernel_name)
    assert len(plain["failed"]) == 12 and sum(not failed for failed in plain["failed"].values()) >= 11, plain
    worse = {name: sorted(set(ours["failed"][name]) - set(failed)) for name, failed in plain["failed"].items()}
    assert not any(worse.values()), f"{worse}\n" + "\n".join(ours["details"])
