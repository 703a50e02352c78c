"""What the benchmarks share: the machine in words, processes seen from outside, tables in docs/performance.md."""

import os
import platform
from pathlib import Path

import gymnasium
import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def machine() -> str:
    """What this runs on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    return (
        f"{os.cpu_count()} shared cores ({model}), {platform.system()} {platform.release()}, "
        f"CPython {platform.python_version()}, gymnasium {gymnasium.__version__}, numpy {np.__version__}, "
        f"load {os.getloadavg()[0]:.1f} at the start"
    )


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
