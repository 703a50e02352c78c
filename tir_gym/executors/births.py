"""Live copies of sessions: which process may fork, who was born, and that a copy is apart before the host hears of it.

Nothing that a session says is believed: process ids come from the kernel with the message, what a copy holds from
`procfs`, and its Landlock rules are put in from here. Runs in the fork server with the standard library only.
"""

import contextlib
import functools
import os
import signal
import socket
import stat
import struct
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from tir_gym.executors import guest, jail
from tir_gym.executors.confine import Confinement
from tir_gym.executors.procfs import Processes

_ADD_FD, _SET_FD, _CLOSE_ON_EXEC = 0x40182103, 1, 0x80000
_BUSY = 16
_LAYERS = 16
"""Landlock layers that a process may have; a session begins with one, each copy adds one."""
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


class Household(Protocol):
    """What births need of the server: the tables of sessions, and its loop."""

    members: dict[int, Member]
    families: dict[int, Family]

    def watch(self, fd: int, handler: Any) -> None:
        """Have `handler(mask)` called when `fd` is readable."""

    def forget(self, fd: int) -> None:
        """Watch `fd` no longer."""

    def kill(self, family: Family) -> None:
        """End all processes of a family."""

    def end_if_empty(self, family: Family) -> None:
        """End a family without members."""

    def copy_died(self, member: Member, mask: int) -> None:
        """A copy has ended."""


class Births:
    """The forks under way, by the line on which the new processes announce themselves."""

    def __init__(self, server: "Household", confinement: Confinement) -> None:
        self._server = server
        self._jail = confinement
        self._namespaces: bool = confinement.config["namespaces"]
        self._processes = Processes(confinement.config["proc"])
        self.lines: dict[socket.socket, Birth] = {}

    def admit(self, family: Family, pid: int) -> int:
        """Whether a process may fork now: 0, or the error it gets."""
        under_way = (b for b in self.lines.values() if b.parent.family is family and b.parent.pid == pid and b.tickets)
        birth = next(under_way, None)
        if birth is None:
            return 1
        if not self._may_be_copied(birth.parent):
            return _BUSY
        birth.tickets -= 1
        birth.missing += 1
        return 0

    def confine(self, family: Family, number: int, pid: int) -> int:
        """Give a copy that waits for them its rules, if it holds nothing of its parent: 0, or the error it gets."""
        mine = (b for b in self.lines.values() if b.parent.family is family and b.child.pid == pid and b.rules >= 0)
        birth = next(mine, None)
        if birth is None or not self._is_alone(birth.child):
            return 1
        wanted = struct.pack("=QIIII", number, _SET_FD, birth.rules, guest.RULES, _CLOSE_ON_EXEC)
        try:
            jail.control(family.gate, _ADD_FD, bytearray(wanted))
            self._present(birth)
        except OSError:
            return 1
        os.close(birth.rules)
        birth.rules = -1
        return 0

    def _present(self, birth: Birth) -> None:
        """Tell the host that the copy lives, before the copy can say so itself."""
        birth.child.channel.send(birth.child.secret + struct.pack("!ii", _BORN, 0), socket.MSG_DONTWAIT)

    def _is_alone(self, member: Member) -> bool:
        """Whether a copy has one thread, is in its own directory, and holds no descriptor that its parent has, too.

        Where the kernel does not let the server look, which is without namespaces and privileges only, it is believed.
        """
        look = self._processes
        try:
            pid = look.outer(member.pidfd)
            if look.has_threads(pid) or not self._is_own(member, f"{pid}/cwd"):
                return False
            channel = os.fstat(member.channel.fileno()).st_ino
            for name in look.names(f"{pid}/fd"):
                found = look.stat(f"{pid}/fd/{name}")
                own = stat.S_ISREG(found.st_mode) and self._is_own(member, f"{pid}/fd/{name}")
                ours = stat.S_ISSOCK(found.st_mode) and found.st_ino == channel
                if not (own or ours or stat.S_ISCHR(found.st_mode)):
                    return False
        except PermissionError:
            return not self._namespaces
        except OSError:
            return False
        return True

    def _is_own(self, member: Member, link: str) -> bool:
        """Whether a link of /proc leads into the directory of `member`."""
        if member.device >= 0:
            return self._processes.stat(link).st_dev == member.device
        return self._processes.leads(link).startswith(member.base + "/")

    def _may_be_copied(self, member: Member) -> bool:
        """Whether a session has one thread and no memory that its copy would share; where none may look, yes."""
        try:
            pid = self._processes.outer(member.pidfd)
            return not (self._processes.has_threads(pid) or self._processes.shares_memory(pid))
        except PermissionError:
            return not self._namespaces
        except OSError:
            return False

    # --- forks ---------------------------------------------------------------------------------------------------
    def begin(self, message: dict[str, Any], sockets: list[socket.socket]) -> None:
        """The host asks for a copy of a session: its channel, and the line on which it will announce itself."""
        channel, line = sockets
        parent = self._server.members.get(message["sid"])
        if parent is None:
            hang_up(channel)
            line.close()
            return
        child = Member(message["new"], parent.family, channel, bytes.fromhex(message["secret"]))
        self.lines[line] = Birth(parent, child, 1 if parent.family.frozen else 2, time.monotonic() + _BIRTH_S)
        line.setblocking(False)
        self._server.watch(line.fileno(), functools.partial(self._midwife, line))

    def drain(self) -> None:
        """Read all that has been announced."""
        for line in list(self.lines):
            self._midwife(line)

    def _midwife(self, line: socket.socket, _: int = 0) -> None:
        """Read who was born on `line`; the kernel says with what process id."""
        birth = self.lines.get(line)
        while birth is not None and line in self.lines:
            try:
                data, ancillary, _, _ = line.recvmsg(8, socket.CMSG_SPACE(12))
            except BlockingIOError:
                return
            except OSError:
                data, ancillary = b"", []
            if not data:
                if birth.rules >= 0:  # all is announced; the copy is on its way to take up its rules
                    self._server.forget(line.fileno())
                else:
                    self._end_birth(line)
                return
            pid = next((struct.unpack("=iII", c)[0] for _, kind, c in ancillary if kind == 2), 0)
            with contextlib.suppress(OSError):
                self._announce(line, birth, data, pid)
            self._end_if_done(line)

    def _end_if_done(self, line: socket.socket) -> None:
        birth = self.lines.get(line)
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
        birth = self.lines.pop(line)
        self._server.forget(line.fileno())
        line.close()
        if birth.rules >= 0:  # it never took up its rules, so the host never heard of it
            os.close(birth.rules)
            birth.rules = -1
            with contextlib.suppress(OSError):
                jail.send_signal(birth.child.pidfd, signal.SIGKILL)
        if birth.child.pid < 0:
            hang_up(birth.child.channel)
        family = birth.parent.family
        suspect = birth.missing > 0 or birth.suspect
        others = [other for other in self.lines.values() if other.parent.family is family]
        if suspect and others and birth.parent in family.members:
            others[0].suspect = True  # whom it brings is not known yet; it will look again
        elif suspect and self._strangers(birth.parent):
            self._server.kill(family)
        elif family.frozen and family.pid in self._server.families:
            with contextlib.suppress(OSError):
                jail.send_signal(family.pidfd, signal.SIGSTOP)
        self._server.end_if_empty(family)

    def end_late(self) -> None:
        """Kill the families whose forks take too long."""
        now = time.monotonic()
        for line, birth in list(self.lines.items()):
            if now >= birth.until and line in self.lines:
                self._midwife(line)
                if line in self.lines:
                    self._server.kill(birth.parent.family)
                    self._end_birth(line)

    def patience(self) -> float | None:
        """Seconds until `end_late` must be called; None: no need."""
        if not self.lines:
            return None
        return max(0.0, min(birth.until for birth in self.lines.values()) - time.monotonic())

    def end_of(self, member: Member) -> None:
        """Forks from a session that has ended, or that brought one, are over."""
        for line in [line for line, birth in self.lines.items() if member in (birth.parent, birth.child)]:
            self._end_birth(line)

    def settle(self, family: Family) -> None:
        """After an answer from the gate of `family`: end what is complete."""
        for line in [line for line, birth in self.lines.items() if birth.parent.family is family]:
            self._end_if_done(line)

    def give_up(self, sid: int) -> None:
        """The host no longer wants a copy that is not there yet."""
        for line, birth in list(self.lines.items()):
            if birth.child.sid == sid:
                birth.unwanted = True
                if not birth.missing:
                    self._end_birth(line)

    def _strangers(self, parent: Member) -> bool:
        """Whether a fork from `parent` left an unknown process; False where the kernel refused it."""
        family, look, found = parent.family, self._processes, set[str]()
        try:
            for pidfd in {parent.pidfd, family.pidfd}:
                found |= look.children(look.outer(pidfd))
        except (OSError, IndexError):
            return True
        for member in family.members:
            with contextlib.suppress(OSError):  # it has ended and is not buried yet
                found.discard(look.outer(member.pidfd))
        return any(look.lives(pid) for pid in found)

    def _settle(self, member: Member, pid: int) -> None:
        member.pid, member.pidfd = pid, os.pidfd_open(pid)
        member.family.members.add(member)
        self._server.members[member.sid] = member
        self._server.watch(member.pidfd, functools.partial(self._server.copy_died, member))

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
        if not self._namespaces:
            self._jail.make_box(child.base, family.uid)
            return self._jail.copy_rules(child.base) if child.layers <= _LAYERS else -1
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
            return self._jail.copy_rules(child.base) if child.layers <= _LAYERS else -1
        finally:
            jail.setns(self._jail.mounts, jail.NEWNS)


def hang_up(channel: socket.socket) -> None:
    """End a session's channel for whoever else holds it, too."""
    with contextlib.suppress(OSError):
        channel.shutdown(socket.SHUT_RDWR)
    channel.close()
