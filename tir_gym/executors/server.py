"""The fork server: a warm, single-threaded interpreter in its own namespaces that forks one confined child a session.

It learns limits, seeds and descriptors from the host, never code or output, so nothing of one session is in the memory
another is forked from. It ends with its control socket. Standard library only; exec'd by `launcher`.
"""

import array
import contextlib
import fcntl
import functools
import gc
import importlib
import json
import os
import random
import select
import shutil
import signal
import socket
import stat
import struct
import sys
import time
import types
from dataclasses import dataclass, field
from typing import Any

from tir_gym.executors import guest, jail, seccomp
from tir_gym.executors.confine import WARM, Confinement

_RECEIVE_NOTICE, _SEND_NOTICE = 0xC0502100, 0xC0182101
_ADD_FD, _SET_FD, _CLOSE_ON_EXEC = 0x40182103, 1, 0x80000
_CONTINUE = 1
_BUSY = 16
_LAYERS = 16
"""Landlock layers that a process may have; a session begins with one, each copy adds one."""
_GET_INFO, _INFO_EXIT = 0xC040FF0B, 8
_BORN = -2  # as `frames.BORN`
_BIRTH_S = 10.0
"""Seconds a fork may take before the whole family is killed."""


@dataclass(eq=False)
class Family:
    """The first process of a session, with the copies forked from it: one pid namespace, user and fork gate."""

    pid: int
    pidfd: int
    uid: int
    disk: int
    root: str
    gate: int = -1
    frozen: bool = False
    copies: int = 0
    members: set["Member"] = field(default_factory=set)


@dataclass(eq=False)
class Member:
    """One session: the process that runs its code, the server's end of its channel and where its copies' files go."""

    sid: int
    family: Family
    channel: socket.socket
    secret: bytes
    pid: int = -1
    pidfd: int = -1
    base: str = ""
    box: str = ""
    device: int = -1
    layers: int = 1


@dataclass(eq=False)
class Birth:
    """A fork that is under way: how many processes it may still start, and how many of those are yet to announce it."""

    parent: Member
    child: Member
    tickets: int
    until: float
    missing: int = 0
    suspect: bool = False
    """An earlier fork of the family ended with a process missing while this one was under way."""
    unwanted: bool = False
    """The host has given the copy up before it was there."""
    rules: int = -1
    """The Landlock rules (descriptor) that the copy has yet to take up."""


class Server:
    """The loop; `run` returns only in a new child, with what it must know."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.layers: dict[str, str] = {}
        self.control = socket.socket(fileno=config["control"])
        self.control.setblocking(False)
        self.epoll = select.epoll()
        self.members: dict[int, Member] = {}
        self.handlers: dict[int, Any] = {}
        self.families: dict[int, Family] = {}
        self.births: dict[socket.socket, Birth] = {}
        self.self_fd = os.pidfd_open(os.getpid())
        self.uids = random.SystemRandom().randrange(1 << 30, 3 << 30)
        self.nursery, self.nursery_child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.child: dict[str, Any] | None = None
        self.stale: set[int] = set()
        self.running = True
        self.jail = Confinement(config)
        wake, wake_child = socket.socketpair()
        for end in (wake, wake_child):
            end.setblocking(False)
        self.wake, self.wake_child = wake, wake_child
        signal.set_wakeup_fd(wake_child.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing)
        self._watch(self.control.fileno(), self._control)
        self._watch(wake.fileno(), self._reap)
        self.nursery.setblocking(False)
        self._watch(self.nursery.fileno(), self._gates)

    def warm(self) -> None:
        """Import and exercise what sessions will use, then read how large this process is."""
        for name in self.config["preload"]:
            importlib.import_module(name)
            exec(WARM.get(name, ""), {})  # noqa: S102 - our own text
        size = os.pread(self.config["statm"], 200, 0).split()[0]
        self.jail.size = int(size) * os.sysconf("SC_PAGESIZE")
        os.close(self.config["statm"])
        for path in self.config["search"]:
            sys.path.remove(path)
        random.seed(0)
        gc.collect()
        gc.freeze()
        with contextlib.suppress(OSError):
            jail.collapse_heap(self.config["proc"])

    def run(self) -> dict[str, Any]:
        """Serve until the control socket ends (then the process does); in a child return its orders."""
        while self.running:
            events = self.epoll.poll(self._patience())
            self.stale.clear()
            for fd, mask in events:
                handler = self.handlers.get(fd) if fd not in self.stale else None
                if handler is not None:
                    handler(mask)
                if self.child is not None:
                    return self.child
            self._end_late_births()
        os._exit(0)

    def _watch(self, fd: int, handler: Any) -> None:
        self.handlers[fd] = handler
        self.epoll.register(fd, select.EPOLLIN)

    def _forget(self, fd: int) -> None:
        if self.handlers.pop(fd, None) is not None:
            self.epoll.unregister(fd)
            self.stale.add(fd)  # what `run` still holds about it may be meant for another that had this number

    # --- the host's wishes ---------------------------------------------------------------------------------------
    def _control(self, _: int = 0) -> None:
        while self.child is None:
            fds = array.array("i")
            try:
                data, ancillary, _, _ = self.control.recvmsg(1 << 16, socket.CMSG_SPACE(8), socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                data, ancillary = b"", []
            if not data:
                self.running = False
                return
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(content)
            message = json.loads(data)
            self._births_drain()
            if message["t"] == "open":
                self._open(message, socket.socket(fileno=fds[0]))
            elif message["t"] == "fork":
                self._fork(message, [socket.socket(fileno=fd) for fd in fds])
            elif (member := self.members.get(message["sid"])) is not None:
                number = signal.SIGINT if message["t"] == "interrupt" else signal.SIGKILL
                if member.pidfd >= 0:
                    with contextlib.suppress(OSError):
                        jail.send_signal(member.pidfd, number)
            elif message["t"] == "kill":
                self._give_up(message["sid"])

    def _open(self, message: dict[str, Any], channel: socket.socket) -> None:
        spaces = self.config["namespaces"]
        uid = -1
        if self.jail.separate_users:
            self.uids = self.uids + 1 if self.uids < (1 << 32) - 10 else 1 << 30
            uid = self.uids
        try:
            if spaces:
                jail.unshare(jail.NEWPID)
            pid = os.fork()
            if pid and spaces:
                jail.setns(self.self_fd, jail.NEWPID)
        except OSError as error:
            with contextlib.suppress(OSError):
                channel.send(guest.frame({"t": "failed", "text": f"cannot fork: {error}"}), socket.MSG_DONTWAIT)
            channel.close()
            return
        if pid == 0:
            self._born(message, channel, uid)
            return
        secret = bytes.fromhex(message["secret"])
        root = self.jail.root(message["sid"])
        family = Family(pid, os.pidfd_open(pid), uid, message["limits"]["disk"], root)
        member = Member(message["sid"], family, channel, secret, pid, family.pidfd, root + "/copies")
        family.members.add(member)
        self.families[pid] = family
        self.members[member.sid] = member

    def _gates(self, _: int = 0) -> None:
        """Take the fork gates new children have sent."""
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.nursery, 16, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            owner = next((m.family for m in self.members.values() if data == str(m.sid).encode()), None)
            if owner is None:
                os.close(fds[0])
                continue
            owner.gate = fds[0]
            self._watch(owner.gate, functools.partial(self._knock, owner))

    def _knock(self, family: Family, mask: int) -> None:
        """A process of `family` wants to fork: let it, if the host asked for that."""
        if not mask & select.EPOLLIN:
            self._forget(family.gate)  # the last process behind the gate is gone
            return
        request = bytearray(80)
        try:
            fcntl.ioctl(family.gate, _RECEIVE_NOTICE, request)
        except OSError:
            return
        self._control()
        if self.child is not None:
            return
        number, pid, _, call = struct.unpack_from("=QIIi", request)
        refusal = self._confine(family, number, pid) if call == seccomp.RESTRICT else self._admit(family, pid)
        answer = bytearray(struct.pack("=QqiI", number, 0, -refusal, 0 if refusal else _CONTINUE))
        with contextlib.suppress(OSError):
            fcntl.ioctl(family.gate, _SEND_NOTICE, answer)
        for line in [line for line, birth in self.births.items() if birth.parent.family is family]:
            self._end_if_done(line)

    def _admit(self, family: Family, pid: int) -> int:
        """Whether a process may fork now: 0, or the error it gets."""
        under_way = (b for b in self.births.values() if b.parent.family is family and b.parent.pid == pid and b.tickets)
        birth = next(under_way, None)
        if birth is None:
            return 1
        with contextlib.suppress(OSError):
            if self._shares_memory(self._outer_pid(birth.parent.pidfd)):
                return _BUSY
        birth.tickets -= 1
        birth.missing += 1
        return 0

    def _confine(self, family: Family, number: int, pid: int) -> int:
        """Give a copy that waits for them its rules, if it holds nothing of its parent: 0, or the error it gets."""
        mine = (b for b in self.births.values() if b.parent.family is family and b.child.pid == pid and b.rules >= 0)
        birth = next(mine, None)
        if birth is None or not self._is_alone(birth.child):
            return 1
        wanted = struct.pack("=QIIII", number, _SET_FD, birth.rules, guest.RULES, _CLOSE_ON_EXEC)
        try:
            fcntl.ioctl(family.gate, _ADD_FD, bytearray(wanted))
            self._present(birth)
        except OSError:
            return 1
        os.close(birth.rules)
        birth.rules = -1
        return 0

    def _present(self, birth: Birth) -> None:
        """Tell the host that the copy lives, before the copy can say so itself."""
        birth.child.channel.send(birth.child.secret + struct.pack("!ii", _BORN, 0), socket.MSG_DONTWAIT)

    def _shares_memory(self, outer: str) -> bool:
        """Whether a process could share memory with its copy: threads, or writable shared mappings."""
        mapped = (line.split(maxsplit=2)[1] for line in self._read(f"{outer}/maps").splitlines())
        return len(self._names(f"{outer}/task")) > 1 or any(rights[1:2] + rights[3:4] == "ws" for rights in mapped)

    def _is_alone(self, member: Member) -> bool:
        """Whether a copy has one thread, is in its own directory, and holds no descriptor that its parent has, too.

        Where the kernel does not let the server look, which is without namespaces and privileges only, it is believed.
        """
        try:
            outer = self._outer_pid(member.pidfd)
            if len(self._names(f"{outer}/task")) > 1 or not self._is_own(member, f"{outer}/cwd"):
                return False
            channel = os.fstat(member.channel.fileno()).st_ino
            for name in self._names(f"{outer}/fd"):
                found = os.stat(f"{outer}/fd/{name}", dir_fd=self.config["proc"])
                own = stat.S_ISREG(found.st_mode) and self._is_own(member, f"{outer}/fd/{name}")
                if not (
                    own or stat.S_ISCHR(found.st_mode) or (stat.S_ISSOCK(found.st_mode) and found.st_ino == channel)
                ):
                    return False
        except PermissionError:
            return not self.config["namespaces"]
        except OSError:
            return False
        return True

    def _is_own(self, member: Member, link: str) -> bool:
        """Whether a link of /proc leads into the directory of `member`."""
        if member.device >= 0:
            return os.stat(link, dir_fd=self.config["proc"]).st_dev == member.device
        return os.readlink(link, dir_fd=self.config["proc"]).startswith(member.base + "/")

    def _names(self, path: str) -> list[str]:
        fd = os.open(path, os.O_RDONLY, dir_fd=self.config["proc"])
        try:
            return os.listdir(fd)  # noqa: PTH208
        finally:
            os.close(fd)

    # --- forks ---------------------------------------------------------------------------------------------------
    def _fork(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        channel, line = sockets
        parent = self.members.get(message["sid"])
        if parent is None:
            _hang_up(channel)
            line.close()
            return
        child = Member(message["new"], parent.family, channel, bytes.fromhex(message["secret"]))
        self.births[line] = Birth(parent, child, 1 if parent.family.frozen else 2, time.monotonic() + _BIRTH_S)
        line.setblocking(False)
        self._watch(line.fileno(), functools.partial(self._midwife, line))

    def _births_drain(self) -> None:
        for line in list(self.births):
            self._midwife(line)

    def _midwife(self, line: socket.socket, _: int = 0) -> None:
        """Read who was born on `line`; the kernel says with what process id."""
        birth = self.births.get(line)
        while birth is not None and line in self.births:
            try:
                data, ancillary, _, _ = line.recvmsg(8, socket.CMSG_SPACE(12))
            except BlockingIOError:
                return
            except OSError:
                data, ancillary = b"", []
            if not data:
                self._end_birth(line)
                return
            pid = next((struct.unpack("=iII", c)[0] for _, kind, c in ancillary if kind == 2), 0)
            with contextlib.suppress(OSError):
                self._announce(line, birth, data, pid)
            self._end_if_done(line)

    def _end_if_done(self, line: socket.socket) -> None:
        birth = self.births.get(line)
        if birth is not None and not birth.tickets and not birth.missing and birth.rules < 0:
            self._end_birth(line)

    def _announce(self, line: socket.socket, birth: Birth, data: bytes, pid: int) -> None:
        family = birth.parent.family
        taken = {m.pid for m in family.members} | ({family.pid} if family.frozen else set())
        if data == b"copy" and birth.child.pid < 0 and pid not in taken:
            self._settle(birth.child, pid)
            birth.missing -= 1
            if birth.unwanted:
                jail.send_signal(birth.child.pidfd, signal.SIGKILL)
                return
            try:
                birth.rules = self._new_box(birth)
            except OSError as error:
                line.send(f"!{error}".encode())
                return
            if birth.rules < 0:
                self._present(birth)
            line.send(f"{'-' if birth.rules < 0 else '+'}{birth.child.box}".encode())
        elif data == b"parent" and not family.frozen and pid not in taken:
            family.frozen = True
            self._settle(birth.parent, pid)
            birth.missing -= 1

    def _end_birth(self, line: socket.socket) -> None:
        """Nothing more is to come on `line`. A process that was started and is unknown costs the family its life."""
        birth = self.births.pop(line)
        self._forget(line.fileno())
        line.close()
        if birth.rules >= 0:  # it never took up its rules, so the host never heard of it
            os.close(birth.rules)
            birth.rules = -1
            with contextlib.suppress(OSError):
                jail.send_signal(birth.child.pidfd, signal.SIGKILL)
        if birth.child.pid < 0:
            _hang_up(birth.child.channel)
        family = birth.parent.family
        suspect = birth.missing > 0 or birth.suspect
        others = [other for other in self.births.values() if other.parent.family is family]
        if suspect and others and birth.parent in family.members:
            others[0].suspect = True  # whom it brings is not known yet; it will look again
        elif suspect and self._strangers(birth.parent):
            self._kill(family)
        elif family.frozen and family.pid in self.families:
            with contextlib.suppress(OSError):
                jail.send_signal(family.pidfd, signal.SIGSTOP)
        self._end_if_empty(family)

    def _end_late_births(self) -> None:
        now = time.monotonic()
        for line, birth in list(self.births.items()):
            if now >= birth.until and line in self.births:
                self._midwife(line)
                if line in self.births:
                    self._kill(birth.parent.family)
                    self._end_birth(line)

    def _patience(self) -> float | None:
        if not self.births:
            return None
        return max(0.0, min(birth.until for birth in self.births.values()) - time.monotonic())

    def _give_up(self, sid: int) -> None:
        """The host no longer wants a copy that is not there yet."""
        for line, birth in list(self.births.items()):
            if birth.child.sid == sid:
                birth.unwanted = True
                if not birth.missing:
                    self._end_birth(line)

    def _strangers(self, parent: Member) -> bool:
        """Whether a fork from `parent` left an unknown process; False where the kernel refused it."""
        family, found = parent.family, set[str]()
        try:
            for pidfd in {parent.pidfd, family.pidfd}:
                tasks = f"{self._outer_pid(pidfd)}/task"
                for name in self._names(tasks):
                    found.update(self._read(f"{tasks}/{name}/children").split())
        except (OSError, IndexError):
            return True
        for member in family.members:
            with contextlib.suppress(OSError):  # it has ended and is not buried yet
                found.discard(self._outer_pid(member.pidfd))
        return any(self._lives(pid) for pid in found)

    def _lives(self, outer_pid: str) -> bool:
        try:
            return self._read(f"{outer_pid}/stat").rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False
        except OSError:
            return True

    def _read(self, path: str) -> str:
        fd = os.open(path, os.O_RDONLY, dir_fd=self.config["proc"])
        with open(fd, encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return file.read()

    def _outer_pid(self, pidfd: int) -> str:
        """The process id that /proc, which was mounted outside, has for a process. Raises `OSError`."""
        pid = self._read(f"self/fdinfo/{pidfd}").split("Pid:\t")[1].split()[0]
        if pid.startswith("-"):
            raise ProcessLookupError
        return pid

    def _settle(self, member: Member, pid: int) -> None:
        member.pid, member.pidfd = pid, os.pidfd_open(pid)
        member.family.members.add(member)
        self.members[member.sid] = member
        self._watch(member.pidfd, functools.partial(self._copy_died, member))

    def _new_box(self, birth: Birth) -> int:
        """Make a working directory for a copy beneath its parent's part of the tree, where Landlock lets it be.

        Its name cannot be guessed, so that its ancestors, who may reach there, do not find it. Returns the Landlock
        rules for the copy (descriptor, -1: none).
        """
        family, child = birth.parent.family, birth.child
        family.copies += 1
        child.base = f"{birth.parent.base}/{os.urandom(16).hex()}"
        child.box = child.base + "/work"
        child.layers = birth.parent.layers + 1
        if not self.config["namespaces"]:
            self.jail.make_box(child.base, family.uid)
            return self.jail.copy_rules(child.base) if child.layers <= _LAYERS else -1
        owner = f"uid={max(family.uid, 0)},gid={max(family.uid, 0)}"
        jail.setns(family.pidfd, jail.NEWNS)
        try:
            flags = jail.NOSUID | jail.NODEV | jail.NOEXEC
            if family.copies == 1:
                jail.mount("tmpfs", "/box/copies", "tmpfs", flags, "size=1m,nr_inodes=4096,mode=0711")
            os.mkdir(child.base, 0o711)  # noqa: PTH102
            os.mkdir(child.box, 0o711)  # noqa: PTH102
            size = f"size={family.disk},nr_inodes=2048,mode=0700,{owner}"
            jail.mount("tmpfs", child.box, "tmpfs", flags, size)
            child.device = os.stat(child.box).st_dev  # noqa: PTH116
            return self.jail.copy_rules(child.base) if child.layers <= _LAYERS else -1
        finally:
            jail.setns(self.self_fd, jail.NEWNS)

    # --- ends ----------------------------------------------------------------------------------------------------
    def _reap(self, _: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self.wake.recv(4096)
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if ended.si_pid in self.families:
                self._kill(self.families[ended.si_pid])
            pid, status, usage = os.wait4(ended.si_pid, 0)
            family = self.families.pop(pid, None)
            if family is None:
                continue
            self._births_drain()
            cpu = int((usage.ru_utime + usage.ru_stime) * 1000)
            for member in list(family.members):
                self._bury(member, status, cpu)
            if family.gate >= 0:
                self._forget(family.gate)
                os.close(family.gate)
            os.close(family.pidfd)
            if not self.config["namespaces"]:
                shutil.rmtree(family.root, ignore_errors=True)

    def _copy_died(self, member: Member, _: int) -> None:
        info = bytearray(struct.pack("=Q", _INFO_EXIT) + bytes(56))
        status = -1
        with contextlib.suppress(OSError):
            fcntl.ioctl(member.pidfd, _GET_INFO, info)
            if struct.unpack_from("=Q", info)[0] & _INFO_EXIT:
                status = struct.unpack_from("=i", info, 60)[0]
        self._bury(member, status, 0)

    def _bury(self, member: Member, status: int, cpu_ms: int) -> None:
        """Tell the host of an end, as the last bytes of the session's channel."""
        family = member.family
        family.members.discard(member)
        self.members.pop(member.sid, None)
        with contextlib.suppress(OSError):
            note = member.secret + struct.pack("!ii", status, cpu_ms)
            member.channel.send(note, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        _hang_up(member.channel)
        for line in [line for line, birth in self.births.items() if birth.parent is member]:
            self._end_birth(line)
        if member.pidfd not in (-1, family.pidfd):
            self._forget(member.pidfd)
            os.close(member.pidfd)
        if family.pid in self.families:
            if member.box and self.config["namespaces"]:
                with contextlib.suppress(OSError):
                    self._unmount(family, member.box)
            self._end_if_empty(family)

    def _end_if_empty(self, family: Family) -> None:
        """Kill the frozen first process once no session needs it."""
        if not family.members:
            self._kill(family)

    def _kill(self, family: Family) -> None:
        """End all processes of a family; its first may be dead but not yet reaped."""
        if family.pid in self.families:
            with contextlib.suppress(OSError):
                jail.send_signal(family.pidfd, signal.SIGKILL)
            if not self.config["namespaces"]:  # with them the first process takes the others along
                with contextlib.suppress(OSError):
                    os.killpg(family.pid, signal.SIGKILL)

    def _unmount(self, family: Family, box: str) -> None:
        jail.setns(family.pidfd, jail.NEWNS)
        try:
            jail.umount(box)
        finally:
            jail.setns(self.self_fd, jail.NEWNS)

    # --- the child -----------------------------------------------------------------------------------------------
    def _born(self, message: dict[str, Any], channel: socket.socket, uid: int) -> None:
        """Confine this new process; whatever fails is told to the host and ends it."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            inherited = [self.control, self.nursery, self.wake, self.wake_child, *self.births]
            inherited += [birth.child.channel for birth in self.births.values()]
            for end in [*inherited, *(member.channel for member in self.members.values())]:
                end.detach()  # closed below by number; never again when the object dies
            self.epoll.close()
            self.jail.enter(message["sid"], message["limits"], channel.detach(), uid, self.nursery_child.fileno())
            self.nursery_child.detach()
            limits = message["limits"] | {"readable": self.jail.readable}
            limits["work"] = self.jail.root(message["sid"]) + "/work"
            self.child = {"seed": message["seed"], "limits": limits}
            for table in (self.members, self.families, self.births, self.handlers, self.config):
                table.clear()
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.write(guest.CHANNEL, guest.frame({"t": "failed", "text": f"cannot confine: {error!r}"}))
                channel.send(guest.frame({"t": "failed", "text": f"cannot confine: {error!r}"}))
            os._exit(70)


def _hang_up(channel: socket.socket) -> None:
    """End a session's channel for whoever else holds it, too."""
    with contextlib.suppress(OSError):
        channel.shutdown(socket.SHUT_RDWR)
    channel.close()


def _nothing(number: int, frame: types.FrameType | None) -> None:
    """Let a signal wake the loop."""


def _high(fd: int) -> int:
    """Move a descriptor out of the way of those a session has."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16)
    os.close(fd)
    return moved


def main(config: dict[str, Any], memory_fd: int) -> None:
    """Run as the server; returns in a child once its session ends. Ends the process."""
    os.close(memory_fd)
    for name in ("proc", "statm", "control"):
        config[name] = _high(config[name])
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(16):
        if fd != null:
            os.dup2(null, fd)
    jail.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an early interrupt waits in the channel for the child
    jail.drop_bounding_set()
    os.umask(0o022)
    sys.path += config["search"]
    server = Server(config)
    hello = {
        "t": "hello",
        "landlock": server.jail.abi,
        "seccomp": server.jail.no_filter,
        "namespaces": config["namespaces"],
    }
    hello["fixed_addresses"] = bool(jail.personality(0xFFFFFFFF) & jail.NO_RANDOM_ADDRESSES)
    server.control.send(json.dumps(hello).encode())
    server.warm()
    for name in [n for n in sys.modules if n == "tir_gym" or n.startswith("tir_gym.")]:
        del sys.modules[name]
    orders = server.run()
    del server, config
    guest.run(orders)
    os._exit(0)
