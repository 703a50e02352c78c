"""What holds a session, observed: attacks run inside a live one, and what came of each.

Every executor runs them when it starts, before it lets anyone else's code in, and again for each `report()`.
"""

import contextlib
import json
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from tir_gym.core.interfaces import Done, Limits, RunStatus
from tir_gym.executors.process import wait_readable
from tir_gym.executors.session import GuestSession
from tir_gym.executors.tiers import Tier, tier_of

TRIAL = Limits(wall_s=20.0, memory_mb=256, disk_mb=1)
"""Of the session that is attacked; the disk is small, as it is filled."""

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
        for number in range(8):
            with open("fill%d" % number, "wb") as file:
                file.write(bytes(DISK // 2))
    finally:
        for name in os.listdir("."):
            if name.startswith("fill"):
                os.unlink(name)
def hoard():
    return len(bytearray(MEMORY * 4))
def connect(family, kind, where):
    with socket.socket(family, kind) as probe:
        probe.settimeout(1)
        probe.connect(where)
        probe.send(b"!")
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
    "write": tried(lambda: open(FOLDER + "/probe", "w")),
    "tcp": tried(lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", PORT))),
    "udp": tried(lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", DATAGRAMS))),
    "unix": tried(lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, UNIX)),
    "interfaces": tried(lambda: socket.if_nameindex()),
    "kill": tried(lambda: os.kill(HOST, 0)),
    "kill_group": tried(lambda: os.killpg(HOST, 0)),
    "kill_all": tried(lambda: os.kill(0, 0)),
    "kill_parent": tried(lambda: os.kill(os.getppid(), 0)),
    "group": os.getpgid(0),
    "pid": os.getpid(),
    "root": os.stat("/").st_dev,
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


def run(session: GuestSession, code: str, seconds: float) -> Done:
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


def observe(session: GuestSession, hello: dict[str, Any], best: Tier = Tier.A) -> dict[str, str]:
    """Attack from `session`, opened with `TRIAL`: "tier", and each layer -> "enforced" or "missing: why, mend".

    `hello`: what the session's server or keeper said of itself, for the reasons. `best`: as of `tiers.tier_of`.
    """
    with contextlib.ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory())
        Path(folder).chmod(0o777)
        canary = Path(folder, "canary")
        canary.write_text(_CANARY, "utf-8")
        canary.chmod(0o644)
        tcp = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = held.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(f"{folder}/unix")
        unix.listen()
        udp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        known = {
            "FOLDER": folder,
            "CANARY": str(canary),
            "SOURCE": __file__,
            "PORT": tcp.getsockname()[1],
            "DATAGRAMS": udp.getsockname()[1],
            "UNIX": f"{folder}/unix",
            "HOST": os.getpid(),
            "DISK": TRIAL.disk_mb << 20,
            "MEMORY": TRIAL.memory_mb << 20,
        }
        lines = "".join(f"{name} = {value!r}\n" for name, value in known.items())
        done = run(session, lines + _ATTACKS, 30.0)
        reached = any(wait_readable(end.fileno(), 0.0) for end in (tcp, unix, udp))
    seen: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        seen = json.loads(done.stdout)
    if not seen:
        why = done.error or done.stderr
        return {"tier": Tier.UNSAFE.value, "all": f"missing: the attacks did not finish ({done.status}: {why})"}
    layers = _judge(seen, hello, reached)
    counted = dict(layers)
    if hello.get("programs") and seen["group"] == seen["pid"] and seen["kill"][:3] == seen["kill_group"][:3] == "no ":
        counted["processes"] = "enforced"  # processes of its own were asked for; those of others are out of reach
    return {"tier": tier_of(counted, best).value, **layers}


def _judge(seen: dict[str, Any], hello: dict[str, Any], reached: bool) -> dict[str, str]:
    no_spaces = f"missing: {hello.get('why', '')}; allow user namespaces (sysctl user.max_user_namespaces, "
    no_spaces += "kernel.apparmor_restrict_unprivileged_userns=0) or run as root"
    programs = hello.get("programs", False)
    started = "for lack of seccomp; see there"
    if programs:
        started = "in a process namespace of its own, as asked for with programs=True"
    weak = {
        "filesystem": "missing: files of the host can be read, for lack of both Landlock and namespaces; see there",
        "processes": f"missing: a session may start processes, {started}",
        "landlock": "missing: the kernel has no Landlock; boot Linux 5.13 or later with landlock among its lsm=",
        "seccomp": f"missing: {hello['seccomp'] or 'the kernel refuses filters'}",
        "network": "missing: the host was reached; allow network namespaces, or seccomp",
        "disk quota": f"missing: only single files are bounded; {no_spaces[9:]}",
        "namespaces": no_spaces,
        "addresses": "missing: personality(ADDR_NO_RANDOMIZE) is refused; addresses differ from run to run, allow it",
        "user": "missing: sessions run as this process's user; run as root or allow user namespaces, "
        "and install Python where other users may read it",
        "cgroup": f"missing: what all sessions take together has no bound; {hello['cgroup']}",
    } | hello.get("weak", {})

    def refused(*names: str) -> bool:
        return all(str(seen[name]).startswith("no ") for name in names)

    foreign = ("USER", "KEY") if programs else ("PATH", "USER", "KEY")
    tests = {
        "filesystem": refused("file", "source", "import", "write"),
        "environment": refused("environ") and all(s not in seen["own_environ"] for s in foreign),
        "network": refused("tcp", "unix") and not reached,  # a datagram to nobody is no failure
        "processes": refused("kill", "kill_group", "kill_all", "kill_parent", "fork") and seen["group"] == seen["pid"],
        "memory": refused("memory"),
        "disk quota": refused("disk"),
        "descriptors": seen["descriptors"] == [0, 1, 2, 3],
        "privileges": refused("setuid"),
        "user": seen["uid"] not in (0, os.getuid()),
        "seccomp": refused("ptrace", "unshare", "bpf", "keyctl"),
        "landlock": hello["landlock"] > 0 and refused("landlock"),
        "namespaces": hello["namespaces"] and seen["pid"] < 50 and seen["root"] != Path("/").stat().st_dev,
        "addresses": hello["fixed_addresses"],
        "cgroup": not hello["cgroup"],
    }
    generic = "missing: an attack got through; see docs/security.md and report it"
    return {layer: "enforced" if held else weak.get(layer, generic) for layer, held in tests.items()}
