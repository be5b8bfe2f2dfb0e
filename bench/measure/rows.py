"""The rows, what is asked of each, and how two lists of figures become one ratio."""

import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """What is measured. The ratio is ours to plain, of times and sizes (`at most`) or of rates (`at least`). What plain has no like of is judged by itself (`alone`)."""

    key: str
    group: str
    title: str
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    alone: bool = False

    def judge(self, ratio):
        if self.at_most is not None:
            return ratio <= self.at_most
        return None if self.at_least is None else ratio >= self.at_least

    @property
    def target(self):
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return "" if self.at_least is None else f"≥ {self.at_least:g}"


ROWS = [
    Row("start-info", "start", "start to kernel_info reply", "ms", at_most=0.35),
    Row("start-warm", "start", "start to first `1+1` result, warm spare", "ms", at_most=0.45),
    Row("start-cold", "start", "start to first `1+1` result, no spare", "ms", at_most=1.4),
    Row("roundtrip-p50", "roundtrip", "`1+1`, p50", "ms", at_most=1.05),
    Row("roundtrip-p90", "roundtrip", "`1+1`, p90", "ms"),
    Row("roundtrip-p99", "roundtrip", "`1+1`, p99", "ms", at_most=1.15),
    Row("stdout", "stdout", "100 MiB stdout, a write per 512 KiB", "MiB/s", at_least=1.0),
    Row("stdout-flushed", "stdout", "100 MiB stdout, each write flushed", "MiB/s", at_least=1.0),
    Row("prints", "prints", "20,000 prints", "/s", at_least=0.9),
    Row("displays", "displays", "2,000 displays", "/s", at_least=1.0),
    Row("display-large", "display", "one 50 MiB display", "ms", at_most=1.2),
    Row("comm", "comm", "comm echo of an 8 MiB buffer", "ms", at_most=2.0),
    Row("interrupt", "interrupt", "interrupt to error, p50", "ms", at_most=1.0),
    Row("timeout", "timeout", "end of a cell's limit to error, p99", "ms", at_most=100, alone=True),
    Row("shutdown-exit", "shutdown", "shutdown to exit", "ms", at_most=0.4),
    Row("shutdown-slot", "shutdown", "shutdown to free slot", "ms"),
    Row("memory-start", "memory", "kernel process after start, RSS", "MiB", at_most=0.75),
    Row("memory-start-pss", "memory", "kernel process after start, PSS", "MiB"),
    Row("memory-peak", "memory", "kernel process in the stdout test, peak RSS", "MiB", at_most=0.4),
    Row("memory-relay", "memory", "relay after start, PSS", "MiB"),
    Row("memory-relay-peak", "memory", "relay in the stdout test, peak RSS", "MiB"),
    Row("memory-broker", "memory", "broker after start, PSS", "MiB"),
    Row("memory-broker-peak", "memory", "broker in the stdout test, peak RSS", "MiB"),
    Row("memory-host", "memory", "`serve` after start, PSS", "MiB"),
    Row("memory-host-peak", "memory", "`serve` in the stdout test, peak RSS", "MiB"),
    Row("memory-other", "memory", "first process of the sandbox, watchdog, runtime, PSS", "MiB"),
    Row("memory-all", "memory", "all of ours after start, PSS", "MiB"),
    Row("idle", "idle", "idle kernel: all of ours (plain: its kernel)", "% of a core"),
    Row("delay-roundtrip", "roundtrip", "`1+1` over plain, in round trips of the line", "", at_most=1.1, alone=True),
]
BY_KEY = {row.key: row for row in ROWS}
GROUPS = list(dict.fromkeys(row.group for row in ROWS))


@dataclass
class Result:
    """One row measured: ours and plain's figures in the row's unit, and the ratio with its spread."""

    row: Row
    ours: list = field(default_factory=list)
    plain: list = field(default_factory=list)
    ratios: list = field(default_factory=list)
    ours_value: float | None = None
    plain_value: float | None = None
    skipped: str | None = None

    @property
    def ratio(self):
        if self.skipped or self.ours_value is None:
            return None
        return self.ours_value / self.plain_value if self.plain_value else None

    @property
    def spread(self):
        """The middle half of the ratios of each pair, or all of them when there are few."""
        if len(self.ratios) < 2:
            return None
        if len(self.ratios) < 4:
            return min(self.ratios), max(self.ratios)
        low, _, high = statistics.quantiles(self.ratios, n=4)
        return low, high

    @property
    def met(self):
        figure = self.ours_value if self.row.alone else self.ratio
        return None if figure is None else self.row.judge(figure)


class Results:
    """All rows of a run, in the order of the table."""

    def __init__(self, with_targets=True):
        self.by_key = {}
        self.with_targets = with_targets

    def _put(self, result):
        if not self.with_targets and not result.row.alone:
            result.row = Row(result.row.key, result.row.group, result.row.title, result.row.unit)
        self.by_key[result.row.key] = result
        return result

    def compare(self, key, ours, plain):
        """Pairs of figures, each pair measured one after the other: the medians and their ratio."""
        ratios = [mine / theirs for mine, theirs in zip(ours, plain) if theirs]
        return self._put(Result(BY_KEY[key], ours, plain, ratios, statistics.median(ours), statistics.median(plain)))

    def compare_percentile(self, key, ours, plain, percentile, block):
        """The percentile of all figures; the spread is that of the percentiles of the blocks, taken in pairs."""
        value = [at_percentile(figures, percentile) for figures in (ours, plain)]
        blocks = [
            at_percentile(ours[start : start + block], percentile) / at_percentile(plain[start : start + block], percentile)
            for start in range(0, min(len(ours), len(plain)), block)
        ]
        return self._put(Result(BY_KEY[key], ours, plain, blocks, *value))

    def tell(self, key, ours, percentile=50):
        """A figure that plain ipykernel has no like of."""
        return self._put(Result(BY_KEY[key], ours, [], [], at_percentile(ours, percentile), None))

    def skip(self, key, why):
        return self._put(Result(BY_KEY[key], skipped=why))

    def __iter__(self):
        return iter([self.by_key[row.key] for row in ROWS if row.key in self.by_key])


def at_percentile(figures, percentile):
    """The smallest figure that so many percent do not exceed."""
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * percentile // 100) - 1))]
