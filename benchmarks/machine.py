"""The machine and its processes, seen from outside."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np


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


def median_us(run: Callable[[], object], times: int) -> float:
    """The median of single calls, in microseconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6


def reference(seconds: float = 0.05, clock: Callable[[], float] = time.perf_counter) -> float:
    """How often a second this machine, now, does a fixed piece of plain Python: what rates of a run are divided by.

    A ratio to it moves less with the machine and its load than the rate does, if both are taken by the same clock.
    """
    message = {"role": "assistant", "content": "word " * 80, "ids": list(range(100))}
    begin = clock()
    count = 0
    while (passed := clock() - begin) < seconds:
        json.loads(json.dumps(message))
        count += 1
    return count / passed


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
