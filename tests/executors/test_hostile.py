"""Programs that try to get out, to harm the host or a neighbour, or to forge results; and what must be true after."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.executors.conftest import LIMITS, Tool, run
from tir_gym.core.interfaces import Done, RunStatus, Session
from tir_gym.executors.forkserver import ForkServer

CANARY = "canary-51c0ffee"
ENDED = {RunStatus.KILLED, RunStatus.PROTOCOL_ERROR, RunStatus.TIMEOUT}


@dataclass(frozen=True)
class World:
    """A host worth attacking: a secret file, two listeners, a neighbour."""

    executor: ForkServer
    secret: Path
    tcp: socket.socket
    unix: socket.socket
    neighbour: Session

    def fill(self, code: str) -> str:
        for name, value in (
            ("SECRET", str(self.secret)),
            ("PORT", str(self.tcp.getsockname()[1])),
            ("UNIX", self.unix.getsockname()),
            ("HOST", str(os.getpid())),
            ("SOURCE", __file__),
        ):
            code = code.replace(name, value)
        return code


@pytest.fixture(scope="module", params=["namespaces", "no namespaces"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("host")
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)
    (folder / "secret").write_text(CANARY)
    (folder / "secret").chmod(0o666)
    executor = ForkServer(preload=("numpy",), namespaces=request.param == "namespaces")
    with executor.leased(), socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        unix.bind(str(folder / "unix"))
        for listener in (tcp, unix):
            listener.listen()
            listener.setblocking(False)
        neighbour = executor.open(LIMITS, 0)
        assert run(neighbour, f"mine = {CANARY!r}\nopen('mine', 'w').write(mine)").status is RunStatus.OK
        yield World(executor, folder / "secret", tcp, unix, neighbour)


def refused(done: Done) -> bool:
    """The code ran to its end inside, got an error for what it tried, and can go on."""
    return done.status is RunStatus.EXCEPTION and not done.state_lost and "Error" in done.error


def nothing(done: Done) -> bool:
    return done.status is RunStatus.OK and done.value == "[]"


def gone(done: Done) -> bool:
    return done.status in ENDED and done.state_lost


def bounded(done: Done) -> bool:
    return len(done.stdout + done.stderr + done.value + done.error + done.traceback) < 6 * LIMITS.output_chars


def protocol(done: Done) -> bool:
    return done.status is RunStatus.PROTOCOL_ERROR and done.state_lost


def stopped(done: Done) -> bool:
    return done.status is RunStatus.TIMEOUT and bounded(done)


def memory(done: Done) -> bool:
    return done.status is RunStatus.MEMORY and not done.state_lost


SYSCALLS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
numbers = dict(ptrace=101, mount=165, pivot_root=155, unshare=272, setns=308, keyctl=250, add_key=248, bpf=321,
    io_uring_setup=425, userfaultfd=323, perf_event_open=298, kexec_load=246, init_module=175, process_vm_readv=310,
    memfd_create=319, pidfd_open=434, pidfd_getfd=438, fork=57, vfork=58, clone3=435, execve=59, socket=41, connect=42,
    setsid=112, setuid=105, chroot=161, mknod=133, symlink=88, link=86, shmget=29, setrlimit=160, seccomp=317,
    open_by_handle_at=304, openat2=437, sendmsg=46, shutdown=48, rt_sigqueueinfo=129, clock_settime=227, reboot=169,
    landlock_create_ruleset=444, landlock_add_rule=445)
refused = lambda number: libc.syscall(number, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() in (1, 38)
[name for name, number in numbers.items() if not refused(number)]
"""
FRAME = "import os, struct\ndef send(body): os.write(3, struct.pack('!I', len(body)) + body)\n"

STEAL = "import gc, json\ntoken = next(o.token for o in gc.get_objects() if type(o).__name__ == 'Guest')\n"
END = (
    "dict(t='done', token=token, status='ok', value='', error='', traceback='', stdout='', stderr='', cpu=0, memory=0)"
)

PROGRAMS = {
    "reads a file of the host": ("open('SECRET').read()", refused),
    "reads this package": ("open('SOURCE').read()", refused),
    "changes a file of the host": ("open('SECRET', 'w').write('x')", refused),
    "looks into /proc": ("open('/proc/1/environ').read()", refused),
    "lists the root": ("import os; os.listdir('/')", refused),
    "reads the users": ("open('/etc/passwd').read()", refused),
    "writes to the library": ("import os; open(os.path.dirname(os.__file__) + '/x.py', 'w')", refused),
    "writes to /tmp": ("open('/tmp/x', 'w')", refused),
    "imports the answers": ("import tir_gym", refused),
    "finds our modules": ("import sys; [m for m in sys.modules if 'tir_gym' in m]", nothing),
    "reads the environment": (
        "import os; [k for k in os.environ if k in ('PATH', 'USER', 'PWD', 'SSH_AUTH_SOCK')]",
        nothing,
    ),
    "reads the environment's memory": (
        (
            "import ctypes\nc = ctypes.c_char_p.in_dll(ctypes.CDLL(None), 'environ')\n"
            "[k for k in ('PATH',) if ctypes.CDLL(None).getenv(k.encode())]"
        ),
        nothing,
    ),
    "uses other descriptors": (
        (
            "import os\ndef is_open(fd):\n    try: os.fstat(fd); return True\n"
            "    except OSError: return False\n[fd for fd in range(4, 1024) if is_open(fd)]"
        ),
        nothing,
    ),
    "connects over TCP": ("import socket; socket.create_connection(('127.0.0.1', PORT), 2)", refused),
    "sends over UDP": ("import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", refused),
    "connects over a path": ("import socket; socket.socket(socket.AF_UNIX).connect('UNIX')", refused),
    "sends to a path": (
        "import socket\na, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\na.sendto(b'x', 'UNIX')",
        refused,
    ),
    "kills the host": ("import os; os.kill(HOST, 9)", refused),
    "kills its group and all it can": (
        "import os\nfor p in (0, -1, os.getppid() or -1):\n    try: os.kill(p, 15)\n    except OSError: pass",
        lambda d: True,
    ),
    "bombs with forks": ("import os\nwhile True: os.fork()", refused),
    "starts a program": ("import subprocess; subprocess.run(['/bin/sh', '-c', 'id'])", refused),
    "starts an interpreter": ("import multiprocessing; multiprocessing.Pool(2)", refused),
    "makes every dangerous call": (SYSCALLS, nothing),
    "bombs with memory": ("x = bytes(1 << 20)\nwhile True: x += x", memory),
    "bombs with threads": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
        lambda d: d.status in {RunStatus.EXCEPTION, RunStatus.MEMORY, RunStatus.KILLED},
    ),
    "recurses in C": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return [*map(lambda _: f(), [0])]\nf()",
        lambda d: d.status in {RunStatus.EXCEPTION, RunStatus.MEMORY, RunStatus.KILLED},
    ),
    "fills a file": ("with open('big', 'wb') as f:\n    while True: f.write(bytes(1 << 20))", refused),
    "raises its limits": ("import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))", refused),
    "prints for ever": ("while True: print('x' * 100)", stopped),
    "floods a descriptor": (
        "import os\nwhile True:\n    try: os.write(1, b'x' * 65536)\n    except OSError: pass",
        stopped,
    ),
    "raises a huge error": ("raise ValueError('x' * 10**7)", bounded),
    "raises an error that cannot be shown": ("class E(Exception):\n    def __str__(self): raise E\nraise E", bounded),
    "nests errors": (
        "def f(n):\n    try: 1/0\n    except Exception as e:\n        if n: f(n - 1)\n        raise\nf(500)",
        bounded,
    ),
    "ignores interrupts": ("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass", gone),
    "hangs in C": ("sum(range(10**13))", gone),
    "leaves": ("import os; os._exit(0)", gone),
    "crashes": ("import ctypes; ctypes.string_at(0)", gone),
    "closes every descriptor": ("import os; os.closerange(0, 64)", gone),
    "hands the host garbage": ("import os; os.write(3, b'garbage!' * 100); 1", protocol),
    "hands the host an endless frame": ("import os; os.write(3, b'\\x7f\\xff\\xff\\xff'); 1", protocol),
    "pretends to be the server": ("import os; os.write(3, b'\\xff' * 24); 1", protocol),
    "hands the host nested JSON": (FRAME + "send(b'[' * 500_000); 1", protocol),
    "hands the host a number too long": (FRAME + "send(b'{\"t\": ' + b'9' * 100_000 + b'}'); 1", protocol),
    "forges an end without the token": (
        FRAME + f"import json; token = '0'; send(json.dumps({END}).encode()); 1",
        protocol,
    ),
    "claims to be ready again": (FRAME + 'send(b\'{"t": "ready"}\'); 1', protocol),
    "claims that its start failed": (FRAME + 'send(b\'{"t": "failed", "text": "x"}\'); 1', protocol),
    "hands the host a pickle": (
        "import os, pickle\nclass P:\n    def __reduce__(self): return os.abort, ()\nos.write(3, pickle.dumps(P())); 1",
        protocol,
    ),
    "breaks the built-ins": ("import builtins, json\nbuiltins.len = builtins.exec = json.dumps = None", lambda d: True),
    "breaks the streams": ("import sys\nsys.stdout = sys.stderr = sys.stdin = None", lambda d: True),
    "hides its neighbours' secrets": (
        "import gc\n[x for x in gc.get_objects() if isinstance(x, dict) and 'mine' in x and x is not globals()]",
        nothing,
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_stays_inside(world: World, name: str) -> None:
    code, expected = PROGRAMS[name]
    attacker = world.executor.open(LIMITS, 1)
    assert run(attacker, "1").status is RunStatus.OK
    done = run(attacker, world.fill(code), 1.0)
    attacker.close()
    assert expected(done), done
    assert bounded(done)
    assert CANARY not in done.stdout + done.value + done.error
    assert world.secret.read_text() == CANARY
    for listener in (world.tcp, world.unix):
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert run(world.neighbour, "mine, open('mine').read()").value == f"({CANARY!r}, {CANARY!r})"
    assert run(world.executor.open(LIMITS, 2), "6 * 7").value == "42"


def test_it_cannot_fill_the_disk_with_many_files(world: World) -> None:
    if not world.executor.namespaces or world.executor.report()["disk quota"] != "enforced":
        pytest.skip("the disk quota needs a mount namespace")
    code = "for n in range(10**6):\n    with open(str(n), 'wb') as f: f.write(bytes(1 << 16))"
    assert refused(run(world.executor.open(LIMITS, 1), code))


def test_a_copy_is_held_as_its_original(world: World) -> None:
    original = world.executor.open(LIMITS, 1)
    run(original, "1")
    copy = original.fork()
    for name in ("reads a file of the host", "makes every dangerous call", "bombs with forks", "kills the host"):
        code, expected = PROGRAMS[name]
        assert expected(run(copy, world.fill(code), 5.0)), name
    assert run(copy, "import os\nos.kill(1, 9)").status in {RunStatus.OK, RunStatus.EXCEPTION}
    assert run(original, "6 * 7").value == "42"
    assert gone(run(copy, "import os; os.closerange(0, 64)", 1.0))
    assert run(original, "6 * 7").value == "42"


@pytest.mark.parametrize(
    "message",
    [
        "dict(t='call', token=token, id=1, tool='grade', arguments={})",
        "dict(t='call', token=token, id='1', tool='offered', arguments={})",
        "dict(t='call', token=token, id=1, tool='offered', arguments=[])",
        "dict(t='file', token=token, data='', error='')",
        "dict(t='forked', token=token, error='')",
        END + " | dict(cpu=float('nan'))",
        END + " | dict(cpu=-1)",
        END + " | dict(memory=10**4000)",
        END + " | dict(memory=True)",
        END + " | dict(stdout=None)",
        END + " | dict(reward=1.0)",
    ],
)
def test_even_with_the_token_only_proper_frames_pass(world: World, message: str) -> None:
    attacker = world.executor.open(LIMITS, 1, [Tool("offered")])
    assert protocol(run(attacker, f"{FRAME}{STEAL}send(json.dumps({message}).encode()); 1"))


@pytest.mark.parametrize(
    "message",
    [
        "{'t': 'done', 'token': token} | {chr(97 + i) * 140000: 1 for i in range(12)}",
        "{'t': 'x' * 10**6, 'token': token}",
        "{'t': 'done' + 'x' * 10**6, 'token': token}",
    ],
)
def test_a_broken_frame_is_not_quoted_at_length(world: World, message: str) -> None:
    attacker = world.executor.open(LIMITS, 1)
    done = run(attacker, f"{FRAME}{STEAL}send(json.dumps({message}).encode()); 1")
    assert protocol(done)
    assert len(done.error) <= 400


def test_a_forged_end_is_worth_no_more_than_a_lie_about_the_output(world: World) -> None:
    attacker = world.executor.open(LIMITS, 1)
    done = run(attacker, f"{FRAME}{STEAL}send(json.dumps({END} | dict(stdout='x' * 10**6)).encode()); 1")
    assert done.status is RunStatus.OK
    assert bounded(done)
    with suppress(RuntimeError):
        run(attacker, "1")  # the honest end of the first is out of turn now
    assert attacker.fileno() == -1
