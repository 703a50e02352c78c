"""What every executor promises, whatever stands behind it; where one promises less, the test says what instead."""

import os
import pickle
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.executors.conftest import LIMITS, STERN, Tool, children, finish, run, until_event
from tests.executors.engine import IMAGE
from tests.executors.fusion import FusionServer
from tir_gym.core.interfaces import Executor, ExecutorUnavailable, ForkError, HostCall, RunStatus, Session
from tir_gym.executors.bwrap import BwrapExecutor
from tir_gym.executors.docker import DockerExecutor
from tir_gym.executors.forkserver import ForkServer
from tir_gym.executors.remote import SandboxFusion
from tir_gym.executors.unsafe import UnsafeExecutorWarning, UnsafeSubprocess


@dataclass(frozen=True)
class Kind:
    """An executor under test and what it promises. `make` gives an equal one each time."""

    name: str
    make: Callable[[], Executor]
    lasting: bool = True
    """State, files and tools; without it a session is good for one submission."""
    isolates: bool = True
    forks: bool = False
    tier: str = "A"
    """On a machine that has all layers."""


def _unsafe() -> Executor:
    with pytest.warns(UnsafeExecutorWarning):
        return UnsafeSubprocess(("numpy",))


@pytest.fixture(
    scope="module",
    params=["fork server", "bwrap", "docker", pytest.param("podman", marks=pytest.mark.soak), "remote", "unsafe"],
)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    match request.param:
        case "fork server":
            yield Kind("fork server", partial(ForkServer, ("numpy",)), forks=True)
        case "bwrap":
            try:
                BwrapExecutor(()).acquire().release()
            except ExecutorUnavailable as error:
                pytest.skip(f"NO BUBBLEWRAP: {error}")
            yield Kind("bwrap", partial(BwrapExecutor, ("numpy",)))
        case "docker" | "podman":
            url = request.getfixturevalue("docker_url" if request.param == "docker" else "podman_url")
            yield Kind(request.param, partial(DockerExecutor, IMAGE, ("numpy",), url=url), tier="C")
        case "remote":
            with ForkServer(("numpy",)).leased() as behind:
                server = FusionServer(behind)
                yield Kind("remote", partial(SandboxFusion, server.url), lasting=False, isolates=False, tier="unsafe")
                server.close()
        case "unsafe":
            yield Kind("unsafe", _unsafe, isolates=False, tier="unsafe")


@pytest.fixture(scope="module")
def executor(kind: Kind) -> Iterator[Executor]:
    made = kind.make()
    made.acquire()
    yield made
    made.release()


@pytest.fixture
def session(executor: Executor) -> Iterator[Session]:
    opened = executor.open(LIMITS, seed=7)
    yield opened
    opened.close()


# --- first, while no other executor runs ------------------------------------------------------------------------------
def held() -> tuple[set[str], set[int], set[threading.Thread], set[Path]]:
    """What a process can leave behind: descriptors, child processes, threads, folders."""
    descriptors = {path.name for path in Path("/proc/self/fd").iterdir()}
    folders = set(Path(tempfile.gettempdir()).iterdir())
    return descriptors, set(children(os.getpid())), set(threading.enumerate()), folders


def test_close_and_release_leave_nothing(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = kind.make()
    before = held()
    made.acquire()
    sessions = [made.open(LIMITS, seed) for seed in range(3)]
    assert run(sessions[0], "1").value == "1"
    if kind.lasting:
        sessions[1].submit("while True: pass", 20.0)  # still running at the release
    sessions[0].close()
    sessions.pop()  # nobody closes it
    made.release()
    for left in sessions:
        left.close()
        assert left.fileno() == -1
    if kind.lasting:  # else the server, which the tests run in this process, may still be about to hang up
        assert all(now <= once for now, once in zip(held(), before, strict=True))


# --- what a submission gives ------------------------------------------------------------------------------------------
def test_output_and_the_last_expression_come_back(session: Session) -> None:
    done = run(session, "import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7")
    assert (done.status, done.stdout, done.stderr, done.value) == (RunStatus.OK, "out\n", "err\n", "42")
    assert (done.error, done.traceback) == ("", "")


@pytest.mark.parametrize("code", ["", "x = 5", "None"])
def test_no_value_is_no_text(session: Session, code: str) -> None:
    done = run(session, code)
    assert (done.status, done.stdout, done.value) == (RunStatus.OK, "", "")


def test_an_exception_shows_the_policys_frames_only(session: Session) -> None:
    done = run(session, "import json\ndef f():\n    json.loads('{')\nprint('before')\nf()")
    assert (done.status, done.stdout) == (RunStatus.EXCEPTION, "before\n")
    assert done.error.startswith("JSONDecodeError: ")
    assert done.traceback.count("<call 1>") == 2
    assert "decoder.py" not in done.traceback


def test_a_syntax_error_is_an_exception(session: Session) -> None:
    done = run(session, "def f(:\n  pass")
    assert done.status is RunStatus.EXCEPTION
    assert done.error.startswith("SyntaxError")


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "raise KeyboardInterrupt", "'\ud800'.encode()"])
def test_hard_exits_are_exceptions(session: Session, code: str) -> None:
    assert run(session, code).status is RunStatus.EXCEPTION


def test_state_lasts_or_the_loss_is_told(kind: Kind, session: Session) -> None:
    done = run(session, "n = 41")
    assert done.state_lost is not kind.lasting
    if kind.lasting:
        assert run(session, "n + 1").value == "42"
    else:
        assert session.fileno() == -1
        with pytest.raises(RuntimeError, match="open a new one"):
            session.submit("n + 1", 1.0)


def test_long_output_keeps_its_head_and_tail(session: Session) -> None:
    done = run(session, "for i in range(10_000): print(i)\n'x' * 10**5")
    assert done.status is RunStatus.OK
    assert done.stdout.startswith("0\n1\n2\n")
    assert "characters left out" in done.stdout
    assert done.stdout.rstrip("\n").endswith("9998\n9999")
    assert len(done.stdout) < LIMITS.output_chars + 100
    assert len(done.value) < LIMITS.output_chars + 100


def test_running_out_of_memory_has_its_own_status(kind: Kind, session: Session) -> None:
    done = run(session, "keep = []\nwhile True: keep.append(bytearray(1 << 20))")
    assert (done.status, done.state_lost) == (RunStatus.MEMORY, not kind.lasting)


def test_the_seed_decides_what_is_drawn(executor: Executor) -> None:
    code = "import random, numpy\nrandom.random(), float(numpy.random.rand())"
    drawn = [run(executor.open(LIMITS, seed), code).value for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


# --- ends -------------------------------------------------------------------------------------------------------------
def test_at_the_deadline_the_code_is_interrupted(kind: Kind, session: Session) -> None:
    if kind.lasting:
        run(session, "n = 0")
    done = run(session, "n = 0\nwhile True: n += 1", 0.3)
    assert (done.status, done.state_lost) == (RunStatus.TIMEOUT, not kind.lasting)
    if kind.lasting:
        assert run(session, "n > 0").value == "True"


def test_code_that_resists_is_killed(executor: Executor) -> None:
    session = executor.open(STERN, seed=7)
    done = run(session, "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass", 0.3)
    assert (done.status, done.state_lost) == (RunStatus.TIMEOUT, True)
    assert session.fileno() == -1


def test_interrupts_never_reach_the_next_submission(kind: Kind, session: Session) -> None:
    if not kind.lasting:
        session.submit("while True: pass", 0.5)
        session.interrupt()
        assert finish(session).status is RunStatus.TIMEOUT
        return
    for _ in range(10):
        session.submit("x = sum(range(3000))", 10.0)
        session.interrupt()
        assert finish(session).status is RunStatus.TIMEOUT
        assert run(session, "6 * 7").value == "42"


def test_an_interpreter_that_ends_is_told_apart(session: Session) -> None:
    done = run(session, "import os; os._exit(5)")
    assert (done.status, done.state_lost) == (RunStatus.KILLED, True)
    assert session.fileno() == -1


def test_forged_bytes_end_the_session_only(kind: Kind, executor: Executor, session: Session) -> None:
    if not kind.lasting:
        done = run(session, 'import os\nos.write(1, b\'\\x00\\xff{"status": "ok"}\')\n1')
        assert done.value in ("1", "")
        return
    done = run(session, "import os\nos.write(3, b'\\xff' * 100)\nwhile True: pass")
    assert (done.status, done.state_lost) == (RunStatus.PROTOCOL_ERROR, True)
    assert run(executor.open(LIMITS, 0), "6 * 7").value == "42"


def test_a_closed_session_is_over(session: Session) -> None:
    session.submit("while True: pass", 2.0)
    session.close()
    session.close()
    assert (session.fileno(), session.events()) == (-1, [])
    with pytest.raises(RuntimeError):
        session.submit("1", 1.0)


def test_without_a_lease_nothing_opens(kind: Kind) -> None:
    if kind.lasting:
        with pytest.raises(RuntimeError, match="acquire"):
            kind.make().open(LIMITS, 0)


# --- tools, files, copies ---------------------------------------------------------------------------------------------
def test_a_tool_is_a_function_that_the_host_answers(kind: Kind, executor: Executor) -> None:
    tools = [Tool("look_up", ("key", "default"), "Find a key.")]
    if not kind.lasting:
        with pytest.raises(ExecutorUnavailable, match="look_up"):
            executor.open(LIMITS, 0, tools)
        return
    opened = executor.open(LIMITS, 0, tools)
    opened.submit("look_up('a', default=[1]), look_up.__doc__", 10.0)
    call = until_event(opened)
    assert isinstance(call, HostCall)
    assert (call.tool, call.arguments) == ("look_up", {"key": "a", "default": [1]})
    opened.answer(call.call_id, {"found": "ä" * 100_000})
    assert finish(opened).value.startswith("({'found': 'ää")
    opened.submit("try:\n    look_up('b')\nexcept ToolError as error:\n    print(error)", 10.0)
    call = until_event(opened)
    assert isinstance(call, HostCall)
    opened.answer(call.call_id, error="no such thing")
    assert finish(opened).stdout == "no such thing\n"
    opened.close()


def test_files_go_in_and_out(kind: Kind, session: Session) -> None:
    data = bytes(range(256)) * 5000
    session.put("data/in.bin", data)
    assert session.get("data/in.bin") == data
    with pytest.raises(FileNotFoundError):
        session.get("missing")
    for path in ("", "/etc/passwd", "../x", "dir/"):
        with pytest.raises(ValueError, match="not a path inside"):
            session.put(path, b"")
    assert run(session, "len(open('data/in.bin', 'rb').read())").value == str(len(data))
    if kind.lasting:
        run(session, "open('out.txt', 'w').write('made inside')")
        assert session.get("out.txt") == b"made inside"


def test_files_that_do_not_fit_are_refused(session: Session) -> None:
    with pytest.raises(OSError, match="large"):
        session.put("large", bytes((LIMITS.disk_mb + 1) << 20))


def test_only_the_fork_server_copies(kind: Kind, session: Session) -> None:
    if kind.forks:
        run(session, "n = 3")
        copy = session.fork()
        assert run(copy, "n").value == "3"
        copy.close()
        return
    with pytest.raises(ForkError, match="ForkServer"):
        session.fork()


# --- the executor itself ----------------------------------------------------------------------------------------------
def test_equal_configurations_are_equal_hashable_and_picklable(kind: Kind) -> None:
    one = kind.make()
    if kind.name == "unsafe":
        with pytest.warns(UnsafeExecutorWarning):
            copy = pickle.loads(pickle.dumps(one))
    else:
        copy = pickle.loads(pickle.dumps(one))
    assert copy == one
    assert len({one, copy, kind.make()}) == 1


def test_sessions_do_not_share_anything(kind: Kind, executor: Executor) -> None:
    one, two = executor.open(LIMITS, 0), executor.open(LIMITS, 0)
    run(one, "import json; json.mine = 1\nopen('mine', 'w').write('x')")
    done = run(two, "import json, os\nhasattr(json, 'mine'), os.listdir('.')")
    assert done.value == "(False, [])"


def test_the_report_tells_what_was_observed(kind: Kind, executor: Executor) -> None:
    report = executor.report()
    assert report["tier"] == executor.tier == kind.tier
    if not kind.isolates:
        weak = [layer for layer in ("filesystem", "network", "user", "namespaces", "all") if layer in report]
        assert weak
        assert all(report[layer].startswith("missing") for layer in weak)
        return
    for layer in ("filesystem", "environment", "network", "processes", "memory", "disk quota", "user", "namespaces"):
        assert report[layer] == "enforced", (layer, report)
