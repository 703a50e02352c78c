"""A session against its copies and they against each other, also where code tampered with the interpreter first."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.executors.conftest import PATIENCE, STERN, descendants, run
from tests.executors.hostile.program import PRELUDE
from tests.executors.hostile.programs import PROGRAMS
from tests.executors.test_forkserver import GUEST
from tir_gym.core.interfaces import ForkError, RunStatus
from tir_gym.executors.forkserver import ForkServer


@pytest.fixture(scope="module", params=["namespaces", "no namespaces"])
def executor(request: pytest.FixtureRequest) -> Iterator[ForkServer]:
    with ForkServer(preload=(), namespaces=request.param == "namespaces", spare=0).leased() as server:
        yield server


def test_an_original_cannot_find_what_its_copies_keep(executor: ForkServer) -> None:
    opened = executor.open(STERN, 0)
    copy = opened.fork()
    run(copy, "open('mine', 'w').write('copy')")
    search = """
import os
above = os.path.dirname(os.getcwd())
found = []
for folder in (above, os.path.join(above, 'copies')):
    try:
        found += os.listdir(folder)
    except OSError as error:
        found.append(type(error).__name__)
for number in range(100):
    for folder in ('copies', 'work'):
        found += [number] if os.path.exists(os.path.join(above, folder, str(number))) else []
found
"""
    seen = run(opened, search).value
    assert "PermissionError" in seen
    assert not any(digit in seen for digit in "0123456789")
    assert run(copy, "open('mine').read()").value == "'copy'"


@pytest.mark.parametrize("call", ["os.kill(pid, 9)", "os.kill(pid, 0)"])
def test_no_one_can_send_a_signal(executor: ForkServer, call: str) -> None:
    opened = executor.open(STERN, 0)
    copy = opened.fork()
    code = f"""
import os, signal
sent = []
for pid in [-1, 0, *range(1, 60)]:
    try:
        {call}
        sent.append(pid)
    except (OSError, PermissionError, ProcessLookupError):
        pass
sent
"""
    for one, other in ((opened, copy), (copy, opened)):
        assert run(one, code).value in {"[]", ""}
        assert run(other, "6 * 7").value == "42"


LISTENS = {
    "does not hold still": """
def meet(box):
    if box != g.work:
        really(box)
""",
    "is woken meanwhile": """
import signal, time
jail = type(g).meet.__globals__['jail']
wait = jail.landlock_enter
def landlock_enter(fd):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    while True:
        try:
            return wait(fd)
        except InterruptedError:
            pass
jail.landlock_enter = landlock_enter
signal.signal(signal.SIGALRM, lambda *a: None)
def meet(box):
    if box == g.work:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
    else:
        time.sleep(0.3)
    really(box)
""",
}


@pytest.mark.parametrize("trick", LISTENS)
def test_a_copy_gets_no_place_but_while_its_original_holds_still(
    executor: ForkServer, trick: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who runs meanwhile could hear where the copy is, and open its directory before it has another name."""
    monkeypatch.setattr("tir_gym.executors.forked.FORK_S", 1.0)
    opened, spare = executor.open(STERN, 0), executor.open(STERN, 0)
    assert run(opened, f"{GUEST}\nreally = g.meet\n{LISTENS[trick]}\ng.meet = meet").status is RunStatus.OK
    with pytest.raises(ForkError):
        opened.fork()
    assert run(spare, "6 * 7").value == "42"


SKIPS = {
    "does not take up its rules": "jail.landlock_enter = lambda fd: None",
    "keeps its parent's directory": "os.chdir = lambda path: None",
    "keeps a file of its parent open": """
kept = os.open('shared', os.O_RDWR | os.O_CREAT)
g.obstacle = lambda ours: ''""",
    "keeps its parent's output": "jail.capture = None\nguest_globals['capture'] = lambda work: None",
    "keeps a pipe to its parent": "ends = os.pipe()\ng.obstacle = lambda ours: ''",
}


@pytest.mark.parametrize("trick", SKIPS)
def test_a_copy_that_keeps_a_way_to_its_parent_is_not_let_live(
    executor: ForkServer, trick: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server looks at the kernel's word of what the copy holds, and puts in the rules itself."""
    monkeypatch.setattr("tir_gym.executors.forked.FORK_S", 1.0)
    opened, spare = executor.open(STERN, 0), executor.open(STERN, 0)
    inside = "import os\nguest_globals = type(g).become_copy.__globals__\njail = guest_globals['jail']"
    run(opened, f"{GUEST}\n{inside}\n{SKIPS[trick]}")
    with pytest.raises(ForkError):
        opened.fork()
    assert run(spare, "6 * 7").value == "42"


@pytest.mark.parametrize("kind", ["shared memory", "threads that are hidden"])
def test_what_would_stay_shared_is_not_copied(executor: ForkServer, kind: str) -> None:
    if kind == "shared memory":
        code = "import mmap\nm = mmap.mmap(-1, 4096)\n"
    else:
        code = (
            f"{GUEST}\nimport threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        )
        code += "g.obstacle = lambda ours: ''\n"
    opened = executor.open(STERN, 0)
    assert run(opened, code).status is RunStatus.OK
    with pytest.raises(ForkError, match="busy"):
        opened.fork()
    assert run(opened, "6 * 7").value == "42"


def test_generations_go_on_beyond_the_kernels_bound_on_layers(executor: ForkServer) -> None:
    """As checkpoints at every turn make them; relative paths, and those that Python tells, stay good in all of them."""
    line = [executor.open(STERN, 0)]
    run(line[0], "import os, tempfile\nturn = 0")
    for turn in range(40):
        run(line[-1], f"turn += 1\nopen('turn', 'w').write(str({turn}))")
        line.append(line[-1].fork())
    told = "open(os.getcwd() + '/turn').read(), open(tempfile.gettempdir() + '/turn').read(), turn"
    for turn in (5, 25, 39):
        assert run(line[turn], told).value == f"('{turn}', '{turn}', {turn + 1})"
        line[turn].put("sent", b"from outside")
        assert line[turn].get("sent") == b"from outside"
    for one in line:
        one.close()


def test_copies_that_have_ended_leave_no_directories(executor: ForkServer) -> None:
    if executor.namespaces and os.geteuid() != 0:
        pytest.skip("only root may look into the mounts of a session")
    line = [executor.open(STERN, 0)]
    for _ in range(18):
        line.append(line[-1].fork())
    where = [run(one, "import os\nos.getcwd()").value[1:-1] for one in line]

    def left() -> list[str]:
        roots = [Path(f"/proc/{pid}/root") for pid in descendants(os.getpid())]
        rooms = [Path(*Path(path).parts[1:-2]) for path in where[1:]]
        return [str(room) for room in rooms if any((root / room).exists() for root in roots)]

    assert len(left()) == 18
    for one in line[1:]:
        one.close()
    until = time.monotonic() + PATIENCE
    while found := left():  # the server buries them in between
        assert time.monotonic() < until, found
        assert run(line[0], "6 * 7").value == "42"


def test_a_copy_is_held_as_its_original(executor: ForkServer) -> None:
    original = executor.open(STERN, 1)
    run(original, PRELUDE)
    copy = original.fork()
    program = PROGRAMS["makes every dangerous call"]
    assert program.then(run(copy, program.code))
    assert run(copy, "import os\nos.kill(1, 9)").status in {RunStatus.OK, RunStatus.EXCEPTION}
    assert run(original, "6 * 7").value == "42"
    assert PROGRAMS["closes every descriptor"].then(run(copy, "import os; os.closerange(0, 64)", 1.0))
    assert run(original, "6 * 7").value == "42"


def test_a_tree_too_deep_to_copy_costs_the_copy_only(executor: ForkServer) -> None:
    deep, spare = executor.open(STERN, 0), executor.open(STERN, 0)
    run(deep, "import os\nhere = os.getcwd()\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')\nos.chdir(here)")
    with suppress(ForkError):
        deep.fork().close()
    deep.close()
    assert run(spare, "6 * 7").value == "42"
    assert run(executor.open(STERN, 0), "6 * 7").value == "42"
