import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.executors.engine import NoEngineError, engine, podman
from tir_gym.core.interfaces import Done, HostCall, Limits, Session
from tir_gym.executors.forkserver import ForkServer
from tir_gym.executors.process import wait_readable

PATIENCE = 60.0
LIMITS = Limits(wall_s=20.0, grace_s=20.0, memory_mb=256, disk_mb=4, output_chars=2000)
STERN = replace(LIMITS, grace_s=0.2)
"""For code that does not react to an interrupt."""


@dataclass(frozen=True)
class Tool:
    name: str
    parameter_names: tuple[str, ...] = ()
    description: str = ""


def finish(session: Session, answer: Callable[[HostCall], object] | None = None) -> Done:
    """The end of the running submission; tool calls are answered by `answer` (an exception becomes the error)."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for event in session.events():
            if isinstance(event, Done):
                return event
            if isinstance(event, HostCall) and answer is not None:
                try:
                    session.answer(event.call_id, answer(event))
                except LookupError as error:
                    session.answer(event.call_id, error=str(error))
        if session.fileno() >= 0:
            wait_readable(session.fileno(), min(until, session.wakeup() or until))
    raise AssertionError("no Done in time")


def run(session: Session, code: str, deadline: float = 20.0) -> Done:
    session.submit(code, deadline)
    return finish(session)


def until_event(session: Session) -> HostCall | Done:
    while True:
        if found := session.events():
            return found[0]
        assert wait_readable(session.fileno(), time.monotonic() + PATIENCE)


def children(pid: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(pid: int) -> list[int]:
    return [p for child in children(pid) for p in (child, *descendants(child))]


def all_end(pids: list[int], patience: float = PATIENCE) -> bool:
    """Wait for the ends of processes, whoever their parent is."""
    poll = select.poll()
    until = time.monotonic() + patience
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poll.register(fd, select.POLLIN)
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                return False
            poll.unregister(fd)
        finally:
            os.close(fd)
    return True


@pytest.fixture(scope="session")
def executor() -> Iterator[ForkServer]:
    with ForkServer(spare=0).leased() as server:  # its processes are those of the sessions that tests open
        yield server


@pytest.fixture
def session(executor: ForkServer) -> Iterator[Session]:
    opened = executor.open(LIMITS, seed=7)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def docker_url() -> Iterator[str]:
    """A Docker Engine of our own; without one the test is skipped, with the reason."""
    yield from _url("NO DOCKER ENGINE", engine)


@pytest.fixture(scope="session")
def podman_url() -> Iterator[str]:
    """A Podman of our own; without one the test is skipped, with the reason."""
    yield from _url("NO PODMAN", podman)


def _url(lack: str, start: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    try:
        running = start()
        url = running.__enter__()
    except NoEngineError as error:
        pytest.skip(f"{lack}: {error}")
    yield url
    running.__exit__(None, None, None)
