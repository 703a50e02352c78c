"""A session against its copies and they against each other, also where code tampered with the interpreter first."""

import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.executors.conftest import STERN, run
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
    if executor.namespaces and os.geteuid() == 0:  # else the folders of a family belong to the user they run as
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
    if executor.namespaces or os.geteuid() == 0:
        with pytest.raises(ForkError):
            opened.fork()
    else:  # the server may not look, so only the rules hold
        with suppress(ForkError):
            copy = opened.fork()
            run(opened, "open('later', 'w').write('original')")
            where = run(opened, "os.getcwd()").value
            assert "Error" in run(copy, f"open({where} + '/later').read()").error
            assert "Error" in run(copy, "open('later').read()").error
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
    if not executor.namespaces and os.geteuid() != 0:
        pytest.skip("without namespaces and privileges the server may not look into a session")
    with pytest.raises(ForkError, match="busy"):
        opened.fork()
    assert run(opened, "6 * 7").value == "42"


def test_generations_go_on_beyond_the_kernels_bound_on_layers(executor: ForkServer) -> None:
    line = [executor.open(STERN, 0)]
    for _ in range(18):
        line.append(line[-1].fork())
    assert run(line[-1], "6 * 7").value == "42"
    for one in line:
        one.close()


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
