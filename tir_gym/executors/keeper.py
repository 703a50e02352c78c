"""The parent of a session's interpreter in a container, a bubblewrap or a bare process: its only child, forked warm.

It passes whole frames on from standard input and back to standard output, signals the interpreter when the host wants
an interrupt, and says with the session's secret, which the interpreter never sees, how it ended. Standard library only.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any, NoReturn

from tir_gym.executors import guest, jail, seccomp
from tir_gym.executors.confine import WARM

_HELD_BACK = 1 << 20
"""Bytes for a slow host above which the interpreter has to wait."""
_SHORT = 256
"""An interrupt's frame is smaller."""


def _exactly(size: int) -> bytes:
    """`size` bytes of standard input. Raises `EOFError` if there are no more."""
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def _order() -> dict[str, Any]:
    order: dict[str, Any] = json.loads(_exactly(int.from_bytes(_exactly(4), "big")))
    return order


def _say(message: dict[str, Any]) -> None:
    data = guest.frame(message)
    while data:
        data = data[os.write(1, data) :]


def _filter() -> tuple[bytes, str]:
    """The seccomp filter that this kernel takes, or why there is none."""
    reason = seccomp.supported()
    if reason:
        return b"", reason
    program = seccomp.allow_list(False, attributes=True)
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            jail.drop_rights(-1)
            seccomp.install(program)
            os._exit(0)
        os._exit(1)
    if os.waitpid(pid, 0)[1]:
        return b"", "the kernel, or the container's own filter, refuses seccomp filters"
    return program, ""


class Relay:
    """Bytes between the host and the interpreter, until one of them ends."""

    def __init__(self, pid: int, channel: socket.socket, secret: bytes, wake: socket.socket) -> None:
        self.pid, self.channel, self.secret, self.wake = pid, channel, secret, wake
        self.partial, self.inward, self.outward = bytearray(), bytearray(), bytearray()
        self.open = True
        self.poll = select.poll()
        for end in (0, 1):
            os.set_blocking(end, False)
        for fd in (0, channel.fileno(), wake.fileno()):
            self.poll.register(fd, select.POLLIN)

    def run(self) -> None:
        """Pass on until the interpreter or the host's end is gone."""
        idle = True
        while True:
            for fd, mask in self.poll.poll():
                if fd == 0:
                    self._from_host()
                elif fd == self.wake.fileno():
                    if self._ended():
                        return
                elif fd == self.channel.fileno() and mask & ~select.POLLOUT:
                    self._from_guest()
            self._write()
            if not idle or self.inward or self.outward:
                idle = not self.inward and not self.outward
                self._watch()

    def _watch(self) -> None:
        if self.open:
            wanted = select.POLLIN if len(self.outward) < _HELD_BACK else 0
            self.poll.modify(self.channel.fileno(), wanted | (select.POLLOUT if self.inward else 0))
        if self.outward:
            self.poll.register(1, select.POLLOUT)
        else:
            with contextlib.suppress(KeyError):
                self.poll.unregister(1)

    def _from_host(self) -> None:
        try:
            data = os.read(0, 1 << 18)
        except BlockingIOError:
            return
        if not data:
            os.kill(self.pid, signal.SIGKILL)
            raise EOFError
        self.partial += data
        while len(self.partial) >= 4:
            size = 4 + int.from_bytes(self.partial[:4], "big")
            if len(self.partial) < size:
                return
            whole = self.partial[:size]
            del self.partial[:size]
            self.inward += whole
            if size < _SHORT and json.loads(whole[4:])["t"] == "interrupt":
                self._write()
                os.kill(self.pid, signal.SIGINT)

    def _from_guest(self) -> None:
        try:
            data = self.channel.recv(1 << 17)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.outward += data
        elif self.open:
            self.open = False
            self.poll.unregister(self.channel.fileno())

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.outward:
                del self.outward[: os.write(1, self.outward)]
        try:
            while self.inward and self.open:
                del self.inward[: self.channel.send(self.inward)]
        except BlockingIOError:
            pass
        except OSError:
            self.inward.clear()

    def _ended(self) -> bool:
        """Reap. Once the interpreter is among the dead, say so as the last thing."""
        self.wake.recv(4096)
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return False
            if pid == self.pid:
                break
        while self.open:
            before = len(self.outward)
            self._from_guest()
            if len(self.outward) == before:
                break
        self.outward += self.secret + struct.pack("!ii", status, int((usage.ru_utime + usage.ru_stime) * 1000))
        os.set_blocking(1, True)
        self._write()
        return True


def _nothing(number: int, frame: object) -> None:
    """Let a signal wake the loop."""


def _end_others() -> None:
    """Where this is not the first process of its namespace: kill what the session left, which falls to this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while os.getpid() != 1 and (pids := children.read_text("ascii").split()):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.wait()


def _leave(config: dict[str, Any]) -> NoReturn:
    """End, with whatever the session left."""
    with contextlib.suppress(OSError):
        _end_others()
    if config["remove"]:
        shutil.rmtree(config["remove"], ignore_errors=True)
    os._exit(0)


def _be_session(config: dict[str, Any], order: dict[str, Any], channel: int, program: bytes) -> None:
    """In the child: take the channel, limits and confinement. Raises `OSError`."""
    os.setsid()
    limits = order["limits"]
    work = config["work"]
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)  # the kill at the hard limit is the host's to explain
    os.dup2(channel, guest.CHANNEL)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    jail.close_from(guest.CHANNEL + 1)
    os.chdir(work)
    os.environ.update(HOME=work, TMPDIR=work)
    guest.capture(work)
    size = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGESIZE")
    tasks = limits["processes"] + 2 if config["count_tasks"] else -1
    rules = -1
    if config["isolate"]:
        jail.drop_rights(-1)
        if abi := jail.landlock_abi():
            readable = [path for path in config["readable"] if os.path.exists(path)]  # noqa: PTH110
            rules = jail.landlock_rules(abi, readable, [work], ["/dev/null"])
    jail.limit(size + limits["memory"], limits["disk"], limits["cpu_s"], tasks)
    jail.die_with_parent()
    if rules >= 0:
        jail.landlock_enter(rules)
        os.close(rules)
    if program:
        seccomp.install(program)


def main(config: dict[str, Any]) -> None:
    """Be ready for one session, have it, end with it. `config` comes from `pool`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o022)
    for name in set(os.environ) - set(config["environment"]):
        del os.environ[name]
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    if config["user"] >= 0:
        jail.drop_rights(config["user"])
    sys.path += config["search"]
    try:
        for name in config["preload"]:
            importlib.import_module(name)
            exec(WARM.get(name, ""), {})  # noqa: S102 - our own text
        program, no_filter = _filter() if config["isolate"] else (b"", "it was not asked for")
    except (ImportError, OSError) as error:
        _say({"t": "failed", "text": f"{type(error).__name__}: {error}"})
        os._exit(1)
    sys.path = [path for path in sys.path if path not in config["search"]]
    gc.collect()
    gc.freeze()
    abi = jail.landlock_abi() if config["isolate"] else 0
    _say({"t": "hello", "landlock": abi, "seccomp": no_filter, "python": sys.version.split()[0]})
    try:
        order = _order()
    except EOFError:
        _leave(config)
    wake, waker = socket.socketpair()
    for end in (wake, waker):
        end.setblocking(False)
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            _be_session(config, order, theirs.detach(), program)
        except OSError as error:
            os.write(guest.CHANNEL, guest.frame({"t": "failed", "text": f"cannot confine: {error}"}))
            os._exit(70)
        for end in (ours, wake, waker):
            end.detach()  # closed by number, never again when the object dies
        limits = order["limits"] | {"work": config["work"]}
        for name in [n for n in sys.modules if n == "tir_gym" or n.startswith("tir_gym.")]:
            del sys.modules[name]
        guest.run(limits)
        os._exit(0)
    theirs.close()
    ours.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _nothing)
    waker.send(b"!")  # the child may be dead already
    jail.adopt_orphans()
    if config["isolate"]:
        jail.drop_rights(-1)
    with contextlib.suppress(EOFError, OSError):
        Relay(pid, ours, bytes.fromhex(_order()["secret"]), wake).run()
    _leave(config)
