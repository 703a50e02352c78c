"""What the benchmarks share: the machine in words, processes seen from outside, tables, the regression gate."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
FIGURES = PAGE.with_name("figures")
Result = dict[str, Any]
"""What a benchmark found, as JSON: `machine` in words, `ratios` (name -> number, more is better), its own figures."""


def machine() -> str:
    """What this runs on, and how fast that is at the moment."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    return (
        f"{os.cpu_count()} shared cores ({model}), {platform.system()} {platform.release()}, "
        f"CPython {platform.python_version()}, gymnasium {gymnasium.__version__}, numpy {np.__version__}, "
        f"load {os.getloadavg()[0]:.1f} at the start, an empty interpreter starts in {empty_interpreter_ms():.1f} ms"
    )


def empty_interpreter_ms() -> float:
    """What `python -I -S -c pass` takes: a measure of the machine itself, median of 25."""
    taken = []
    for _ in range(25):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True)
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


def write(name: str, text: str) -> None:
    """Put a text between the marks of this name on the page of all figures."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, _, rest = PAGE.read_text().partition(begin)
    after = rest.partition(end)[2]
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def descendants(pid: int) -> list[int]:
    """All processes started by a process, directly or not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        for child in children.get(queue.pop(), []):
            found.append(child)
            queue.append(child)
    return found


def pss_mb(pids: list[int]) -> float:
    """Proportional memory of processes in MB; nan where only root may read it."""
    total = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except PermissionError:
            return float("nan")
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


# --- options of every benchmark ------------------------------------------------------------------------------------
def add_options(parser: argparse.ArgumentParser) -> None:
    """What `report` needs to know."""
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing, take what --json wrote")
    parser.add_argument("--plot", action="store_true", help="draw docs/figures (needs matplotlib)")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="end with status 1 where a ratio has fallen")
    parser.add_argument("--tolerance", type=float, default=0.3, help="the share by which a ratio may fall (0.3)")


def report(
    name: str,
    chosen: argparse.Namespace,
    measure: Callable[[], Result],
    show: Callable[[Result], str],
    draw: Callable[[Result], None] | None = None,
) -> None:
    """Measure (or read), print, write, draw and compare, as the options say. Raises `SystemExit` of the gate."""
    result: Result = json.loads(chosen.read.read_text()) if chosen.read else measure()
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    text = show(result)
    print(text)
    if chosen.write:
        write(name, text)
    if chosen.plot and draw is not None:
        FIGURES.mkdir(exist_ok=True)
        draw(result)
    if chosen.compare:
        baseline: Result = json.loads(chosen.compare.read_text())
        if fallen := regressions(result["ratios"], baseline["ratios"], chosen.tolerance):
            sys.exit("\n".join(["slower than the baseline:", *fallen]))
        print(f"no ratio is more than {chosen.tolerance:.0%} below {chosen.compare}")


def plotter() -> Any:
    """`matplotlib.pyplot`, set to small SVG files that are the same for the same figures."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "tir_gym", "svg.fonttype": "none"})
    from matplotlib import pyplot

    return pyplot


def regressions(ratios: dict[str, float], baseline: dict[str, float], tolerance: float) -> list[str]:
    """Which ratios fell by more than this share, or are not there any more: a line each."""
    found = []
    for name, before in baseline.items():
        now = ratios.get(name)
        if now is None:
            found.append(f"{name}: {before:.3g}, now not measured")
        elif not now >= before * (1 - tolerance):  # nan is no pass
            found.append(f"{name}: {before:.3g}, now {now:.3g} ({now / before - 1:+.0%})")
    return found


def reference(seconds: float = 0.05) -> float:
    """How often a second this machine, now, does a fixed piece of plain Python: what rates of a run are divided by.

    A ratio to it moves less with the machine and its load than the rate does.
    """
    message = {"role": "assistant", "content": "word " * 80, "ids": list(range(100))}
    begin = time.perf_counter()
    count = 0
    while (passed := time.perf_counter() - begin) < seconds:
        json.loads(json.dumps(message))
        count += 1
    return count / passed


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, smallest and largest."""
    return float(np.median(values)), float(min(values)), float(max(values))


def number(value: float) -> str:
    """Three digits that matter; "" for nan."""
    if value != value:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def ticks(pids: list[int]) -> float:
    """Processor seconds of processes and of the children they have waited for, to 10 ms."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")
