"""Starts the kernel named in the first argument with a client library of its own, tells its pid and connection file on one line, and stays.

It stands for a Jupyter server or an editor: a test ends it without a warning.
"""

import json
import signal
import sys

from jupyter_client import KernelManager

manager = KernelManager(kernel_name=sys.argv[1])
manager.start_kernel()
print(json.dumps({"pid": manager.provisioner.process.pid, "connection_file": manager.connection_file}), flush=True)
signal.pause()
