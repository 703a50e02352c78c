"""A session outlives its interpreter: evicted or bereft of its fork server, it goes on as if nothing had happened."""

import contextlib
import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.executors.conftest import LIMITS, PATIENCE, Tool, all_end, children, descendants, finish, run, until_event
from tir_gym.core.interfaces import Done, ForkError, HostCall, RunStatus
from tir_gym.executors.durable import LOG_SIZE, DurableSession
from tir_gym.executors.forkserver import ForkServer
from tir_gym.executors.process import wait_readable

DIFFERS = "open('/d' + 'ev/urandom', 'rb').read(8).hex()"
"""What says something else each time, and does not name where it has it from."""


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer(("numpy",), spare=0).leased() as executor:
        yield executor


@pytest.fixture
def durable(server: ForkServer) -> Iterator[DurableSession]:
    opened = server.open(LIMITS, seed=7)
    yield opened
    opened.close()


def kill_server(executor: ForkServer) -> None:
    """Kill the server with all its sessions; returns when they are gone."""
    server = executor._own.server
    assert server is not None
    below = descendants(server.process.pid)
    for number in (signal.SIGSTOP, signal.SIGKILL):  # none lives to see and tell how another died
        for pid in below:
            with contextlib.suppress(ProcessLookupError):  # it went with another
                os.kill(pid, number)
    assert all_end(below)


def outcome(done: Done) -> tuple[object, ...]:
    return done.submission, done.status, done.stdout, done.stderr, done.value, done.error, done.traceback


# --- eviction changes nothing -----------------------------------------------------------------------------------------
LOOK = "sorted((k, v) for k, v in globals().items() if k in 'abc'), random.random(), os.listdir('.')"
_names = st.sampled_from("abc")
_numbers = st.integers(0, 99)
LINES = st.one_of(
    st.builds("{} = {}".format, _names, _numbers),
    st.builds("{0} = {1} * 2 + {0}".format, _names, _names),
    st.builds("{} = random.random()".format, _names),
    st.builds("{} = float(numpy.random.rand())".format, _names),
    st.builds("print({})".format, _names),
    st.builds("open('{}', 'a').write(str({}))".format, _names, _numbers),
    st.builds("{0} = open('{1}').read()".format, _names, _names),
    st.builds("{} = tool({})".format, _names, _numbers),
    st.builds("try: tool(-{0})\nexcept ToolError as error: {1} = str(error)".format, _numbers, _names),
    st.builds("def f(x): return x + {}\n{} = f(1)".format, _numbers, _names),
)
PROGRAMS = st.lists(st.lists(LINES, min_size=1, max_size=4).map("\n".join), min_size=1, max_size=5)


def tool(asked: list[object]) -> Callable[[HostCall], object]:
    """A tool with a state of its own, to which it must not matter how often code is replayed."""

    def answer(call: HostCall) -> object:
        asked.append(call.arguments)
        if call.arguments["n"] < 0:
            raise LookupError(f"refused the {len(asked)}th time")
        return [call.arguments["n"], len(asked)]

    return answer


@settings(max_examples=settings.default.max_examples // 2)
@given(programs=PROGRAMS, data=st.data())
def test_the_state_is_as_without_eviction(server: ForkServer, programs: list[str], data: st.DataObject) -> None:
    tools = [Tool("tool", ("n",))]
    plain, evicted = server.open(LIMITS, 3, tools), server.open(LIMITS, 3, tools)
    said: list[list[object]] = []
    asked: tuple[list[object], list[object]] = ([], [])
    for session, calls in zip((plain, evicted), asked, strict=True):
        said.append([])
        for code in ["import os, random, numpy", *programs, LOOK]:
            session.submit(code, 20.0)
            said[-1].append(outcome(finish(session, tool(calls))))
            if session is evicted and data.draw(st.booleans()):
                assert session.evict()
                assert session.fileno() == -1
    assert said[0] == said[1]
    assert asked[0] == asked[1]
    plain.close()
    evicted.close()


def test_tools_are_not_called_twice(server: ForkServer) -> None:
    opened = server.open(LIMITS, 0, [Tool("tool", ("n",))])
    calls: list[object] = []
    opened.submit("x = [tool(n) for n in (5, 6)]", 20.0)
    finish(opened, tool(calls))
    assert opened.evict()
    opened.submit("x, tool(7)", 20.0)
    assert finish(opened, tool(calls)).value == "([[5, 1], [6, 2]], [7, 3])"
    assert calls == [{"n": 5}, {"n": 6}, {"n": 7}]


def test_an_answer_is_kept_as_it_was_given(server: ForkServer) -> None:
    opened, world = server.open(LIMITS, 0, [Tool("tool")]), [1]
    opened.submit("x = tool()", 20.0)
    finish(opened, lambda call: world)
    world.append(2)
    assert opened.evict()
    assert run(opened, "x").value == "[1]"


def test_files_come_back(durable: DurableSession) -> None:
    large = bytes(range(256)) * 600
    durable.put("in/a.bin", large)
    run(durable, "open('b', 'w').write(str(len(open('in/a.bin', 'rb').read())))")
    with pytest.raises(OSError, match="in"):
        durable.put("in", b"is a directory")
    assert durable.evict()
    assert durable.get("b") == str(len(large)).encode()
    assert durable.evict()
    durable.put("c", b"new")
    assert run(durable, "sorted(__import__('os').listdir('.'))").value == "['b', 'c', 'in']"
    with pytest.raises(FileNotFoundError):
        durable.get("missing")
    with pytest.raises(ValueError, match="not a path inside"):
        durable.put("../x", b"")


def test_the_new_submission_has_its_whole_deadline(server: ForkServer) -> None:
    slow = server.open(LIMITS, 0)
    run(slow, "x = sum(range(10**6))")  # far longer than the deadline below allows for
    assert slow.evict()
    slow.submit("while True: pass", 0.3)
    assert finish(slow).status is RunStatus.TIMEOUT
    assert run(slow, "x").value == str(sum(range(10**6)))


def test_nothing_blocks_and_nothing_is_seen_of_a_replay(server: ForkServer) -> None:
    opened = server.open(LIMITS, 0, [Tool("tool")])
    opened.submit("x = tool()", 20.0)
    finish(opened, lambda call: 1)
    assert opened.evict()
    assert opened.submit("tool(), x", 20.0) == 2
    call = until_event(opened)
    assert isinstance(call, HostCall)
    assert call.submission == 2
    opened.answer(call.call_id, 2)
    assert finish(opened).value == "(2, 1)"


def test_where_an_object_lies_makes_no_difference(server: ForkServer) -> None:
    opened = server.open(LIMITS, 0, [Tool("tool", ("n",))])
    opened.submit("print(map(str, []))\nx = tool(repr(lambda: 1))\nobject()", 20.0)
    assert " at 0x" in finish(opened, lambda call: 1).value
    others = [server.open(LIMITS, n) for n in range(5)]  # the server is no more what it was
    assert all(run(other, "1").value == "1" for other in others)
    assert opened.evict()
    assert run(opened, "x").value == "1"


def test_an_interrupt_during_the_replay_is_for_the_new_submission(durable: DurableSession) -> None:
    run(durable, "x = 1")
    assert durable.evict()
    durable.submit("while True: pass", 60.0)
    durable.interrupt()
    assert finish(durable).status is RunStatus.TIMEOUT
    assert run(durable, "x").value == "1"


def test_a_running_session_is_not_evicted(durable: DurableSession) -> None:
    durable.submit("x = 1", 20.0)
    assert not durable.evict()
    finish(durable)
    assert durable.evict()
    assert not durable.evict()


# --- what cannot be replayed ------------------------------------------------------------------------------------------
def test_a_replay_that_says_something_else_is_an_executor_error(durable: DurableSession) -> None:
    run(durable, "1")
    run(durable, DIFFERS)
    run(durable, "2")
    assert durable.evict()
    done = run(durable, "3")
    assert (done.status, done.state_lost, done.submission) == (RunStatus.EXECUTOR_ERROR, True, 4)
    assert "submission 2, replayed, did not say" in done.error
    assert durable.fileno() == -1
    with pytest.raises(RuntimeError, match="submission 2"):
        durable.submit("4", 20.0)


def test_a_replay_that_ends_otherwise_is_an_executor_error(durable: DurableSession, tmp_path: Path) -> None:
    run(durable, "import os\nborn = os.stat('.').st_ctime_ns\nn = open('born', 'w').write(str(born))")
    born = int(durable.get("born"))
    assert run(durable, f"assert born == {born}").status is RunStatus.OK
    while tmp_path.stat().st_ctime_ns <= born:
        tmp_path.touch()
    assert durable.evict()
    with pytest.raises(RuntimeError, match="submission 2, replayed, ended as exception"):
        durable.get("born")
    done = run(durable, "1")
    assert (done.status, done.state_lost) == (RunStatus.EXECUTOR_ERROR, True)
    assert "submission 2" in done.error


def test_a_replay_that_asks_for_something_else_is_an_executor_error(server: ForkServer) -> None:
    opened = server.open(LIMITS, 0, [Tool("tool", ("n",))])
    opened.submit(f"x = tool({DIFFERS})", 20.0)
    finish(opened, lambda call: 1)
    assert opened.evict()
    opened.submit("x", 20.0)
    done = finish(opened, lambda call: pytest.fail("a replayed call reached the host"))
    assert done.status is RunStatus.EXECUTOR_ERROR
    assert "called tool()" in done.error


@pytest.mark.parametrize(
    ("code", "deadline", "status"),
    [
        ("while True: pass", 0.2, RunStatus.TIMEOUT),
        ("x = []\nwhile True: x.append(bytearray(1 << 20))", 20.0, RunStatus.MEMORY),
        (f"x = {'1' * 100!r}; '" + "y" * LOG_SIZE + "'; 1", 20.0, RunStatus.OK),
        ("import time", 20.0, RunStatus.OK),
        ("from threading import active_count", 20.0, RunStatus.OK),
        ("import os, time\ntime.sleep(0)", 20.0, RunStatus.OK),
    ],
)
def test_what_cannot_be_repeated_stays(durable: DurableSession, code: str, deadline: float, status: RunStatus) -> None:
    run(durable, "kept = 1")
    assert run(durable, code, deadline).status is status
    assert not durable.evict()
    assert run(durable, "kept").value == "1"


def test_words_of_a_problem_do_not_keep_a_session(durable: DurableSession) -> None:
    run(durable, "speed, time = 3, 4  # time is distance over speed\ndate = speed * time")
    assert durable.evict()
    assert run(durable, "date").value == "12"


def test_a_long_log_is_searched_in_linear_time(durable: DurableSession) -> None:
    for unit in ("from ", "import ", "time", "/", "_"):
        code = "#" + unit * (LOG_SIZE // 12 // len(unit))
        assert run(durable, code).status is RunStatus.OK
    assert durable.evict()


def test_an_interpreter_that_ends_by_itself_is_not_brought_back(durable: DurableSession) -> None:
    run(durable, "import os, signal\nx = 1")
    code = "signal.signal(signal.SIGALRM, lambda *_: os._exit(5)); signal.setitimer(signal.ITIMER_REAL, 0.05)"
    run(durable, code)
    while durable.fileno() >= 0:
        assert wait_readable(durable.fileno(), time.monotonic() + PATIENCE)
        assert durable.events() == []
    assert not durable.evict()
    done = run(durable, "x")
    assert (done.status, done.state_lost) == (RunStatus.KILLED, True)


# --- killed by somebody else ------------------------------------------------------------------------------------------
def test_one_that_was_killed_while_idle_is_brought_back(durable: DurableSession) -> None:
    for number in range(1, 4):
        done = run(durable, f"x = globals().get('x', 0) + {number}\nx")
        os.kill(done.measured.pid, signal.SIGKILL)
        assert all_end([done.measured.pid])
    copy = durable.fork()
    assert (run(durable, "x").value, run(copy, "x").value) == ("6", "6")
    copy.close()


def test_what_ran_when_its_process_was_killed_runs_once_more(durable: DurableSession) -> None:
    pid = run(durable, "x = 1").measured.pid
    os.kill(pid, signal.SIGSTOP)
    durable.submit("x += 1\nx", 60.0)
    os.kill(pid, signal.SIGKILL)
    done = finish(durable)
    assert (done.value, done.submission) == ("2", 2)
    durable.submit("while True: pass", 60.0)
    killed = {0}
    while not (events := durable.events()):
        pid = 0 if durable._ready is None else durable._ready._pid
        if pid not in killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        assert wait_readable(durable.fileno(), time.monotonic() + PATIENCE)
    (done,) = events
    assert len(killed) > 2
    assert (done.status, done.state_lost) == (RunStatus.KILLED, True)


def test_what_had_called_a_tool_when_its_process_was_killed_is_not_repeated(server: ForkServer) -> None:
    opened = server.open(LIMITS, 0, [Tool("tool")])
    pid = run(opened, "1").measured.pid
    opened.submit("tool()", 60.0)
    assert isinstance(until_event(opened), HostCall)
    os.kill(pid, signal.SIGKILL)
    assert finish(opened).status is RunStatus.KILLED


# --- copies -----------------------------------------------------------------------------------------------------------
def test_copies_of_an_evicted_session(durable: DurableSession) -> None:
    run(durable, "import random\nx = [random.random()]")
    assert durable.evict()
    copies = [durable.fork() for _ in range(3)]
    assert [copy.fileno() for copy in copies] == [-1] * 3
    for number, copy in enumerate(copies):
        run(copy, f"x.append({number})")
    first = run(durable, "x[0]").value
    assert [run(copy, "x").value for copy in copies] == [f"[{first}, {n}]" for n in range(3)]
    assert len({run(one, "random.random()").value for one in (durable, *copies)}) == 1


@pytest.mark.parametrize("live", [True, False])
def test_a_copy_with_a_seed_of_its_own_comes_back_with_it(durable: DurableSession, live: bool) -> None:
    run(durable, "import random, numpy\ndraw = lambda: (random.random(), float(numpy.random.rand()))\nfirst = draw()")
    twins = [durable.fork(5), durable.fork(5)]
    if not live:
        assert durable.evict()
        twins[1] = durable.fork(5)
    drawn = [run(twin, "draw()").value for twin in (*twins, durable)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert twins[0].evict()
    assert run(twins[0], "first, draw()").value == run(twins[1], "first, draw()").value


def test_64_copies_share_one_log(server: ForkServer) -> None:
    opened = server.open(LIMITS, 0)
    for n in range(5):
        run(opened, f"x{n} = {n}")
    assert opened.evict()
    copies = [opened.fork() for _ in range(64)]
    assert {id(copy._log) for copy in copies} == {id(opened._log)}
    assert run(copies[63].fork(), "x0 + x4").value == "4"


def test_a_live_copy_is_evicted_and_comes_back(durable: DurableSession) -> None:
    run(durable, "import random\nopen('a', 'w').write('base')\nx = random.random()")
    copy = durable.fork()
    assert copy.fileno() >= 0
    run(copy, "open('a', 'a').write('copy'); x += 1")
    run(durable, "x -= 1")
    assert copy.evict()
    assert durable.evict()
    looks = [run(s, "round(x), open('a').read(), random.random()").value for s in (copy, durable)]
    assert [look.split("'")[1] for look in looks] == ["basecopy", "base"]
    assert looks[0].split()[-1] == looks[1].split()[-1]


@pytest.mark.parametrize("before", [True, False])
def test_a_live_copy_that_knows_its_path_stays(durable: DurableSession, before: bool) -> None:
    code = "import os; where = os.getcwd()"
    if before:
        run(durable, code)
    copy = durable.fork()
    if not before:
        run(copy, code)
    assert not copy.evict()
    assert durable.evict()
    assert run(copy, "where == os.getcwd()").value == str(not before)


def test_once_back_a_copy_is_where_every_session_is(durable: DurableSession) -> None:
    copy = durable.fork()
    run(copy, "x = 1")
    assert copy.evict()
    where = run(copy, "import os; os.getcwd()").value
    assert where == run(durable, "import os; os.getcwd()").value
    assert copy.evict()
    assert run(copy, "os.getcwd()").value == where


def test_without_namespaces_a_session_that_knows_its_path_stays() -> None:
    with ForkServer((), namespaces=False).leased() as executor:
        one, two = executor.open(LIMITS, 0), executor.open(LIMITS, 0)
        run(one, "open('a', 'w').write('kept')")
        run(two, "import os; where = os.getcwd()")
        assert one.evict()
        assert not two.evict()
        assert run(one, "open('a').read()").value == "'kept'"


def test_what_is_running_or_over_is_not_copied(durable: DurableSession) -> None:
    run(durable, "x = 1")
    assert durable.evict()
    durable.submit("while True: pass", 60.0)
    with pytest.raises(ForkError, match="running"):
        durable.fork()
    durable.close()
    with pytest.raises(ForkError, match="closed"):
        durable.fork()


# --- the death of the fork server -------------------------------------------------------------------------------------
def test_sessions_outlive_their_server_but_for_those_that_called_a_tool() -> None:
    with ForkServer(()).leased() as executor:
        idle, plain, busy, fresh, spoilt = (executor.open(LIMITS, n, [Tool("tool")]) for n in range(5))
        for session in (idle, busy):
            run(session, "import random; x = random.random()")
        pid = run(plain, "y = 20").measured.pid
        value = run(idle, "x").value
        copy = idle.fork()
        run(spoilt, "while True: pass", 0.2)
        busy.submit("tool()", 20.0)
        assert isinstance(until_event(busy), HostCall)
        os.kill(pid, signal.SIGSTOP)
        plain.submit("y += 1\ny", 20.0)
        kill_server(executor)
        assert finish(plain).value == "21"
        assert run(idle, "x").value == value
        assert run(copy, "x").value == value
        assert run(fresh, "6 * 7").value == "42"
        for session, why in ((busy, "ended"), (spoilt, "no replay: submission 1 ended as timeout")):
            done = finish(session) if session is busy else run(session, "1")
            assert (done.status, done.state_lost) == (RunStatus.EXECUTOR_ERROR, True)
            assert why in done.error
        assert run(idle.fork(), "x").value == value


@pytest.mark.parametrize("use", ["fork", "put", "get", "evict"])
def test_each_use_brings_a_session_back(use: str) -> None:
    with ForkServer(()).leased() as executor:
        opened = executor.open(LIMITS, 0)
        run(opened, "open('a', 'w').write('kept')")
        kill_server(executor)
        match use:
            case "fork":
                assert run(opened.fork(), "open('a').read()").value == "'kept'"
            case "put":
                opened.put("b", b"new")
                assert opened.get("b") == b"new"
            case "get":
                assert opened.get("a") == b"kept"
            case "evict":
                assert opened.evict()
        assert run(opened, "open('a').read()").value == "'kept'"


def test_a_server_that_dies_during_the_replay_ends_the_session() -> None:
    with ForkServer((), spare=0).leased() as executor:
        opened, server = executor.open(LIMITS, 0), executor._own.server
        assert server is not None
        run(opened, "x = 1")
        assert opened.evict()
        os.kill(children(server.process.pid)[0], signal.SIGSTOP)
        opened.submit("x", 20.0)
        kill_server(executor)
        done = finish(opened)
        assert (done.status, done.state_lost, done.submission) == (RunStatus.EXECUTOR_ERROR, True, 2)
        assert "could not be restored: submission 1" in done.error


# --- ends -------------------------------------------------------------------------------------------------------------
def test_nothing_is_left_behind() -> None:
    def descriptors() -> set[str]:
        return {path.name for path in Path("/proc/self/fd").iterdir()}

    before, processes = descriptors(), set(descendants(os.getpid()))
    executor = ForkServer((), spare=0, live=3).acquire()
    sessions = [executor.open(LIMITS, n) for n in range(10)]
    for session in sessions:
        run(session, "x = 1")
    sessions[0].submit("x", 20.0)  # being replayed
    sessions[0].close()
    sessions[1].submit("while True: pass", 20.0)
    for session in sessions[4:8]:
        session.submit("x", 20.0)  # some of them wait for their turn
    sessions[7].close()
    assert (sessions[7].fileno(), sessions[7].events()) == (-1, [])
    sessions[8] = sessions[8].fork()
    del sessions[9], session  # nobody closes it
    gc.collect()
    below = set(descendants(os.getpid())) - processes
    executor.release()
    for session in sessions:
        assert session.fileno() == -1
        with pytest.raises(RuntimeError):
            session.submit("1", 1.0)
        session.close()
    assert all_end([*below])
    assert descriptors() <= before


def test_dropped_sessions_take_no_place() -> None:
    with ForkServer((), spare=0, live=2).leased() as executor:
        for n in range(6):
            run(executor.open(LIMITS, n), "1")
        busy = executor.open(LIMITS, 0)
        busy.submit("while True: pass", 20.0)
        del busy
        last = [executor.open(LIMITS, n) for n in range(2)]
        for session in last:
            run(session, "1")
        assert [session.fileno() >= 0 for session in last] == [True, True]
        assert len(executor._own.roster._idle) == 2
