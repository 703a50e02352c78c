"""Live copies of the fork server's sessions."""

import os
from pathlib import Path

import pytest

from tests.executors.conftest import LIMITS, all_end, children, descendants, finish, run
from tir_gym.core.interfaces import ForkError, RunStatus, Session
from tir_gym.executors.forkserver import ForkServer

BARE = ForkServer(preload=())
GUEST = "import os, signal, time\ng = signal.getsignal(signal.SIGINT).__self__\n"


def open_descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_a_copy_has_the_state_and_both_go_on_alone(session: Session) -> None:
    run(session, "import random, numpy\nf = lambda: n * 2\nn = 1\nopen('a.txt', 'w').write('base')")
    copy = session.fork()
    draw = "random.random(), numpy.random.rand()"
    assert run(copy, draw).value == run(session, draw).value
    run(copy, "n = 50\nopen('a.txt', 'w').write('copy')")
    assert run(session, "f(), open('a.txt').read()").value == "(2, 'base')"
    assert run(copy, "f(), open('a.txt').read()").value == "(100, 'copy')"
    assert run(copy, "raise ValueError").traceback.count("<call 5>") == 1
    copy.close()
    assert run(session, "n").value == "1"


def test_a_copy_draws_what_its_original_draws_unless_it_is_reseeded(executor: ForkServer, session: Session) -> None:
    draw = "import os, random, numpy\nrandom.random(), float(numpy.random.rand()), os.urandom(4)"
    run(session, draw)
    same, other, again = session.fork(), session.fork(seed=5), session.fork(seed=5)
    fresh = executor.open(LIMITS, 5)
    drawn = [run(one, draw).value for one in (session, same, other, again, fresh)]
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3] == drawn[4]
    for one in (same, other, again, fresh):
        one.close()


def test_copies_outlive_the_original_and_copy_again(executor: ForkServer, session: Session) -> None:
    run(session, "depth = 0")
    line = [session]
    for _ in range(20):  # more than the layers of Landlock a process may have
        line.append(line[-1].fork())
        run(line[-1], "depth += 1")
    for old in line[:-1]:
        old.close()
    for _ in range(2):  # the server has buried the others when it has opened another
        assert run(executor.open(LIMITS, 0), "1").value == "1"
    assert run(line[-1], "depth").value == "20"
    line[-1].close()


def test_copies_cannot_reach_each_others_files(session: Session) -> None:
    run(session, "open('secret', 'w').write('original')")
    one, two = session.fork(), session.fork()
    where = [run(s, "import os; os.path.abspath('secret')").value for s in (session, one, two)]
    assert len(set(where)) == 3
    for reader, path in ((one, where[0]), (one, where[2]), (two, where[0]), (two, where[1])):
        assert "Error" in run(reader, f"open({path}).read()").error


def test_a_copy_that_dies_takes_nothing_with_it(session: Session) -> None:
    copy = session.fork()
    session.submit("import os; os._exit(5)", 10.0)
    done = finish(session)
    assert (done.status, done.state_lost) == (RunStatus.KILLED, True)
    assert run(copy, "6 * 7").value == "42"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "import threading, time\nt = threading.Thread(target=time.sleep, args=(600,), daemon=True); t.start()",
            "threads",
        ),
        ("f = open('x', 'w')", "descriptor"),
    ],
)
def test_what_cannot_be_copied_is_refused(session: Session, code: str, reason: str) -> None:
    run(session, code)
    with pytest.raises(ForkError, match=reason):
        session.fork()
    assert run(session, "6 * 7").value == "42"


def test_a_running_or_lost_session_is_not_copied(session: Session) -> None:
    session.submit("while True: pass", 20.0)
    with pytest.raises(ForkError, match="running"):
        session.fork()
    session.close()
    with pytest.raises(ForkError, match="closed"):
        session.fork()


def test_a_policy_may_not_fork_even_after_a_copy(session: Session) -> None:
    copy = session.fork()
    for s in (session, copy):
        assert run(s, "import os; os.fork()").error.startswith("PermissionError")


@pytest.mark.parametrize("namespaces", [True, False])
def test_what_stays_behind_of_a_copied_session_ends_with_its_last_copy(namespaces: bool) -> None:
    code = GUEST + "g.freeze = lambda channel, line: [time.sleep(9) for _ in iter(int, 1)]"
    with ForkServer(preload=(), namespaces=namespaces, spare=0).leased() as executor:
        spare = executor.open(LIMITS, 0)
        run(spare, "1")
        before = set(descendants(os.getpid()))
        for _ in range(2):
            opened = executor.open(LIMITS, 0)
            run(opened, code)
            copy = opened.fork()
            assert [run(s, "6 * 7").value for s in (opened, copy)] == ["42", "42"]
            more = set(descendants(os.getpid())) - before
            assert len(more) >= 3
            opened.close()
            copy.close()
            assert all_end(list(more))
        assert run(spare, "6 * 7").value == "42"


@pytest.mark.parametrize("namespaces", [True, False])
@pytest.mark.parametrize(
    "patch",
    [
        "g.become_copy = lambda c, line: (os.dup2(c, 3), g.channel.send({'t': 'ready'}))",
        "g.become_copy = lambda c, line: time.sleep(1000)",
        "g.become_copy = lambda c, line: (line.close(), os.close(c), time.sleep(1000))",
        "g.fork = lambda token: time.sleep(1000)",
        "g.fork = lambda token: g.channel.send({'t': 'forked', 'token': token, 'error': ''})",
        "g.fork = lambda token: os._exit(0)",
    ],
)
def test_a_fork_that_lies_or_hangs_costs_the_session(
    patch: str, namespaces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tir_gym.executors.forked.FORK_S", 0.5)
    with ForkServer(preload=(), namespaces=namespaces, spare=0).leased() as executor:
        spare = executor.open(LIMITS, 0)
        run(spare, "1")
        before = set(descendants(os.getpid()))
        opened = executor.open(LIMITS, 0)
        run(opened, GUEST + patch)
        with pytest.raises(ForkError):
            opened.fork()
        done = run(opened, "1")
        assert (done.status in {RunStatus.KILLED, RunStatus.PROTOCOL_ERROR}, done.state_lost) == (True, True)
        assert all_end(list(set(descendants(os.getpid())) - before))
        assert run(spare, "6 * 7").value == "42"


@pytest.mark.parametrize("namespaces", [True, False])
@pytest.mark.parametrize("fails", [0, 1, 2])
def test_a_fork_that_the_kernel_refuses_costs_nothing(fails: int, namespaces: bool) -> None:
    code = f"""{GUEST}
real, count = os.fork, 0
def fork():
    global count
    count += 1
    if count != {fails} + 1:
        return real()
    pid = real()
    if pid == 0:
        os._exit(0)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
    raise OSError(11, "no more")
os.fork = fork
"""
    with ForkServer(preload=(), namespaces=namespaces, spare=0).leased() as executor:
        opened = executor.open(LIMITS, 0)
        run(opened, code)
        copies = []
        for number in range(3):
            if number == fails // 2:
                with pytest.raises(ForkError, match="no more"):
                    opened.fork()
            copies.append(opened.fork())
        assert [run(s, "6 * 7").value for s in (opened, *copies)] == ["42"] * 4


def server_descriptors(executor: ForkServer) -> int:
    """Those of the fork server once it has seen every order before this."""
    assert run(executor.open(LIMITS, 0), "1").value == "1"
    server = executor._own.server
    assert server is not None
    pid = children(server.process.pid)[0]
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_forks_leave_the_server_no_descriptors() -> None:
    code = GUEST + "g.freeze = lambda channel, line: [time.sleep(9) for _ in iter(int, 1)]"
    with ForkServer(preload=(), spare=0).leased() as executor:
        seen = []
        for _ in range(6):
            opened = executor.open(LIMITS, 0)
            run(opened, code)
            below = set(descendants(os.getpid()))
            copy = opened.fork()
            more = set(descendants(os.getpid())) - below
            for s in (opened, copy):
                s.close()
            assert all_end(list(more))
            seen.append(server_descriptors(executor))
        assert max(seen) - min(seen) <= 6  # of sessions that are about to end
