"""Looking at processes, descriptors and memory from outside."""

import os
import threading
from pathlib import Path


def descendants(pid: int | None = None) -> set[int]:
    """All living processes started by this one (or by `pid`), directly or not."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    found: set[int] = set()
    while True:
        more = {child for child, parent in parents.items() if parent in found | {pid or os.getpid()}} - found
        if not more:
            return found
        found |= more


def footprint() -> tuple[set[int], int, int]:
    """Processes below this one, its open descriptors and its threads."""
    return descendants(), sum(1 for _ in Path("/proc/self/fd").iterdir()), threading.active_count()


def resident_mb(pid: int | None = None) -> float:
    """Resident memory of a process in MB."""
    status = Path(f"/proc/{pid or os.getpid()}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


def wait_until_gone(pids: set[int]) -> None:
    """Wait for the end of processes that are not our children; a hang here is a leak."""
    import select

    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([handle], [], [], 60.0)[0], f"process {pid} is still there"
        finally:
            os.close(handle)


def check_nothing_left(before: tuple[set[int], int, int]) -> None:
    """Nothing is there beyond an earlier footprint; what was there for others may have ended meanwhile."""
    wait_until_gone(descendants() - before[0])
    _, descriptors, threads = footprint()
    assert descriptors <= before[1]
    assert threads <= before[2]
