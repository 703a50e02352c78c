"""At most so many sessions of an executor have an interpreter at once, and nobody notices."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import tir_gym
from tests.executors.conftest import LIMITS, PATIENCE, descendants, finish, run
from tests.play import as_bytes
from tir_gym.core.interfaces import RunStatus
from tir_gym.executors.forkserver import ForkServer

LIVE = 8


@pytest.fixture
def narrow() -> Iterator[ForkServer]:
    with ForkServer((), spare=0, live=LIVE).leased() as executor:
        yield executor


def guests(executor: ForkServer) -> int:
    """Processes of the fork server's sessions."""
    server = executor._own.server
    assert server is not None
    return len(descendants(server.process.pid)) - 1


def test_500_sessions_take_8_processes_and_all_answer_right(narrow: ForkServer) -> None:
    sessions = [narrow.open(LIMITS, n) for n in range(500)]
    for number, session in enumerate(sessions):
        run(session, f"x = {number}")
    for number in [*range(490, 500), *range(0, 500, 25)]:
        assert run(sessions[number], "x").value == str(number)
        assert sum(session.fileno() >= 0 for session in sessions) == LIVE
    until = time.monotonic() + PATIENCE
    while guests(narrow) > LIVE:  # those evicted last are about to end
        assert time.monotonic() < until
        assert run(sessions[475], "x").value == "475"


def test_all_at_once_wait_for_their_turn(narrow: ForkServer) -> None:
    sessions = [narrow.open(LIMITS, n) for n in range(4 * LIVE)]
    for number, session in enumerate(sessions):
        session.submit(f"x = {number}", 20.0)
        assert sum(s.fileno() >= 0 for s in sessions) <= LIVE
    assert [finish(session).status for session in sessions] == [RunStatus.OK] * len(sessions)
    assert [run(session, "x").value for session in sessions] == [str(n) for n in range(4 * LIVE)]


def test_who_waits_for_nobody_goes_over_the_bound() -> None:
    quick = LIMITS.__class__(wall_s=0.2, grace_s=0.2)
    with ForkServer((), spare=0, live=1).leased() as executor:
        one, two = executor.open(quick, 0), executor.open(quick, 0)
        one.submit("1", 10.0)
        assert run(two, "2").value == "2"  # though nobody has taken in what the first had to say
        assert finish(one).value == "1"


def test_sessions_that_must_stay_take_nobodys_place() -> None:
    with ForkServer((), spare=0, live=1).leased() as executor:
        stuck = [executor.open(LIMITS, n) for n in range(3)]
        for session in stuck:
            run(session, "import time; x = 1")
        free = executor.open(LIMITS, 0)
        assert run(free, "1").value == "1"
        assert [run(session, "x").value for session in stuck] == ["1"] * 3


def test_the_least_recently_used_goes_first(narrow: ForkServer) -> None:
    sessions = [narrow.open(LIMITS, n) for n in range(LIVE)]
    for session in sessions:
        run(session, "x = 1")
    run(sessions[0], "x")
    run(narrow.open(LIMITS, 0), "1")
    assert [n for n, session in enumerate(sessions) if session.fileno() < 0] == [1]


def test_copies_beyond_the_bound_have_no_process_until_they_run(narrow: ForkServer) -> None:
    opened = narrow.open(LIMITS, 0)
    run(opened, "x = [1]")
    copies = [opened.fork() for _ in range(64)]
    assert sum(copy.fileno() >= 0 for copy in copies) == LIVE - 1
    for number, copy in enumerate(copies):
        run(copy, f"x.append({number})")
    assert [run(copy, "x[1]").value for copy in copies[::9]] == [str(n) for n in range(0, 64, 9)]


def test_threads_share_the_places(narrow: ForkServer) -> None:
    def work(thread: int) -> list[str]:
        sessions = [narrow.open(LIMITS, n) for n in range(LIVE // 2)]
        for value in range(6):
            for number, session in enumerate(sessions):
                run(session, f"x = {thread}, {number}, {value}" if value % 2 else "x = None")
        return [run(session, "x").value for session in sessions]

    with ThreadPoolExecutor(4) as threads:
        for thread, values in enumerate(threads.map(work, range(4))):
            assert values == [str((thread, number, 5)) for number in range(LIVE // 2)]


def test_a_bound_is_a_whole_number() -> None:
    for live in (-1, 1.5):
        with pytest.raises(ValueError, match="live="):
            ForkServer((), spare=0, live=live)  # type: ignore[arg-type]


def test_a_forked_host_has_nothing_of_its_parents(narrow: ForkServer) -> None:
    live, evicted, restored = (narrow.open(LIMITS, 0) for _ in range(3))
    for session in (live, evicted, restored):
        run(session, "x = 1")
    assert evicted.evict()
    assert restored.evict()
    restored.submit("x", 20.0)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        result = b"failed"
        try:
            told = []
            for session in (live, evicted, restored):
                assert (session.fileno(), session.events()) == (-1, [])
                try:
                    session.submit("x", 1.0)
                except RuntimeError as error:
                    told.append("forked from" in str(error))
                session.close()
            with narrow.leased():
                result = f"{told} {run(narrow.open(LIMITS, 0), '6 * 7').value}".encode()
        finally:
            os.write(write, result)
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"[True, True, True] 42"
    os.waitpid(pid, 0)
    assert finish(restored).value == "1"
    assert [run(session, "x").value for session in (live, evicted)] == ["1", "1"]


def turn(code: str) -> str:
    return f'<call name="python"><arg name="code">{code}</arg></call>'


def test_more_environments_than_live_sessions_play_the_same() -> None:
    texts = [
        [turn(f"import random\nx = [{slot}, random.random()]\nx") for slot in range(12)],
        [turn("x.append(random.random()); print(x[0]); len(x)") for _ in range(12)],
        [turn("sum(x") if slot % 3 else turn("open('f', 'w').write(str(x))") for slot in range(12)],
        ["<think>not yet</think>" if slot % 2 else turn("x[2]") for slot in range(12)],
        [turn("x, round(sum(x), 9)") for _ in range(12)],
        ["<answer>0</answer>"] * 12,
    ]
    played, transcripts = [], []
    for live in (0, 3):
        vector = tir_gym.make_vec("tir/MathCode-v0", 12, executor=ForkServer((), spare=0, live=live))
        turns: list[object] = [vector.reset(seed=5)]
        turns.extend(vector.step(batch) for batch in texts[:-1])
        transcripts.append([list(slot.episode.transcript) for slot in vector.slots if slot.episode])
        turns.append(vector.step(texts[-1]))
        played.append(as_bytes(turns))
        vector.close()
    assert transcripts[0] == transcripts[1]
    assert "round" in str(transcripts[0][0])
    assert played[0] == played[1]
