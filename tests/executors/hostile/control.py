"""The control: the same programs where nothing is isolated, in a jail that keeps this machine whole.

`python -m tests.executors.hostile.control NAME WAY` is the jail (own users, processes, mounts, network; a read-only
disk; a tmpfs; no capabilities; bounded memory and processor time). In it a warden, process 1, starts a trainer that
runs the attack through `Naive` sessions, and says at the end how the trainer fared.
"""

import ctypes
import dataclasses
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.executors.hostile import naive
from tests.executors.hostile.programs import HARMLESS, PROGRAMS
from tests.executors.hostile.shell import SHELL
from tests.executors.hostile.world import attack, own_limits, planted
from tests.processes import descendants
from tir_gym.core.interfaces import Done, Executor, HostCall, Limits, RunStatus, Session, ToolSignature
from tir_gym.executors import jail

ROOT = Path(__file__).parents[3]
TMP = "/mnt"
"""Where the jail has its tmpfs; what it shows at /tmp and /dev is in there."""
SPARES = 24
DEADLINE = 1.0
"""Seconds a program has at most."""
PATIENCE = 3.0
"""Seconds that all else takes at most, or the trainer is held to hang."""
WAYS = ("subprocess", "fork")


class NaiveSession(Session):
    """A worker on a pipe, trusted: its results are unpickled, and waited for without limit."""

    def __init__(self, executor: "Naive", channel: socket.socket, spares: list[socket.socket], output: int) -> None:
        self._executor, self._channel, self._spares, self._output = executor, channel, spares, output
        self._turn, self._call, self._read, self._dead, self._copied = 0, 0, 0, False, False

    def submit(self, code: str, deadline: float) -> int:
        self._turn += 1
        naive.send(self._channel, ("run", code, deadline))
        return self._turn

    def events(self) -> list[Any]:
        try:
            said = naive.receive(self._channel)
            if said[0] == "call":
                _, name, arguments = said
                self._call += 1
                return [HostCall(self._turn, self._call, {"ask": "ask"}[name], arguments)]
            status, value, error, trace = said
        except (EOFError, ConnectionError):
            self._dead = True
            return [Done(self._turn, RunStatus.KILLED, error="the worker has ended", state_lost=True)]
        size = os.fstat(self._output).st_size
        text = os.pread(self._output, min(size - self._read, 1 << 22), self._read).decode()
        self._read = size
        return [Done(self._turn, RunStatus(status), text, "", value, error, trace)]

    def fork(self) -> "NaiveSession":
        copy = NaiveSession(self._executor, self._spares.pop(), self._spares, self._output)
        naive.send(self._channel, ("fork",))
        for session in (self, copy):
            naive.receive(session._channel)
        copy._turn, copy._read, copy._copied = self._turn, self._read, True
        return copy

    def close(self) -> None:
        """Let the next episode have the worker; a copy ends."""
        if self._copied and not self._dead:
            self._dead = True
            naive.send(self._channel, ("end",))
        elif not self._dead and self not in self._executor.idle:
            naive.send(self._channel, ("clear",))
            naive.receive(self._channel)
            self._executor.idle.append(self)

    def fileno(self) -> int:
        return -1 if self._dead else self._channel.fileno()

    def wakeup(self) -> float | None:
        return None

    def answer(self, call_id: int, value: Any = None, error: str = "") -> None:
        naive.send(self._channel, value)

    def interrupt(self) -> None:
        raise NotImplementedError

    def put(self, path: str, data: bytes) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)

    def get(self, path: str) -> bytes:
        return Path(path).read_bytes()


class Naive(Executor):
    """Workers that inherit all the trainer has: as programs of their own ("subprocess") or as its forks ("fork")."""

    def __init__(self, way: str) -> None:
        self.way, self.idle = way, list[NaiveSession]()

    def acquire(self) -> "Naive":
        return self

    def release(self) -> None:
        pass

    def report(self) -> dict[str, str]:
        return {}

    def open(self, limits: Limits, seed: int, tools: Sequence[ToolSignature] = ()) -> NaiveSession:
        if self.idle:
            return self.idle.pop()
        pairs = [socket.socketpair() for _ in range(1 + SPARES)]
        output = os.open(tempfile.mkdtemp() + "/output", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        theirs = [os.dup(pair[1].fileno()) for pair in pairs]
        if self.way == "fork":
            if os.fork() == 0:
                os.dup2(output, 1)
                os.dup2(output, 2)
                try:
                    naive.serve(theirs)
                finally:
                    os._exit(1)
        else:
            program = [sys.executable, naive.__file__, *map(str, theirs)]
            subprocess.Popen(program, stdout=output, stderr=output, pass_fds=theirs).returncode = 0
        for fd in theirs:
            os.close(fd)
        for pair in pairs:
            pair[1].close()
        return NaiveSession(self, pairs[0][0], [pair[0] for pair in pairs[1:]], output)


# --- the jail ---------------------------------------------------------------------------------------------------------
def enter_jail() -> None:
    """Become process 1 of namespaces without rights over this machine; the processes forked on the way wait for it."""
    _go_on_in_a_fork()  # libraries may have started threads, and a process with threads cannot leave its user namespace
    uid, gid, proc = os.geteuid(), os.getegid(), os.open("/proc", os.O_PATH)
    jail.unshare(jail.NEWUSER | jail.NEWPID | jail.NEWNS | jail.NEWNET | jail.NEWIPC | jail.NEWUTS)
    jail.map_user(0, uid, gid, proc)
    os.close(proc)
    _go_on_in_a_fork()
    os.setsid()  # signals to a process group cross namespaces
    jail.mount("none", "/", "none", jail.REC | jail.PRIVATE)
    jail.mount("proc", "/proc", "proc", jail.NOSUID | jail.NODEV | jail.NOEXEC)
    jail.seal_mount("/", jail.RDONLY | jail.NOSUID)
    jail.mount("tmpfs", TMP, "tmpfs", jail.NOSUID | jail.NODEV, "size=400m,nr_inodes=40000,mode=0755")
    tmp, dev = Path(TMP, "tmp"), Path(TMP, "dev")
    for folder in (tmp, dev / "shm"):
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    for device in ("null", "zero", "urandom", "random"):
        (dev / device).touch()
        jail.mount(f"/dev/{device}", str(dev / device), "none", jail.BIND)
    prefix, base = Path(sys.prefix), Path(sys.base_prefix)
    for needed in (ROOT, prefix, prefix.resolve(), base, base.resolve()):
        here = tmp / needed.relative_to("/tmp") if needed.is_relative_to("/tmp") else tmp
        if not here.exists():
            here.mkdir(parents=True)
            jail.mount(str(needed), str(here), "none", jail.BIND | jail.REC)
    jail.mount(str(dev), "/dev", "none", jail.BIND | jail.REC)
    jail.mount(str(tmp), "/tmp", "none", jail.BIND | jail.REC)
    jail.mount("/proc/sys", "/proc/sys", "none", jail.BIND)
    jail.seal_mount("/proc/sys", jail.RDONLY | jail.NOSUID | jail.NODEV | jail.NOEXEC)
    if Path("/proc/sysrq-trigger").exists():
        jail.mount("/dev/null", "/proc/sysrq-trigger", "none", jail.BIND)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, 0x8914, struct.pack("16sH14x", b"lo", 0x49))  # SIOCSIFFLAGS: up, running
    jail.drop_bounding_set()
    jail.drop_rights(-1)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # processes may look at each other again, as they may outside
    own_limits()


def _go_on_in_a_fork() -> None:
    if child := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    jail.die_with_parent()


def train(name: str, way: str, verdict: int) -> None:
    """Be the trainer: run the attack, write down what came of it. Ends the process."""
    program, executor = {**PROGRAMS, **SHELL}.get(name, HARMLESS), Naive(way)
    program = dataclasses.replace(program, deadline=min(program.deadline, DEADLINE))
    work = Path(tempfile.mkdtemp())
    os.chdir(work)
    letter = "?"
    try:
        with planted(executor, Path(tempfile.mkdtemp()), partial(descendants, 1), 0.5) as world:
            letter = "X"
            found = attack(world, program)
            os.pwrite(verdict, json.dumps([found.harms, repr(found.done)[:2000]]).encode(), 0)
            os._exit(0)
    except BaseException:
        os.pwrite(verdict, json.dumps([letter, traceback.format_exc()[-2000:]]).encode(), 0)
    os._exit(0)


def warden(name: str, way: str) -> list[str]:
    """As process 1: the harms, and words to them."""
    verdict = _high(os.memfd_create("verdict"))
    trainer = os.fork()
    if trainer == 0:
        train(name, way, verdict)
    handle = os.pidfd_open(trainer)
    if not select.select([handle], [], [], DEADLINE + PATIENCE)[0]:
        return ["H", "the trainer hung"]
    status = os.waitstatus_to_exitcode(os.waitpid(trainer, 0)[1])
    if status != 0:
        return ["T", f"the trainer ended with {status}"]
    return list(json.loads(os.pread(verdict, 1 << 16, 0)))


def _high(fd: int) -> int:
    """Move a descriptor out of the way of programs that try them."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 500)
    os.close(fd)
    return moved


def main(name: str, way: str) -> None:
    """Print the verdict of one program as JSON, `[harms, words]`."""
    out = _high(os.dup(1))
    for fd in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
    try:
        enter_jail()
        found = warden(name, way)
    except BaseException:
        found = ["?", traceback.format_exc()[-2000:]]
    os.write(out, json.dumps(found).encode())
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
