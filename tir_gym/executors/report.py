"""What holds a session, observed: attacks run inside a live one, and what came of each."""

import contextlib
import json
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from tir_gym.core.interfaces import Done, RunStatus, Session
from tir_gym.executors.process import wait_readable

_CANARY = "canary-7f3a"
_ATTACKS = """
import ctypes, errno, json, os, resource, signal, socket
def tried(act):
    try:
        return "done " + str(act())[:200]
    except (OSError, ImportError, MemoryError) as error:
        return "no " + type(error).__name__
    except BaseException as error:
        return "inconclusive " + type(error).__name__
def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
def fill():
    try:
        for number in range(64):
            with open("fill%d" % number, "wb") as file:
                file.write(bytes(DISK // 2))
    finally:
        for name in os.listdir("."):
            if name.startswith("fill"):
                os.unlink(name)
def hoard():
    return len(bytearray(MEMORY * 4))
def connect(family, where):
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        probe.connect(where)
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result
print(json.dumps({
    "file": tried(lambda: open(CANARY).read()),
    "source": tried(lambda: open(SOURCE).read()),
    "import": tried(lambda: __import__("tir_gym")),
    "environ": tried(lambda: open("/proc/1/environ", "rb").read()),
    "own_environ": tried(lambda: sorted(os.environ)),
    "write": tried(lambda: open("/tmp/tir_gym_probe", "w")),
    "tcp": tried(lambda: connect(socket.AF_INET, ("127.0.0.1", PORT))),
    "unix": tried(lambda: connect(socket.AF_UNIX, UNIX)),
    "interfaces": tried(lambda: socket.if_nameindex()),
    "kill": tried(lambda: os.kill(HOST, 0)),
    "kill_group": tried(lambda: os.killpg(HOST, 0)),
    "parent": os.getppid(),
    "pid": os.getpid(),
    "uid": os.getuid(),
    "fork": tried(fork),
    "memory": tried(hoard),
    "disk": tried(fill),
    "descriptors": [fd for fd in range(256) if not tried(lambda: os.fstat(fd)).startswith("no")],
    "setuid": tried(lambda: os.setuid(0)),
    "ptrace": tried(lambda: call(101, 0, 0, 0, 0)),
    "unshare": tried(lambda: call(272, 0x10000000)),
    "bpf": tried(lambda: call(321, 0, 0, 0)),
    "keyctl": tried(lambda: call(250, 0, -3, 0)),
    "landlock": tried(lambda: os.listdir("/")),
    "address": id(object),
}))
"""


def run(session: Session, code: str, seconds: float) -> Done:
    """Run `code` and wait for its end."""
    session.submit(code, seconds)
    until = time.monotonic() + seconds + 90
    while time.monotonic() < until:
        for event in session.events():
            if isinstance(event, Done):
                return event
        if session.fileno() >= 0:
            wait_readable(session.fileno(), min(until, session.wakeup() or until))
    session.close()
    return Done(0, RunStatus.EXECUTOR_ERROR, error="no end in time", state_lost=True)


def observe(session: Session, hello: dict[str, Any], disk: int, memory: int) -> dict[str, str]:
    """Run the attacks in `session`; each layer -> "enforced" or "missing: why, mend"."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        Path(folder).chmod(0o755)
        canary = Path(folder, "canary")
        canary.write_text(_CANARY, "utf-8")
        canary.chmod(0o644)
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        unix.bind(f"{folder}/unix")
        unix.listen()
        known = {
            "CANARY": str(canary),
            "SOURCE": __file__,
            "PORT": tcp.getsockname()[1],
            "UNIX": f"{folder}/unix",
            "HOST": os.getpid(),
            "DISK": disk,
            "MEMORY": memory,
        }
        lines = "".join(f"{name} = {value!r}\n" for name, value in known.items())
        done = run(session, lines + _ATTACKS, 30.0)
        seen: dict[str, Any] = {}
        with contextlib.suppress(ValueError):
            seen = json.loads(done.stdout)
    if not seen:
        return {"all": f"missing: the attacks did not finish ({done.status}: {done.error or done.stderr})"}
    return _judge(seen, hello)


def _judge(seen: dict[str, Any], hello: dict[str, Any]) -> dict[str, str]:
    why = hello.get("why", "")
    no_spaces = f"missing: {why}; allow user namespaces or run as root"
    weak = {
        "processes": "missing: a session may start processes, for lack of seccomp; see there",
        "landlock": "missing: the kernel has no Landlock; boot Linux 5.13 or later with lsm=landlock,...",
        "seccomp": f"missing: {hello['seccomp'] or 'the kernel refuses filters'}",
        "network": "missing: a connection to the host succeeded; allow network namespaces or use Landlock ABI 4",
        "disk quota": f"missing: only single files are bounded; {no_spaces[9:]}",
        "namespaces": no_spaces,
        "addresses": "missing: personality(ADDR_NO_RANDOMIZE) is refused; addresses differ from run to run, allow it",
        "user": "missing: sessions run as this process's user; run as root or allow user namespaces, "
        "and install Python where other users may read it",
    } | hello.get("weak", {})

    def refused(*names: str) -> bool:
        return all(str(seen[name]).startswith("no ") for name in names)

    tests = {
        "filesystem": refused("file", "source", "import", "write"),
        "environment": refused("environ") and all(s not in seen["own_environ"] for s in ("PATH", "USER", "KEY")),
        "network": refused("tcp", "unix"),
        "processes": refused("kill", "kill_group", "fork"),
        "memory": refused("memory"),
        "disk quota": refused("disk"),
        "descriptors": seen["descriptors"] == [0, 1, 2, 3],
        "privileges": refused("setuid"),
        "user": seen["uid"] not in (0, os.getuid()),
        "seccomp": refused("ptrace", "unshare", "bpf", "keyctl"),
        "landlock": hello["landlock"] > 0 and refused("landlock"),
        "namespaces": seen["pid"] < 50 and hello["namespaces"],
        "addresses": hello["fixed_addresses"],
    }
    generic = "missing: an attack got through; see docs/security.md and report it"
    return {layer: "enforced" if held else weak.get(layer, generic) for layer, held in tests.items()}
