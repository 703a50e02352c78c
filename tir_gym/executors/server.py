"""The fork server: a warm, single-threaded interpreter in its own namespaces that forks one confined child a session.

It learns limits and descriptors from the host, never seeds, code or output, so nothing of one session is in the memory
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
import resource
import select
import signal
import socket
import struct
import sys
import time
import types
from collections import deque
from typing import Any

from tir_gym.executors import guest, jail, seccomp
from tir_gym.executors.births import CONTINUE, Births, answer, hang_up
from tir_gym.executors.confine import WARM, Confinement, fill_holes
from tir_gym.executors.procfs import Processes
from tir_gym.executors.rooms import Family, Member
from tir_gym.executors.sweep import remove_tree

_RECEIVE_NOTICE = 0xC0502100
_GET_INFO, _INFO_EXIT = 0xC040FF0B, 8
_LATER_S = 0.002
"""Seconds that a session made ahead of demand waits for the one whose place it will take."""
_SOCKETS = {"open": 1, "fork": 2}
"""How many come with an order."""


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
        self.self_fd = os.pidfd_open(os.getpid())
        self.uids = random.SystemRandom().randrange(1 << 30, 3 << 30)
        self.nursery, self.nursery_child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.child: dict[str, Any] | None = None
        self.stale: set[int] = set()
        self.later: deque[tuple[float, dict[str, Any], socket.socket]] = deque()
        """Orders for sessions that nobody waits for, and when they are due."""
        self.running = True
        self.jail = Confinement(config)
        self.births = Births(self, self.jail)
        wake, wake_child = socket.socketpair()
        for end in (wake, wake_child):
            end.setblocking(False)
        self.wake, self.wake_child = wake, wake_child
        signal.set_wakeup_fd(wake_child.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing)
        self.watch(self.control.fileno(), self._control)
        self.watch(wake.fileno(), self._reap)
        self.nursery.setblocking(False)
        self.watch(self.nursery.fileno(), self._gates)

    def measure(self) -> None:
        """Read how large this process is."""
        size = os.pread(self.config["statm"], 200, 0).split()[0]
        self.jail.size = int(size) * os.sysconf("SC_PAGESIZE")

    def warm(self) -> None:
        """Import and exercise what sessions will use."""
        for name in self.config["preload"]:
            importlib.import_module(name)
            exec(WARM.get(name, ""), {})  # noqa: S102 - our own text
        if self.jail.programs:
            importlib.import_module("subprocess")
        self.measure()
        os.close(self.config["statm"])
        random.seed(0)
        gc.collect()
        self.filling = fill_holes()
        gc.freeze()
        with contextlib.suppress(OSError):
            jail.join_libraries(self.config["proc"])
            jail.collapse_heap(self.config["proc"])
        status = Processes(self.config["proc"]).read("self/status")
        warm = {"t": "warm", "memory": int(status.split("RssAnon:")[1].split()[0]) << 10}
        self.control.send(json.dumps(warm).encode())

    def run(self) -> dict[str, Any]:
        """Serve until the control socket ends (then the process does); in a child return its limits."""
        while self.running:
            events = self.epoll.poll(self._patience())
            self.stale.clear()
            for fd, mask in events:
                handler = self.handlers.get(fd) if fd not in self.stale else None
                if handler is not None:
                    handler(mask)
                if self.child is not None:
                    return self.child
            self.births.end_late()
            if self.later and time.monotonic() >= self.later[0][0]:
                self._open(*self.later.popleft()[1:])
                if self.child is not None:
                    return self.child
        os._exit(0)

    def _patience(self) -> float | None:
        """Seconds until there is something to do though nothing comes; None: never."""
        due = [self.later[0][0]] if self.later else []
        if (late := self.births.due()) is not None:
            due.append(late)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def watch(self, fd: int, handler: Any) -> None:
        """Have `handler(mask)` called when `fd` is readable."""
        self.handlers[fd] = handler
        self.epoll.register(fd, select.EPOLLIN)

    def forget(self, fd: int) -> None:
        """Watch `fd` no longer."""
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
            self.births.drain()
            if message["t"] == "tried":
                self.running = False
                return
            if message["t"] in ("open", "fork"):
                sockets = [socket.socket(fileno=fd) for fd in fds]
                if len(sockets) < _SOCKETS[message["t"]]:  # no room for more; the host sees the ends of those lost
                    for end in sockets:
                        end.close()
                elif message.get("later"):
                    self.later.append((time.monotonic() + _LATER_S, message, sockets[0]))
                elif message["t"] == "open":
                    self._open(message, sockets[0])
                else:
                    self.births.begin(message, sockets)
            elif (member := self.members.get(message["sid"])) is not None:
                number = signal.SIGINT if message["t"] == "interrupt" else signal.SIGKILL
                if member.pidfd >= 0:
                    with contextlib.suppress(OSError):
                        jail.send_signal(member.pidfd, number)
            elif message["t"] == "kill":
                self.births.give_up(message["sid"])

    def _open(self, message: dict[str, Any], channel: socket.socket) -> None:
        spaces = self.config["namespaces"]
        uid = -1
        if self.jail.separate_users:
            self.uids = self.uids + 1 if self.uids < (1 << 32) - 10 else 1 << 30
            uid = self.uids
        pid = -1
        try:
            room = os.dup(self.self_fd)  # for the descriptor of the child
            try:
                if spaces:
                    jail.unshare(jail.NEWPID)
                pid = os.fork()
            finally:
                os.close(room)
                if pid and spaces:  # even if the fork failed, or no later session could have a namespace of its own
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
        tasks = message["limits"]["processes"] + jail.COPIES
        family = Family(pid, os.pidfd_open(pid), uid, message["limits"]["disk"], tasks, root)
        member = Member(message["sid"], family, channel, secret, root + "/copies", root + "/work", pid, family.pidfd)
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
            if owner is None or not fds:
                for fd in fds:
                    os.close(fd)
                continue
            owner.gate = fds[0]
            self.watch(owner.gate, functools.partial(self._knock, owner))

    def _knock(self, family: Family, mask: int) -> None:
        """A process of `family` wants to fork: let it, if the host asked for that."""
        if not mask & select.EPOLLIN:
            self.forget(family.gate)  # the last process behind the gate is gone
            return
        request = bytearray(80)
        try:
            jail.control(family.gate, _RECEIVE_NOTICE, request)
        except OSError:
            return
        self._control()
        if self.child is not None:
            return
        births = self.births
        number, pid, _, call = struct.unpack_from("=QIIi", request)
        if call == seccomp.RESTRICT:
            refusal = births.meet(family, number, pid)
        elif struct.unpack_from("=Q", request, 32)[0] & seccomp.CLONE_THREAD:
            refusal = births.admit_thread(family, pid)
        else:
            refusal = births.admit(family, pid)
        if refusal or call != seccomp.RESTRICT:  # else it is answered when both halves have come
            answer(family, number, 0 if refusal else CONTINUE, refusal)
        births.settle(family)
        births.prepare(family)

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
                self.kill(self.families[ended.si_pid])
            pid, status, usage = os.wait4(ended.si_pid, 0)
            family = self.families.pop(pid, None)
            if family is None:
                continue
            self.births.drain()
            cpu = int((usage.ru_utime + usage.ru_stime) * 1000)
            for member in list(family.members):
                self._bury(member, status, cpu)
            if family.gate >= 0:
                self.forget(family.gate)
            for fd in {family.gate, family.tree, family.pidfd} - {-1}:
                os.close(fd)
            if not self.config["namespaces"]:
                remove_tree(family.root)

    def copy_died(self, member: Member, mask: int) -> None:
        """A copy has ended: tell the host how."""
        info = bytearray(struct.pack("=Q", _INFO_EXIT) + bytes(56))
        status = -1
        with contextlib.suppress(OSError):
            jail.control(member.pidfd, _GET_INFO, info)
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
        hang_up(member.channel)
        self.births.end_of(member)
        if member.pidfd not in (-1, family.pidfd):
            self.forget(member.pidfd)
            os.close(member.pidfd)
        if family.pid in self.families:
            with contextlib.suppress(OSError):
                self.births.rooms.clear(member)
            self.end_if_empty(family)

    def end_if_empty(self, family: Family) -> None:
        """Kill the frozen first process once no session needs it."""
        if not family.members:
            self.kill(family)

    def kill(self, family: Family) -> None:
        """End all processes of a family; its first may be dead but not yet reaped."""
        if family.pid in self.families:
            with contextlib.suppress(OSError):
                jail.send_signal(family.pidfd, signal.SIGKILL)
            if not self.config["namespaces"]:  # with them the first process takes the others along
                with contextlib.suppress(OSError):
                    os.killpg(family.pid, signal.SIGKILL)

    # --- the child -----------------------------------------------------------------------------------------------
    def _born(self, message: dict[str, Any], channel: socket.socket, uid: int) -> None:
        """Confine this new process; whatever fails is told to the host and ends it."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL if self.jail.programs else signal.SIG_IGN)
            inherited = [self.control, self.nursery, self.wake, self.wake_child, *self.births.lines]
            inherited += [birth.child.channel for birth in self.births.lines.values()]
            inherited += [waiting for _, _, waiting in self.later]
            for end in [*inherited, *(member.channel for member in self.members.values())]:
                end.detach()  # closed below by number; never again when the object dies
            self.epoll.close()
            self.jail.enter(message["sid"], message["limits"], channel.detach(), uid, self.nursery_child.fileno())
            self.nursery_child.detach()
            limits = message["limits"] | {"readable": self.jail.readable}
            limits["work"] = self.jail.root(message["sid"]) + "/work"
            self.child = limits
            for table in (self.members, self.families, self.births.lines, self.handlers, self.config, self.later):
                table.clear()
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.write(guest.CHANNEL, guest.frame({"t": "failed", "text": f"cannot confine: {error!r}"}))
                channel.send(guest.frame({"t": "failed", "text": f"cannot confine: {error!r}"}))
            os._exit(70)


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
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # three for each session
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
        "programs": config["execute"],
        "cgroup": config["cgroup"],
    }
    hello["fixed_addresses"] = bool(jail.personality(0xFFFFFFFF) & jail.NO_RANDOM_ADDRESSES)
    server.control.send(json.dumps(hello).encode())
    server.measure()
    for name in [n for n in sys.modules if n == "tir_gym" or n.startswith("tir_gym.")]:
        del sys.modules[name]
    twin = os.fork()  # runs the session that the host attacks from, and leaves no trace in what others are forked from
    if twin:
        os.waitpid(twin, 0)
        server.warm()
    else:
        jail.die_with_parent()
    limits = server.run()
    del server, config
    guest.run(limits)
    os._exit(0)
