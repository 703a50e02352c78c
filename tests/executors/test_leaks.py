"""Thousands of sessions leave no process, mount, cgroup, descriptor or memory behind."""

import os
import random
import select
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.executors.conftest import LIMITS, PATIENCE, all_end, children, descendants, run
from tests.processes import resident_mb
from tir_gym.core.interfaces import RunStatus
from tir_gym.executors.forkserver import ForkServer

SPARE = 2


@dataclass(frozen=True)
class Held:
    """What the host, the fork server and the kernel hold for the sessions of one executor."""

    ours: int
    servers: int
    mounts: int
    processes: int


def cgroups(pid: int) -> list[Path]:
    """The folders that were made for a process and those it starts."""
    names = {line.rpartition("/")[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}
    return [path for name in names if "tir_gym" in name for path in Path("/sys/fs/cgroup").rglob(name)]


def held(server: int) -> Held:
    return Held(
        sum(1 for _ in Path("/proc/self/fd").iterdir()),
        sum(1 for _ in Path(f"/proc/{server}/fd").iterdir()),
        Path(f"/proc/{server}/mountinfo").read_text().count("\n"),
        len(descendants(os.getpid())),
    )


def use(executor: ForkServer, rng: random.Random) -> None:
    """Have a session and end it in one of the ways there are."""
    opened = executor.open(LIMITS, rng.randrange(1 << 30))
    match rng.randrange(8):
        case 0:
            return  # nobody closes it
        case 1:
            pass  # it is closed before it is used
        case 2:
            assert run(opened, "import os\nos._exit(3)").status is RunStatus.KILLED
        case 3:
            run(opened, "open('file', 'w').write('x' * 10_000)")
            opened.fork().close()
        case 4:
            opened.submit("while True: pass", 20.0)
        case _:
            assert run(opened, "6 * 7").value == "42"
    opened.close()


@pytest.mark.parametrize("count", [1_000, pytest.param(20_000, marks=pytest.mark.soak)])
def test_sessions_leave_nothing(count: int) -> None:
    before = descendants(os.getpid())
    with ForkServer(preload=(), spare=SPARE).leased() as executor:
        rng = random.Random(count)
        lasting = executor.open(LIMITS, 0)
        for _ in range(50):
            use(executor, rng)
        launcher = next(pid for pid in children(os.getpid()) if pid not in before)
        server = children(launcher)[0]
        groups = cgroups(server)
        first, memory = settle(executor, server, before), resident_mb() + resident_mb(server)
        for _ in range(count):
            use(executor, rng)
        last = settle(executor, server, before)
        assert (last.ours, last.mounts, last.processes) == (first.ours, first.mounts, first.processes)
        assert last.servers <= first.servers + 2  # it may be about to close what it buried
        assert resident_mb() + resident_mb(server) < memory + 16
        assert run(lasting, "6 * 7").value == "42"
    assert all_end([pid for pid in descendants(os.getpid()) if pid not in before])
    assert not any(group.exists() for group in groups)


def settle(executor: ForkServer, server: int, before: list[int]) -> Held:
    """Wait until launcher, server, the lasting session and all spares remain of what was started."""
    while len(executor._own.spares) < SPARE:  # they are made anew when there is none
        run(executor.open(LIMITS, 0), "1")
    until = time.monotonic() + PATIENCE
    while (now := held(server)).processes != len(before) + 3 + SPARE and time.monotonic() < until:
        watch(descendants(server))
    return now


def watch(pids: list[int]) -> None:
    """Wait until one of several processes ends, or a moment."""
    poll, handles = select.poll(), []
    try:
        for pid in pids:
            handles.append(os.pidfd_open(pid))
            poll.register(handles[-1], select.POLLIN)
        poll.poll(20)
    except ProcessLookupError:
        return
    finally:
        for handle in handles:
            os.close(handle)
