"""What runs out is told, costs nobody else anything, and is forgotten when there is enough again."""

import resource
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.executors.conftest import LIMITS, PATIENCE, Tool, all_end, descendants, run
from tir_gym.core.interfaces import ForkError, RunStatus, Session
from tir_gym.executors import frames
from tir_gym.executors import session as host_side
from tir_gym.executors.forkserver import ForkServer

NAMESPACES = pytest.mark.parametrize("namespaces", [True, False])
LEAVES_THE_LINE = """
import os, signal, socket, time, ctypes
guest = signal.getsignal(signal.SIGINT).__self__
ballast = bytearray(100 << 20)  # takes the kernel a while to take back
restrict = ctypes.CDLL(None).syscall
start, go = os.pipe()
told, tell = os.pipe()
def fork(token):
    fds, guest.channel.fds = guest.channel.fds, []
    line = socket.socket(fileno=fds[1])
    if os.fork() == 0:
        for page in range(0, len(ballast), 4096): ballast[page] = 1
        os.read(start, 1)
        os.write(tell, b"!")
        line.send(b"copy")
        line.close()
        time.sleep(1000)
    if os.fork() != 0:
        guest.freeze(fds[0], line)
    line.send(b"parent")
    line.close()
    guest.channel.send({"t": "forked", "token": token, "error": "no"})
guest.fork = fork
"""
"""Says that it cannot be copied, and copies itself all the same."""
GOES_TO_THE_GATE = """
os.write(go, b"!")
os.read(told, 1)
restrict(446, 63, 0)
"""
"""Once the host has let go of the line: nobody is left on it."""


def server_pid(executor: ForkServer) -> int:
    server = executor._own.server
    assert server is not None
    return next(pid for pid in descendants(server.process.pid))


def sessions(executor: ForkServer) -> list[int]:
    return descendants(server_pid(executor))


def works_again(executor: ForkServer) -> bool:
    """Whether sessions run, once the server has noticed the ends of others."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        session = executor.open(LIMITS, 0)
        done = run(session, "6 * 7")
        session.close()
        if done.status is RunStatus.OK:
            return True
    return False


@pytest.fixture
def opened() -> Iterator[list[Session]]:
    found: list[Session] = []
    yield found
    for session in found:
        session.close()


@NAMESPACES
def test_a_server_without_descriptors_refuses_and_goes_on(namespaces: bool, opened: list[Session]) -> None:
    with ForkServer((), spare=0, namespaces=namespaces).leased() as executor:
        old = executor.open(LIMITS, 0)
        run(old, "x = 1")
        before, server = sessions(executor), server_pid(executor)
        resource.prlimit(server, resource.RLIMIT_NOFILE, (64, 64))
        opened += [executor.open(LIMITS, n) for n in range(60)]
        ends = [run(session, "6 * 7") for session in opened]
        assert {done.status for done in ends} == {RunStatus.OK, RunStatus.EXECUTOR_ERROR}
        more = [pid for pid in sessions(executor) if pid not in before]
        for session in opened:
            session.close()
        assert all_end(more)
        assert works_again(executor)
        assert run(old, "x").value == "1"
        assert server_pid(executor) == server


def test_a_server_may_have_as_many_descriptors_as_there_are() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        with ForkServer((), spare=0).leased() as executor:
            assert resource.prlimit(server_pid(executor), resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_that_could_not_fork_can_when_there_is_room(opened: list[Session]) -> None:
    with ForkServer((), spare=0, pool_tasks=6).leased() as executor:
        if executor.report()["cgroup"] != "enforced":
            pytest.skip("no cgroup can be made here")
        opened += [executor.open(LIMITS, n) for n in range(10)]
        ends = [run(session, "6 * 7") for session in opened]
        assert {done.status for done in ends} == {RunStatus.OK, RunStatus.EXECUTOR_ERROR}
        assert all("temporarily" in done.error for done in ends if done.status is RunStatus.EXECUTOR_ERROR)
        below = sessions(executor)
        for session in opened:
            session.close()
        assert all_end(below)
        assert works_again(executor)


@NAMESPACES
def test_a_copy_that_nobody_hears_of_does_not_cost_the_server(namespaces: bool) -> None:
    with ForkServer((), spare=0, namespaces=namespaces).leased() as executor:
        neighbour, session = executor.open(LIMITS, 0), executor.open(LIMITS, 0)
        run(neighbour, "x = 1")
        server = server_pid(executor)
        run(session, LEAVES_THE_LINE)
        with pytest.raises(ForkError, match="no"):
            session.fork()
        run(session, GOES_TO_THE_GATE)
        assert run(executor.open(LIMITS, 0), "6 * 7").value == "42"
        assert server_pid(executor) == server
        assert run(neighbour, "x").value == "1"


def test_calls_that_are_turned_down_do_not_stop_the_clock(
    executor: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks: list[float | None] = []
    opened = executor.open(LIMITS, 0, [Tool("tool", ("n",))])
    run(opened, "deep = 1\nfor _ in range(80): deep = [deep]")
    real = opened._real
    assert real is not None

    def proper(arguments: dict[str, object]) -> dict[str, object]:
        clocks.append(real._deadline)
        return frames.proper(arguments)

    monkeypatch.setattr(host_side, "proper", proper)
    code = "for _ in range(3):\n    try: tool(deep)\n    except ToolError: pass"
    assert run(opened, code).status is RunStatus.OK
    assert len(clocks) == 3
    assert len(set(clocks)) == 1
    assert clocks[0] is not None
    opened.close()


TRICKLE = """
import signal, time
guest = signal.getsignal(signal.SIGINT).__self__
plain = guest.file
def file(message):
    time.sleep(0.3)
    return plain(message)
guest.file = file
"""


def test_a_file_that_trickles_in_has_one_deadline() -> None:
    with ForkServer(preload=(), spare=0).leased() as executor:
        session = executor.open(replace(LIMITS, wall_s=1.0, disk_mb=16), 0)
        session.put("large", bytes(4 << 20))
        assert run(session, TRICKLE).status is RunStatus.OK
        with pytest.raises(RuntimeError, match="no reply to 'get' in time"):
            session.get("large")
        assert session.fileno() == -1


def test_memory_too_small_to_start_with_is_told() -> None:
    with ForkServer((), spare=0).leased() as executor:
        done = run(executor.open(replace(LIMITS, memory_mb=1), 0), "6 * 7")
        assert done.status is RunStatus.EXECUTOR_ERROR
        assert done.error == "memory_mb=1 is not enough to start with; allow a session 16 or more"
