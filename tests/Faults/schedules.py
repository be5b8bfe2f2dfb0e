"""Random schedules of faults, each made from its seed alone, and what a cell must give whatever they do."""

import base64
import random
import time
from dataclasses import dataclass

LINES = 50_000
IMAGES = 50
IMAGE_BYTES = 20_000
WINDOW = 1.0  # seconds; the cell takes about that without faults

# One cell: numbered lines, and after each thousand of them an image that is like no other.
CELL = f"""
import base64, random
from IPython.display import display
for i in range({LINES}):
    print(i)
    if i % {LINES // IMAGES} == {LINES // IMAGES - 1}:
        k = i // {LINES // IMAGES}
        display({{'image/png': base64.b64encode(random.Random(SEED * 1000 + k).randbytes({IMAGE_BYTES})).decode()}}, raw=True)
"""


def cell(seed):
    return CELL.replace("SEED", str(seed))


def expected(seed):
    """Everything that has to arrive, in its order: text runs joined, images between them."""
    per_image = LINES // IMAGES
    for k in range(IMAGES):
        yield "text", "".join(f"{i}\n" for i in range(k * per_image, (k + 1) * per_image))
        yield "image", base64.b64encode(random.Random(seed * 1000 + k).randbytes(IMAGE_BYTES)).decode()


@dataclass(frozen=True)
class Fault:
    at: float  # seconds after the cell was sent
    kind: str
    value: float = 0.0

    def __str__(self):
        return f"{self.kind}({self.value:g}) at {self.at:.3f} s"


def schedule(seed, longest=4.0):
    """One to four faults within the time that an undisturbed cell takes. `longest` bounds how long one may last."""
    chance = random.Random(seed)
    faults = []
    for _ in range(chance.choice([1, 1, 2, 2, 3, 4])):
        kind = chance.choice(["cut", "reset", "cut", "reset", "stall", "refuse", "freeze", "up", "down", "throttle", "corrupt up", "corrupt down", "attach"])
        value = {
            "stall": chance.uniform(0.05, longest),
            "refuse": chance.uniform(0.05, longest),
            "throttle": chance.choice([200e3, 1e6, 5e6]),
            "corrupt up": float(chance.randrange(0, 200)),
            "corrupt down": float(chance.randrange(0, 400_000)),
        }.get(kind, 0.0)
        faults.append(Fault(chance.uniform(0.0, WINDOW), kind, value))
    return sorted(faults, key=lambda f: f.at)


def play(faults, proxy, kill_attach, clock=time.monotonic):
    """Plays the faults out. Whatever lasts is over when this returns."""
    since = clock()
    for fault in faults:
        time.sleep(max(0.0, since + fault.at - clock()))
        match fault.kind:
            case "cut":
                proxy.cut()
            case "reset":
                proxy.reset()
            case "stall":
                proxy.stall(True)
                time.sleep(fault.value)
                proxy.stall(False)
            case "refuse":
                proxy.refuse(True)
                time.sleep(fault.value)
                proxy.refuse(False)
            case "freeze":
                proxy.freeze()
            case "up" | "down":
                proxy.freeze_one_way(fault.kind)
            case "throttle":
                proxy.throttle(fault.value)
                time.sleep(0.5)
                proxy.throttle(None)
            case "corrupt up":
                proxy.corrupt("up", int(fault.value))
            case "corrupt down":
                proxy.corrupt("down", int(fault.value))
            case "attach":
                kill_attach()
