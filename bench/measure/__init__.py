"""What the measuring commands share.

place.py      where a run happens: folders, kernelspec, broker, a host over TCP where asked for
running.py    a kernel process started from its kernelspec
wire.py       a client that costs little: frames signed beforehand, checks made afterwards
processes.py  memory and processor time of other processes, from /proc
rows.py       the rows with their targets, and how two lists of figures become a ratio
starts.py, messages.py, resources.py   the measurements
report.py     table, JSON, docs/performance.md
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# The site of the outer tests, with how it finds its processes again, is just what is needed here.
sys.path.insert(0, str(ROOT / "tests/EndToEnd"))
