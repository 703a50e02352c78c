"""Sessions of the fork server: started by an order to it, and copied live."""

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tir_gym.core.interfaces import ForkError, Limits, RunStatus
from tir_gym.executors.frames import FORKED, clean, require_seed
from tir_gym.executors.process import START_S, ServerProcess, wait_readable
from tir_gym.executors.session import GuestSession, orders

_CREDENTIALS = socket.CMSG_SPACE(12)
QUEUE_S = 600.0
"""Seconds a session is waited for beyond its own start, for as long as others of its server come up."""
FORK_S = 8.0
"""Seconds a live copy may take; the session is lost if it takes longer."""


class Child:
    """A session's process as the fork server's child number `sid`."""

    def __init__(self, server: ServerProcess) -> None:
        self.server, self.sid = server, server.new_sid()

    def alive(self) -> bool:
        """Whether the fork server is."""
        return self.server.alive()

    def flush(self) -> bool:
        """Send the server what waits; True while some is left."""
        if self.server.busy:
            self.server.flush()
        return self.server.busy

    def interrupt(self) -> None:
        """Have it signalled."""
        self.server.send({"t": "interrupt", "sid": self.sid})

    def end(self) -> None:
        """Have it killed."""
        if not self.server.dead:
            self.server.send({"t": "kill", "sid": self.sid})

    def drop(self) -> None:
        """Have it killed with the next order."""
        self.server.post({"t": "kill", "sid": self.sid})


class ForkedSession(GuestSession):
    """One confined interpreter, as `ForkServer.open` and `fork` return it."""

    def __init__(self, server: ServerProcess, limits: Limits, register: Callable[[Any], None]) -> None:
        self._server, self._register, self._child = server, register, Child(server)
        self._socket, self._far = socket.socketpair()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.at_home = bool(server.hello["namespaces"])
        """True where the working directory has the path that every session has which is no copy."""
        self.meanwhile: Callable[[], None] | None = None
        """What the host is to do while the first submission runs."""
        super().__init__(self._socket, self._child, limits)
        register(self)

    @classmethod
    def start(
        cls, server: ServerProcess, limits: Limits, register: Callable[[Any], None], later: bool = False
    ) -> "ForkedSession":
        """Ask `server` for a new child, which waits for `begin`; returns before it exists.

        `later`: it leaves the processor to others for a moment first.
        """
        self = cls(server, limits, register)
        order = {"t": "open", "sid": self._child.sid, "secret": self.secret.hex(), "limits": orders(limits)}
        order["later"] = later
        with self._far:
            server.send(order, [self._far])
        return self

    def _read(self, size: int) -> bytes:
        """Receive, and note what the kernel says of the sender; descriptors that it sends find no room."""
        data, ancillary, _, _ = self._socket.recvmsg(size, _CREDENTIALS)
        if ancillary:
            self._pid = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
        return data

    def _up_by(self) -> float:
        """Sessions are born one after another: while others of the server come up, this one is waited for."""
        return min(max(self._start_by, self._server.last_birth + START_S), self._start_by + QUEUE_S)

    def _came_up(self) -> None:
        super()._came_up()
        self._server.last_birth = time.monotonic()

    def submit(self, code: str, deadline: float) -> int:
        """See `Session.submit`."""
        turn = super().submit(code, deadline)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return turn

    def waits(self) -> bool:
        """False once this session, which nobody has used yet, has died."""
        if not self._lost:
            self._advance()
        return not self._lost

    def fork(self, seed: int | None = None) -> "ForkedSession":
        """A live copy. Raises `ForkError` while code runs, threads live or files are open. See `Session.fork`.

        If the copy does not come in `FORK_S` seconds or is not what it should be, this session is lost, too.
        """
        if seed is not None:
            require_seed(seed)
        try:
            self._must_be_idle()
        except RuntimeError as error:
            raise ForkError(str(error)) from None
        if self._server.execute:
            raise ForkError("a session that may start programs cannot be copied live; replay the episode instead")
        child = ForkedSession(self._server, self._limits, self._register)
        child._tools, child._turn, child._calls, child._born = self._tools, self._turn, self._calls, False
        child.at_home = False
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with child._far, ours, theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            order = {"t": "fork", "sid": self._child.sid, "new": child._child.sid, "secret": child._secret.hex()}
            self._server.send(order, [child._far, ours])
            try:
                patience = min(FORK_S, self._limits.wall_s)
                until = self._patience(patience)
                self._send_alone(self._request({"t": "fork"}), (child._far, theirs), until)
                reply = self._reply("fork", FORKED, until)
                if reply["error"]:
                    raise ForkError(clean(reply["error"], 300))
                while not child._ready and not child._lost and wait_readable(child.fileno(), until):
                    child._advance()
                if not child._ready and not child._failed:
                    why = f"its copy was lost: {child._lost}" if child._lost else f"its copy was not up in {patience} s"
                    self._lose(RunStatus.KILLED, why)
                if not child._ready:
                    raise ForkError(child._lost or self._lost)
            except RuntimeError as error:
                child.close()
                raise error if isinstance(error, ForkError) else ForkError(str(error)) from None
        if seed is not None:
            child.tell({"t": "begin", "seed": seed, "tools": []})
        return child

    def _send_alone(self, packed: bytes, pass_on: Sequence[socket.socket], until: float) -> None:
        """Send a message with descriptors, once what waits before it is sent."""
        while self._out and not self._lost and time.monotonic() < until:
            wait_readable(self.fileno(), time.monotonic() + 0.001)
            self._advance()
        if not self._lost:
            with contextlib.suppress(OSError):
                socket.send_fds(self._socket, [packed], [s.fileno() for s in pass_on])

    def forget(self) -> None:
        """In a process forked from the owner: let go of the session without ending it."""
        super().forget()
        self._far.close()
