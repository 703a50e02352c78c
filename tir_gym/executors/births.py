"""Live copies of sessions: which process may fork, who was born, and that a copy is apart before the host hears of it.

Nothing that a session says is believed: process ids come from the kernel with the message, what a copy holds from
`procfs`, and its Landlock rules are put in from here. Runs in the fork server with the standard library only.
"""

import contextlib
import errno
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
from tir_gym.executors.rooms import Family, Member, Rooms

_ADD_FD, _SET_FD, _CLOSE_ON_EXEC = 0x40182103, 1, 0x80000
_SEND_NOTICE, _IS_VALID, CONTINUE = 0xC0182101, 0x40082102, 1
_BORN = -2  # as `frames.BORN`
_BIRTH_S = 10.0
"""Seconds a fork may take before the whole family is killed."""


@dataclass(eq=False)
class Birth:
    """A fork that is under way: how many processes it may still start, and how many of those are yet to announce it."""

    line: socket.socket
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
    waiting: dict[int, int] = field(default_factory=dict)
    """The halves that wait at the gate for each other: process -> number of its call."""
    held: int = -1
    """The call in which the original holds still."""
    trouble: OSError | None = None
    """Why there is no place for the copy."""
    apart: bool = False
    """Both have met there, and been set apart."""


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
        self._namespaces = confinement.spaces
        self._processes = Processes(confinement.config["proc"])
        self.rooms = Rooms(confinement)
        self.lines: dict[socket.socket, Birth] = {}

    def admit(self, family: Family, pid: int) -> int:
        """Whether a process may fork now: 0, or the error it gets."""
        newest = reversed(self.lines.values())  # one that failed may not have ended yet
        under_way = (b for b in newest if b.parent.family is family and b.parent.pid == pid and b.tickets)
        birth = next(under_way, None)
        if birth is None:
            return 1
        if self._has_threads(birth.parent):
            return errno.EBUSY
        birth.tickets -= 1
        birth.missing += 1
        return 0

    def admit_thread(self, family: Family, pid: int) -> int:
        """Whether a process may have another thread: 0, or the error it gets. Asked where no limit counts them."""
        try:
            return 0 if self._processes.threads(str(pid)) < family.tasks else errno.EAGAIN
        except OSError:
            return errno.EAGAIN

    def meet(self, family: Family, number: int, pid: int) -> int:
        """A half of a fork waits at the gate for the other: 0, or the error it gets at once.

        The original holds still there from before its copy hears where its place is until the copy is confined in it.
        """
        self.drain()
        under_way = (b for b in reversed(self.lines.values()) if b.parent.family is family and not b.apart)
        birth = next((b for b in under_way if pid in (b.parent.pid, b.child.pid)), None)
        if birth is None:
            return errno.EPERM
        birth.waiting[pid] = number
        self._go_on(birth)
        return 0

    def _go_on(self, birth: Birth) -> None:
        """Once the original waits: house its copy, announced or not; once both do: set them apart."""
        parent, child, waiting = birth.parent, birth.child, birth.waiting
        if not parent.family.frozen or birth.tickets or parent.pid not in waiting:
            return
        try:
            if birth.held < 0:
                self._house(birth)
            elif child.pid in waiting and not birth.missing:
                self._set_apart(birth)
        except OSError as error:
            if child.pid in waiting:
                answer(child.family, waiting.pop(child.pid), 0, error.errno or errno.EPERM)
            else:
                with contextlib.suppress(OSError):  # nobody may be left to hear it
                    birth.line.send(f"!{error}".encode())

    def prepare(self, family: Family) -> None:
        """While the kernel is busy with a fork in `family`: make the place for the copy, whose name nobody knows."""
        for birth in self.lines.values():
            if birth.parent.family is family and birth.missing and not birth.child.box:
                try:
                    birth.rules = self.rooms.make(birth.parent, birth.child)
                except OSError as error:
                    birth.trouble = error

    def _house(self, birth: Birth) -> None:
        """Tell the copy where its place is while nothing of the original runs. Raises `OSError`."""
        if self._has_threads(birth.parent):
            raise OSError(errno.EBUSY, "the session has a hidden thread")
        birth.held = birth.waiting[birth.parent.pid]
        if birth.trouble is not None:
            raise birth.trouble
        birth.line.send(birth.child.box.encode())

    def _set_apart(self, birth: Birth) -> None:
        """Give the copy its rules, and each a place with a name that the other has not heard. Raises `OSError`."""
        parent, child = birth.parent, birth.child
        if not self._is_alone(child, parent):
            raise OSError(errno.EBUSY, "the copy holds something of its original")
        jail.control(parent.family.gate, _IS_VALID, bytearray(struct.pack("=Q", birth.held)))  # it has held still
        self.rooms.move(child)
        if birth.rules < 0 and parent.layers > 1:
            self.rooms.move(parent)
        number = birth.waiting[child.pid]
        if birth.rules >= 0:
            wanted = struct.pack("=QIIII", number, _SET_FD, birth.rules, guest.RULES, _CLOSE_ON_EXEC)
            jail.control(child.family.gate, _ADD_FD, bytearray(wanted))
        self._present(birth)
        answer(child.family, number, CONTINUE if birth.rules >= 0 else 0)
        answer(parent.family, birth.held, 0)
        birth.waiting.clear()
        birth.apart = True

    def _present(self, birth: Birth) -> None:
        """Tell the host that the copy lives, before the copy can say so itself."""
        birth.child.channel.send(birth.child.secret + struct.pack("!ii", _BORN, 0), socket.MSG_DONTWAIT)

    def _is_alone(self, member: Member, parent: Member) -> bool:
        """Whether a copy has one thread, is in its own directory, and holds no descriptor or memory of its parent's.

        Where the kernel does not let the server look, which may be without namespaces only, it is believed.
        """
        look = self._processes
        try:
            pid = look.outer(member.pidfd)
            if look.threads(pid) > 1 or not self._is_own(member, f"{pid}/cwd"):
                return False
            channel = os.fstat(member.channel.fileno()).st_ino
            for name in look.names(f"{pid}/fd"):
                found = look.stat(f"{pid}/fd/{name}")
                own = stat.S_ISREG(found.st_mode) and self._is_own(member, f"{pid}/fd/{name}")
                ours = stat.S_ISSOCK(found.st_mode) and found.st_ino == channel
                if not (own or ours or stat.S_ISCHR(found.st_mode)):
                    return False
            return not look.shares_memory(pid, self.rooms.mark(parent))
        except PermissionError:
            return not self._namespaces
        except OSError:
            return False

    def _is_own(self, member: Member, link: str) -> bool:
        """Whether a link of /proc leads into the directory of `member`."""
        if member.device >= 0:
            return self._processes.stat(link).st_dev == member.device
        return (self._processes.leads(link) + "/").startswith(member.box + "/")

    def _has_threads(self, member: Member) -> bool:
        """Whether a session has more than one thread; where none may look, no."""
        try:
            return self._processes.threads(self._processes.outer(member.pidfd)) > 1
        except PermissionError:
            return self._namespaces
        except OSError:
            return True

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
        self.lines[line] = Birth(line, parent, child, 1 if parent.family.frozen else 2, time.monotonic() + _BIRTH_S)
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
                if birth.child.pid >= 0 and not birth.apart:  # all is announced; they are yet to meet at the gate
                    self._server.forget(line.fileno())
                else:
                    self._end_birth(line)
                return
            pid = next((struct.unpack("=iII", c)[0] for _, kind, c in ancillary if kind == 2), 0)
            with contextlib.suppress(OSError):
                self._announce(birth, data, pid)
            self._end_if_done(line)

    def _end_if_done(self, line: socket.socket) -> None:
        birth = self.lines.get(line)
        if birth is not None and not birth.tickets and not birth.missing and birth.apart:
            self._end_birth(line)

    def _announce(self, birth: Birth, data: bytes, pid: int) -> None:
        family = birth.parent.family
        taken = {m.pid for m in family.members} | ({family.pid} if family.frozen else set())
        if data == b"copy" and birth.child.pid < 0 and pid not in taken:
            self._settle(birth.child, pid)
            birth.missing -= 1
            if birth.unwanted:
                jail.send_signal(birth.child.pidfd, signal.SIGKILL)
                return
        elif data == b"parent" and not family.frozen and pid not in taken:
            family.frozen = True
            self._settle(birth.parent, pid)
            birth.missing -= 1
        self._go_on(birth)

    def _end_birth(self, line: socket.socket) -> None:
        """Nothing more is to come on `line`. A process that was started and is unknown costs the family its life."""
        birth = self.lines.pop(line)
        self._server.forget(line.fileno())
        line.close()
        if birth.rules >= 0:
            os.close(birth.rules)
        if birth.child.pid >= 0 and not birth.apart:  # the host never heard of it
            with contextlib.suppress(OSError):
                jail.send_signal(birth.child.pidfd, signal.SIGKILL)
        for number in birth.waiting.values():
            answer(birth.parent.family, number, 0)
        if birth.child.pid < 0:
            hang_up(birth.child.channel)
            with contextlib.suppress(OSError):
                self.rooms.clear(birth.child)
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

    def due(self) -> float | None:
        """When `end_late` must be called (`time.monotonic()` seconds); None: no need."""
        return min((birth.until for birth in self.lines.values()), default=None)

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


def answer(family: Family, number: int, flags: int, error: int = 0) -> None:
    """Let a call at the gate of `family` end with `error`, or go on as `flags` say."""
    with contextlib.suppress(OSError):
        jail.control(family.gate, _SEND_NOTICE, bytearray(struct.pack("=QqiI", number, 0, -error, flags)))


def hang_up(channel: socket.socket) -> None:
    """End a session's channel for whoever else holds it, too."""
    with contextlib.suppress(OSError):
        channel.shutdown(socket.SHUT_RDWR)
    channel.close()
