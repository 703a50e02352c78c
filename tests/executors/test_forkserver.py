"""What a session promises: state, results, time limits, tools, copies, files, and that nothing stays behind."""

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.executors.conftest import LIMITS, STERN, Tool, all_end, children, descendants, finish, run, until_event
from tir_gym.core.interfaces import Done, ExecutorUnavailable, HostCall, RunStatus, Session
from tir_gym.executors.forkserver import ForkServer, shared
from tir_gym.executors.process import wait_readable

BARE = ForkServer(preload=())
GUEST = "import os, signal, time\ng = signal.getsignal(signal.SIGINT).__self__\n"


def open_descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


# --- what a submission gives ------------------------------------------------------------------------------------------
def test_state_lasts_and_the_last_expression_is_echoed_once(session: Session) -> None:
    assert run(session, "count = 0\ndef step():\n    global count; count += 1; return count").status is RunStatus.OK
    assert run(session, "step()").value == "1"
    assert run(session, "step(); count").value == "2"
    assert run(session, "x = 5").value == ""
    assert run(session, "None").value == ""


def test_an_exception_shows_the_policys_frames_only(session: Session) -> None:
    run(session, "def inner():\n    return 1 / 0")
    done = run(session, "import functools\nfunctools.reduce(lambda a, b: inner(), [1, 2])")
    assert done.status is RunStatus.EXCEPTION
    assert done.error == "ZeroDivisionError: division by zero"
    assert "<call 1>" in done.traceback
    assert "return 1 / 0" in done.traceback
    assert "<guest>" not in done.traceback
    assert not done.state_lost


def test_frames_of_libraries_are_left_out(session: Session) -> None:
    done = run(session, "import json\njson.loads('{')")
    assert "<call 1>" in done.traceback
    assert "decoder.py" not in done.traceback


def test_a_syntax_error_is_an_exception(session: Session) -> None:
    done = run(session, "def f(:\n  pass")
    assert (done.status, done.state_lost) == (RunStatus.EXCEPTION, False)
    assert done.error.startswith("SyntaxError")
    assert "def f(:" in done.traceback


@pytest.mark.parametrize(
    "code", ["raise SystemExit(3)", "exit()", "raise KeyboardInterrupt", "'\0'", "'\ud800'.encode()"]
)
def test_no_exception_ends_the_session(session: Session, code: str) -> None:
    assert run(session, code).status is RunStatus.EXCEPTION
    assert run(session, "6 * 7").value == "42"


def test_both_streams_are_captured_at_every_level(session: Session) -> None:
    done = run(
        session,
        "import os, sys, warnings\nprint('a')\nos.write(1, b'b\\n')\nprint('c', file=sys.stderr)\n"
        "os.write(2, b'd')\nwarnings.warn('e')\nsys.stdout.buffer.write(b'\\xff')",
    )
    assert done.status is RunStatus.OK
    assert done.stdout == "a\n\ufffdb\n"  # what bypasses sys.stdout comes last
    assert "UserWarning: e" in done.stderr
    assert all(c in done.stderr for c in "cd")
    assert run(session, "1").stdout == ""


def test_long_output_keeps_its_head_and_tail(session: Session) -> None:
    done = run(session, "for i in range(100_000): print(i)")
    assert done.status is RunStatus.OK
    assert done.stdout.startswith("0\n1\n2\n")
    assert done.stdout.endswith("99998\n99999\n")
    assert f"... {588_890 - LIMITS.output_chars + 0} characters left out ..." in done.stdout
    assert len(run(session, "'x' * 10**6").value) < LIMITS.output_chars + 100


def test_output_takes_bounded_memory(executor: ForkServer) -> None:
    opened = executor.open(replace(LIMITS, memory_mb=48), seed=0)
    done = run(opened, "for _ in range(9): print('x' * 10**6)")
    assert done.status is RunStatus.OK
    assert f"... {9 * (10**6 + 1) - LIMITS.output_chars} characters left out ..." in done.stdout


def test_far_too_much_output_stops_the_code(session: Session) -> None:
    done = run(session, "kept = 1\nwhile True: print('x' * 10**6)")
    assert (done.status, done.state_lost) == (RunStatus.OUTPUT_LIMIT, False)
    assert done.error == "OutputLimitError: more than 10000000 characters of output"
    assert len(done.stdout) < LIMITS.output_chars + 100
    assert run(session, "print('short')\nkept").stdout == "short\n"


def test_input_meets_the_end_of_file(session: Session) -> None:
    assert run(session, "input('name?')").error.startswith("EOFError")


def test_running_out_of_memory_is_survived(session: Session) -> None:
    done = run(session, "keep = []\nwhile True: keep.append(bytearray(1 << 20))")
    assert (done.status, done.state_lost) == (RunStatus.MEMORY, False)
    assert run(session, "del keep\n'ok'").value == "'ok'"


def test_numpy_and_sympy_work_and_nothing_else_is_installed(session: Session) -> None:
    assert run(session, "import numpy as np\nfloat(np.linalg.det(np.eye(3)))").value == "1.0"
    assert run(session, "import sympy as s\nx = s.Symbol('x')\ns.solve(x**2 - 4, x)").value == "[-2, 2]"
    for name in ("tir_gym", "gymnasium", "pytest", "pip"):
        assert run(session, f"import {name}").error.startswith("ModuleNotFoundError"), name


def test_the_standard_library_works(session: Session) -> None:
    code = """
import asyncio, concurrent.futures, csv, datetime, decimal, sqlite3, statistics, tempfile, zoneinfo, dataclasses
async def two(): return 2
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    squares = list(pool.map(lambda x: x * x, range(4)))
with tempfile.NamedTemporaryFile() as file:
    file.write(b'x')
with open('t.csv', 'w') as out:
    csv.writer(out).writerow([1, 2])
@dataclasses.dataclass
class P: x: int = 1
db = sqlite3.connect('a.db'); db.execute('create table t(a)'); db.commit(); db.close()
asyncio.run(two()), squares, zoneinfo.ZoneInfo('Europe/Berlin').key, open('t.csv').read(), P()
"""
    assert run(session, code).value == "(2, [0, 1, 4, 9], 'Europe/Berlin', '1,2\\n', P(x=1))"


# --- the same seed, the same bytes ------------------------------------------------------------------------------------
def test_two_servers_print_the_same_bytes() -> None:
    code = "import random, numpy\nprint(random.random(), numpy.random.rand(), object(), hash('a'), {'b', 'c', 'a'})"
    printed = set()
    for _ in range(2):
        with ForkServer(preload=("numpy",)).leased() as executor:
            opened = executor.open(LIMITS, seed=3)
            printed.add(run(opened, code).stdout)
    assert len(printed) == 1
    assert "object object at 0x" in printed.pop()


def test_seeds_differ(executor: ForkServer) -> None:
    values = {run(executor.open(LIMITS, seed=s), "import random; random.random()").value for s in (1, 2)}
    assert len(values) == 2


# --- time -------------------------------------------------------------------------------------------------------------
def test_at_the_deadline_the_code_is_interrupted_and_the_state_survives(session: Session) -> None:
    run(session, "n = 0")
    done = run(session, "while True: n += 1", 0.2)
    assert (done.status, done.state_lost) == (RunStatus.TIMEOUT, False)
    assert run(session, "n > 0").value == "True"


def test_code_that_resists_is_killed(executor: ForkServer) -> None:
    session = executor.open(STERN, 0)
    done = run(session, "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass", 0.2)
    assert (done.status, done.state_lost) == (RunStatus.TIMEOUT, True)
    assert session.fileno() == -1
    with pytest.raises(RuntimeError, match="open a new one"):
        session.submit("1", 1.0)


def test_interrupts_never_reach_the_next_submission(session: Session) -> None:
    for _ in range(30):
        session.submit("x = sum(range(3000))", 10.0)
        session.interrupt()
        assert finish(session).status is RunStatus.TIMEOUT
        assert run(session, "6 * 7").value == "42"


def test_the_start_of_the_server_is_not_on_the_policys_clock() -> None:
    with ForkServer().leased() as executor:  # warming takes longer than the deadline
        assert run(executor.open(LIMITS, 0), "1", 0.1).value == "1"


def test_processor_time_of_a_session_is_bounded(executor: ForkServer) -> None:
    done = run(executor.open(replace(LIMITS, cpu_s=1), 0), "while True: pass", 30.0)
    assert (done.status, done.state_lost) == (RunStatus.KILLED, True)
    assert "processor time" in done.error


# --- tools ------------------------------------------------------------------------------------------------------------
def test_a_tool_is_a_function_that_the_host_answers(executor: ForkServer) -> None:
    opened = executor.open(LIMITS, 0, [Tool("look_up", ("key", "default"), "Find a key.")])
    opened.submit("look_up('a', default=[1]), look_up.__doc__", 10.0)
    seen: list[HostCall] = []
    done = finish(opened, lambda call: seen.append(call) or {"found": call.arguments["key"]})
    assert done.value == "({'found': 'a'}, 'Find a key.')"
    assert seen[0].arguments == {"key": "a", "default": [1]}
    assert (seen[0].submission, seen[0].tool) == (1, "look_up")


def test_a_failing_tool_raises_tool_error(executor: ForkServer) -> None:
    opened = executor.open(LIMITS, 0, [Tool("fail")])

    def refuse(call: HostCall) -> object:
        raise LookupError("no such thing")

    opened.submit("try:\n    fail()\nexcept ToolError as error:\n    print(error)", 10.0)
    assert finish(opened, refuse).stdout == "no such thing\n"


def test_bad_arguments_fail_in_the_session(executor: ForkServer) -> None:
    opened = executor.open(LIMITS, 0, [Tool("one", ("a",))])
    for code in ("one(1, 2)", "one(1, a=2)", "one(object())"):
        assert run(opened, code).error.startswith("TypeError"), code
    assert run(opened, "one(float('nan'))").error.startswith("ValueError")


def test_the_clock_stands_still_while_the_host_works(executor: ForkServer) -> None:
    opened = executor.open(LIMITS, 0, [Tool("slow")])
    run(opened, "1")
    opened.submit("slow()", 0.05)
    call = until_event(opened)
    assert isinstance(call, HostCall)
    assert opened.wakeup() is None
    assert not wait_readable(opened.fileno(), time.monotonic() + 0.2)
    assert opened.events() == []
    opened.answer(call.call_id, "late")
    assert finish(opened).value == "'late'"


def test_an_interrupt_ends_the_wait_for_the_host(executor: ForkServer) -> None:
    opened = executor.open(LIMITS, 0, [Tool("ask", ("x",))])
    opened.submit("x = 5\ntry:\n    ask(1)\nexcept KeyboardInterrupt:\n    print(ask(2))\nask(3)", 20.0)
    first = until_event(opened)
    opened.interrupt()
    second = until_event(opened)
    assert isinstance(first, HostCall)
    assert isinstance(second, HostCall)
    opened.answer(first.call_id, "too late")
    opened.answer(second.call_id, "in time")
    third = until_event(opened)
    assert isinstance(third, HostCall)
    opened.answer(third.call_id)
    done = until_event(opened)
    assert isinstance(done, Done)
    assert (done.status, done.stdout, done.state_lost) == (RunStatus.TIMEOUT, "in time\n", False)
    opened.submit("ask(4)", 20.0)
    assert isinstance(until_event(opened), HostCall)
    opened.interrupt()
    assert finish(opened).status is RunStatus.TIMEOUT
    assert run(opened, "x").value == "5"


def test_threads_take_turns_at_the_host(executor: ForkServer) -> None:
    opened = executor.open(LIMITS, 0, [Tool("double", ("n",))])
    opened.submit(
        "from concurrent.futures import ThreadPoolExecutor as T\nwith T(4) as p: r = list(p.map(double, range(20)))\nr",
        20.0,
    )
    assert finish(opened, lambda call: 2 * call.arguments["n"]).value == str(list(range(0, 40, 2)))


# --- files ------------------------------------------------------------------------------------------------------------
def test_files_go_in_and_out(session: Session) -> None:
    data = bytes(range(256)) * 5000
    session.put("data/in.bin", data)
    assert run(session, "len(open('data/in.bin', 'rb').read())").value == str(len(data))
    run(session, "import os\nos.chdir('data')")
    assert session.get("data/in.bin") == data
    session.put("empty", b"")
    assert session.get("empty") == b""


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\0b", "dir/"])
def test_paths_outside_are_refused(session: Session, path: str) -> None:
    with pytest.raises(ValueError, match="not a path inside"):
        session.get(path)
    with pytest.raises(ValueError, match="not a path inside"):
        session.put(path, b"")


def test_missing_files_folders_and_full_disks(session: Session) -> None:
    with pytest.raises(FileNotFoundError):
        session.get("nothing")
    run(session, "import os; os.mkdir('d')")
    with pytest.raises(ValueError, match="regular"):
        session.get("d")
    with pytest.raises(OSError, match="big"):
        session.put("big", bytes(LIMITS.disk_mb + 1 << 20))
    assert run(session, "6 * 7").value == "42"


# --- leases and ends --------------------------------------------------------------------------------------------------
def test_configurations_are_values() -> None:
    assert pickle.loads(pickle.dumps(ForkServer(preload=("numpy",)))) == ForkServer(preload=("numpy",))
    assert hash(ForkServer()) == hash(ForkServer())
    assert ForkServer() != BARE
    assert shared(ForkServer()) is shared(pickle.loads(pickle.dumps(ForkServer())))


def test_building_one_starts_nothing_and_open_needs_a_lease() -> None:
    before = children(os.getpid())
    with pytest.raises(RuntimeError, match="acquire"):
        ForkServer(preload=()).open(LIMITS, 0)
    assert set(children(os.getpid())) <= set(before)


def test_the_last_release_leaves_no_process_and_no_descriptor() -> None:
    executor, processes = ForkServer(preload=()), children(os.getpid())
    descriptors = open_descriptors()
    executor.acquire()
    executor.acquire()
    sessions = [executor.open(LIMITS, n) for n in range(5)]
    run(sessions[0], "1")
    run(sessions[0].fork(), "1")
    below = descendants(os.getpid())
    executor.release()
    assert run(sessions[1], "6 * 7").value == "42"
    executor.release()
    assert children(os.getpid()) == processes
    assert open_descriptors() == descriptors
    assert sessions[0].fileno() == -1
    assert all_end([p for p in below if p not in processes and p not in descendants(os.getpid())])


def test_one_that_waits_in_line_is_waited_for_while_others_come_up() -> None:
    with ForkServer(preload=(), spare=0).leased() as executor:
        run(executor.open(LIMITS, 0), "1")
        last = executor.open(LIMITS, 0)
        last._real._start_by = time.monotonic()
        assert run(last, "6 * 7").value == "42"


def test_without_the_server_what_had_called_a_tool_ends_as_an_executor_error_and_a_new_one_starts() -> None:
    with ForkServer(preload=()).leased() as executor:
        known = children(os.getpid())
        opened = executor.open(LIMITS, 0, [Tool("tool")])
        run(opened, "1")
        opened.submit("tool()", 60.0)
        assert isinstance(until_event(opened), HostCall)
        [launcher] = [p for p in known if children(p) and p == executor._own.server.process.pid]
        guests = descendants(launcher)
        os.kill(children(launcher)[0], signal.SIGKILL)
        done = finish(opened)
        assert (done.status, done.state_lost) == (RunStatus.EXECUTOR_ERROR, True)
        assert all_end(guests)
        assert run(executor.open(LIMITS, 0), "6 * 7").value == "42"


_HOST = """
import sys, time
from tir_gym.core.interfaces import Limits
from tir_gym.executors.forkserver import ForkServer
executor = ForkServer(preload=()).acquire()
sessions = [executor.open(Limits(), n) for n in range(3)]
sessions.append(sessions[0].fork())
for s in sessions:
    s.submit("while True: pass", 600.0)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("namespaces", [True, False])
def test_killing_the_host_leaves_no_process_and_no_directory(namespaces: bool, tmp_path: Path) -> None:
    program = _HOST.replace("()).acquire", f"(), namespaces={namespaces}).acquire")
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"ready\n"
        below = descendants(host.pid)
        assert len(below) >= 6  # launcher, server, three sessions, the copy
        assert namespaces == (not list(tmp_path.iterdir()))
        host.kill()
        assert all_end(below)
        assert list(tmp_path.iterdir()) == []


def test_a_forked_host_has_its_own_server_and_spares_its_parents(executor: ForkServer, session: Session) -> None:
    run(session, "x = 1")
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        result = b"failed"
        try:
            assert session.fileno() == -1
            session.close()
            with ForkServer(preload=()).leased() as own:
                result = run(own.open(LIMITS, 0), "6 * 7").value.encode()
        finally:
            os.write(write, result)
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"42"
    os.waitpid(pid, 0)
    assert run(session, "x").value == "1"


def test_one_loop_serves_many_sessions(executor: ForkServer) -> None:
    sessions = {s.fileno(): s for s in (executor.open(LIMITS, n) for n in range(16))}
    for number, opened in enumerate(sessions.values()):
        opened.submit(f"{number} ** 2", 20.0)
    results = [finish(opened).value for opened in sessions.values()]
    assert results == [str(n * n) for n in range(16)]


# --- honesty ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("namespaces", [True, False])
def test_the_report_says_what_is_missing(namespaces: bool) -> None:
    report = ForkServer(preload=(), namespaces=namespaces).report()
    report.pop("tier")
    missing = {layer for layer, verdict in report.items() if verdict != "enforced"}
    assert {layer for layer in missing if not report[layer].startswith("missing: ")} == set()
    assert ("namespaces" in missing) >= (not namespaces)
    assert not missing & {"filesystem", "network", "processes", "descriptors", "memory", "privileges"}


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(ExecutorUnavailable, match="no_such_package"):
        ForkServer(preload=("no_such_package",)).acquire()


def test_done_compares_without_measurements(executor: ForkServer) -> None:
    ends = [run(executor.open(LIMITS, 1), "print(1)") for _ in range(2)]
    assert ends[0] == ends[1]
    assert isinstance(ends[0], Done)
    assert ends[0].measured.wall_s > 0


# --- what was mended --------------------------------------------------------------------------------------------------
RANDOM = """
import numpy, os, random, secrets, tempfile, uuid
def draw():
    name = os.path.basename(tempfile.mktemp())
    loose = random.Random().random(), numpy.random.default_rng().random(), numpy.random.RandomState().rand()
    system = os.urandom(8), os.getrandom(8), secrets.token_hex(), random.SystemRandom().random()
    return name, loose, system, uuid.uuid4()
"""


def test_all_randomness_follows_from_the_seed(executor: ForkServer) -> None:
    same, again, other = (executor.open(LIMITS, seed) for seed in (5, 5, 6))
    values = [run(opened, RANDOM + "draw()").value for opened in (same, again, other)]
    assert values[0].startswith("('tmp")
    assert values[0] == values[1]
    assert values[0] != values[2]
    second = run(same, "draw()").value
    assert second != values[0]
    copy = again.fork()
    assert run(copy, "draw()[1:]").value == run(again, "draw()[1:]").value


def test_a_memory_error_that_is_caught_or_raised_keeps_the_state(session: Session) -> None:
    run(session, "n = 41")
    done = run(session, "n += 1\nraise MemoryError('mine')")
    assert (done.status, done.state_lost) == (RunStatus.MEMORY, False)
    done = run(session, "try:\n    keep = bytes(1 << 40)\nexcept MemoryError:\n    print('caught')")
    assert (done.status, done.state_lost, done.stdout) == (RunStatus.OK, False, "caught\n")
    assert run(session, "n").value == "42"


def test_arguments_that_are_no_proper_json_are_refused_before_the_host_sees_them(executor: ForkServer) -> None:
    opened = executor.open(LIMITS, 0, [Tool("show", ("a",))])
    nest = "x = 1\nfor _ in range({}): x = [x]\nshow(x)"
    for code, reason in (
        ("show('x' * 100_001)", "100000"),
        ("show(['x'] * 30_000)", "100000"),
        (nest.format(64), "64 levels"),
        (nest.format(400), "64 levels"),
    ):
        done = run(opened, code)
        assert (done.status, done.state_lost) == (RunStatus.EXCEPTION, False)
        assert done.error.startswith("ToolError: show()"), done.error
        assert reason in done.error
    send = (
        "import json, struct\nm = json.dumps(dict(t='call', token=g.token, id=9, tool='show', arguments=dict(a=0)))\n"
        "m = m.replace('0}', '1e999}')\n"
        "g.channel.socket.sendall(struct.pack('!I', len(m)) + m.encode()); g.channel.next()['error']"
    )
    assert "not finite" in run(opened, GUEST + send).value
    opened.submit("g.calls = 9\nshow({'k\\ud800': ['\\udfff', 'é😀', 1.5, None, True]})", 20.0)
    seen: list[HostCall] = []
    assert finish(opened, seen.append).status is RunStatus.OK
    assert [call.arguments for call in seen] == [{"a": {"k\ufffd": ["\ufffd", "é😀", 1.5, None, True]}}]
    opened.submit(nest.format(63), 20.0)
    assert finish(opened, seen.append).status is RunStatus.OK
