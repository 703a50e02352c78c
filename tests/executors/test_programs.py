"""Sessions that may start programs: what they can do more than others, and what holds them nevertheless."""

import pickle
from collections.abc import Iterator

import pytest

from tests.executors.conftest import LIMITS, STERN, Tool, all_end, run, until_event
from tests.processes import descendants
from tir_gym.core.interfaces import ExecutorUnavailable, ForkError, HostCall, RunStatus, Session
from tir_gym.executors.forkserver import ForkServer

SHELL = "import subprocess\nsubprocess.run(['bash', '-c', {!r}]).returncode"


@pytest.fixture(scope="module")
def executor() -> Iterator[ForkServer]:
    try:
        leased = ForkServer(preload=("numpy",), programs=True, spare=0).acquire()
    except ExecutorUnavailable as error:
        pytest.skip(f"NO NAMESPACES: {error}")
    yield leased
    leased.release()


@pytest.fixture
def session(executor: ForkServer) -> Iterator[Session]:
    opened = executor.open(LIMITS, seed=7)
    yield opened
    opened.close()


def test_python_is_as_elsewhere_and_starts_programs(session: Session) -> None:
    assert run(session, "x = 6; import numpy; numpy.ones(3).sum() * x").value == "np.float64(18.0)"
    done = run(session, SHELL.format("echo $((x = 6 * 7)); exit 3"))
    assert (done.stdout, done.value, done.status) == ("42\n", "3", RunStatus.OK)
    assert run(session, SHELL.format("python3 -c 'import numpy, sys; print(len(numpy.ones(3)))'")).stdout == "3\n"
    assert run(session, "import os; os.system('exit 5') >> 8, x").value == "(5, 6)"
    busy = run(session, SHELL.format("for ((n = 0; n < 200000; n++)); do :; done"))
    assert busy.measured.cpu_s > 0.05
    session.put("a.txt", b"one\ntwo\n")
    assert run(session, SHELL.format("wc -l < a.txt > b.txt")).value == "0"
    assert session.get("b.txt") == b"2\n"


def test_others_start_none() -> None:
    assert not ForkServer().runs_programs
    with ForkServer(preload=()).leased() as plain:
        opened = plain.open(LIMITS, 0)
        assert "PermissionError" in run(opened, SHELL.format("true")).error
        opened.close()


def test_what_was_started_ends_with_the_session_in_the_middle_of_a_call(executor: ForkServer) -> None:
    before = descendants()
    session = executor.open(STERN, 0, [Tool("ready")])
    deaf = "trap '' INT TERM HUP; (trap '' INT TERM HUP; sleep 1000 & echo up; exec -a x sleep 1000) & wait"
    code = (
        f"child = subprocess.Popen(['bash', '-c', {deaf!r}], stdout=subprocess.PIPE); child.stdout.readline(); ready()"
    )
    session.submit("import subprocess; " + code, 60.0)
    assert isinstance(until_event(session), HostCall)
    started = descendants() - before
    assert len(started) >= 4
    session.close()
    assert all_end(sorted(started))


def test_a_limit_on_processes_holds_for_all_together(executor: ForkServer) -> None:
    session = executor.open(LIMITS, 0)
    program = (
        "import os\nn = 0\nwhile True:\n    if os.fork() == 0: os.execlp('sleep', 'sleep', '99')\n    n += 1; print(n)"
    )
    done = run(session, f"import subprocess\nsubprocess.run(['python3', '-uc', {program!r}]).returncode")
    assert done.value == "1"
    assert int(done.stdout.split()[-1]) <= LIMITS.processes
    session.close()


def test_live_copies_are_refused_and_the_session_goes_on(session: Session) -> None:
    run(session, "x = 1")
    with pytest.raises(ForkError, match=r"may start programs .* replay"):
        session.fork()
    assert run(session, "x").value == "1"


def test_without_namespaces_it_refuses_and_says_what_to_do() -> None:
    with pytest.raises(ExecutorUnavailable, match=r"programs=True needs namespaces .* user.max_user_namespaces"):
        ForkServer(preload=(), namespaces=False, programs=True).acquire()


def test_it_is_a_configuration_like_others() -> None:
    programs = ForkServer(preload=(), programs=True, spare=0)
    assert pickle.loads(pickle.dumps(programs)) == programs != ForkServer(preload=())
    assert programs.runs_programs


def test_the_report_names_what_was_asked_for_and_nothing_else_is_missing() -> None:
    report, plain = ForkServer(preload=(), programs=True).report(), ForkServer(preload=()).report()
    assert "as asked for with programs=True" in report.pop("processes")
    assert plain.pop("processes") == "enforced"
    assert report == plain
