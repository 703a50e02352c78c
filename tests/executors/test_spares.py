"""Sessions that are started ahead: opening one costs no start, and nothing tells it from a fresh one."""

import os
import signal
import time
from dataclasses import replace

import pytest

from tests.executors.conftest import LIMITS, PATIENCE, Tool, all_end, children, descendants, run
from tir_gym.executors.forkserver import ForkServer
from tir_gym.executors.process import wait_readable

DRAW = "import random\nrandom.random(), float(__import__('numpy').random.rand()), __import__('os').urandom(4)"


def sessions(server: int, count: int) -> list[int]:
    """The processes of a fork server's sessions, once there are `count`."""
    until = time.monotonic() + PATIENCE
    while len(found := children(server)) != count:
        assert time.monotonic() < until, f"{len(found)} sessions instead of {count}"
        os.sched_yield()
    return found


def server_of(before: list[int]) -> int:
    launcher = next(pid for pid in children(os.getpid()) if pid not in before)
    return children(launcher)[0]


def test_a_spare_is_a_session_like_any_other() -> None:
    with ForkServer(("numpy",), spare=2).leased() as ahead, ForkServer(("numpy",), spare=0).leased() as fresh:
        for seed in range(6):  # the first is started when it is asked for, the others before
            first, second = (run(pool.open(LIMITS, seed, [Tool("look")]), DRAW) for pool in (ahead, fresh))
            assert first == second


def test_some_are_kept_for_the_limits_last_asked_for() -> None:
    before = descendants(os.getpid())
    with ForkServer(preload=(), spare=2).leased() as executor:
        server = server_of(before)
        first = executor.open(LIMITS, 0)
        used = {run(first, "1").measured.pid}
        spares = set(sessions(server, 1 + 2)) - used
        used.add(run(executor.open(LIMITS, 1), "1").measured.pid)
        assert len(used & spares) == 1
        other = executor.open(replace(LIMITS, memory_mb=300), 0)
        used.add(run(other, "1").measured.pid)
        assert all_end([*(spares - used)])
        sessions(server, 2 + 2)
        assert run(first, "6 * 7").value == "42"


def test_they_are_made_several_at_a_time_while_a_first_submission_runs() -> None:
    with ForkServer(preload=(), spare=4).leased() as executor:
        counts = []
        for _ in range(5):
            session = executor.open(LIMITS, 0)
            counts.append(len(executor._own.spares))
            run(session, "1")
            counts.append(len(executor._own.spares))
            run(session, "2")
            session.close()
        assert counts == [0, 4, 3, 3, 2, 2, 1, 4, 3, 3]


def test_a_spare_that_died_is_left_out() -> None:
    before = descendants(os.getpid())
    with ForkServer(preload=(), spare=2).leased() as executor:
        first = executor.open(LIMITS, 0)
        used = run(first, "1").measured.pid
        for pid in set(sessions(server_of(before), 1 + 2)) - {used}:
            os.kill(pid, signal.SIGKILL)
        for spare in executor._own.spares:
            while spare.waits():
                assert wait_readable(spare.fileno(), time.monotonic() + PATIENCE)
        assert run(executor.open(LIMITS, 0), "6 * 7").value == "42"


def test_spares_end_with_the_last_lease() -> None:
    before = descendants(os.getpid())
    with ForkServer(preload=(), spare=3).leased() as executor:
        run(executor.open(LIMITS, 0), "1")
        started = [pid for pid in descendants(os.getpid()) if pid not in before]
    assert all_end(started)


def test_a_number_of_spares_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="spare=-1 must be a whole number, 0 or more"):
        ForkServer(spare=-1)
