"""The host's end of a session: frames, deadlines and what they mean. Never blocks but in `put`, `get` and `fork`."""

import base64
import contextlib
import os
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from tir_gym.core.interfaces import (
    Done,
    ForkError,
    HostCall,
    Limits,
    Measured,
    RunStatus,
    Session,
    ToolSignature,
)
from tir_gym.executors.frames import (
    BORN,
    CALL,
    CHUNK,
    DONE,
    FILE,
    FORKED,
    MAGIC,
    NOTE,
    STATUS,
    BadFrameError,
    check,
    clean,
    pack,
    proper,
    relative_path,
    require_seed,
    unpack,
)
from tir_gym.executors.process import START_S, wait_readable

_READS = 4
"""How often one session is read from before the others have their turn."""
_PIECE = 1 << 17
"""Bytes that are read at once."""


class Channel(Protocol):
    """The host's end of the stream of frames to one session: a socket that does not block, or what acts like one."""

    def fileno(self) -> int:
        """Readable when there is something to receive."""

    def recv(self, size: int, /) -> bytes:
        """Some of what arrived, b"" at the end. Raises `BlockingIOError` where nothing did."""

    def send(self, data: bytearray, flags: int, /) -> int:
        """Send a part of `data` and say how much. Raises `BlockingIOError` where there is no room."""

    def close(self) -> None:
        """Give the stream up."""


class Held(Protocol):
    """The process of one session, as the host holds it; nothing here blocks or raises."""

    def alive(self) -> bool:
        """False where what started the process has failed itself."""

    def flush(self) -> bool:
        """Send the orders that wait; True while some are left."""

    def interrupt(self) -> None:
        """Signal the process, which finds the reason in its channel."""

    def end(self) -> None:
        """Kill the process, and what it started."""

    def drop(self) -> None:
        """As `end`, from a finalizer: takes no lock."""


def orders(limits: Limits) -> dict[str, int]:
    """What the process of a session is told of its limits: bytes, seconds, characters, a count."""
    return {
        "memory": limits.memory_mb << 20,
        "disk": limits.disk_mb << 20,
        "cpu_s": limits.cpu_s,
        "processes": limits.processes,
        "output_chars": limits.output_chars,
    }


def pieces(path: str, data: bytes) -> Iterator[dict[str, Any]]:
    """The requests that write a file: `path` in normal form, `data` in pieces that fit a frame."""
    for at in range(0, max(1, len(data)), CHUNK):
        yield {"t": "put", "path": path, "at": at, "data": base64.b64encode(data[at : at + CHUNK]).decode()}


class GuestSession(Session):
    """One interpreter at the other end of a channel, as `Executor.open` returns it. Not thread-safe.

    After the session is lost (`Done.state_lost`) or closed, `fileno` is -1 and `submit` raises `RuntimeError`; if it is
    lost while nothing runs, the next `submit` is answered by the `Done` that says so.
    """

    def __init__(self, channel: Channel, held: Held, limits: Limits) -> None:
        self._channel, self._held, self._limits = channel, held, limits
        self._tools: dict[str, tuple[str, ...]] = {}
        self._secret = MAGIC + os.urandom(12)
        self._in, self._out = bytearray(), bytearray()
        self._events: deque[HostCall | Done] = deque()
        self._replies: deque[dict[str, Any]] = deque()
        self._cap = (1 << 20) + 12 * (3 * limits.output_chars + 20_000)
        self._ready = self._interrupted = False
        self._born = True
        self._failed = False
        self._lost = ""
        self.spared = False
        """True once the session was lost by what may be no doing of its own, so that it may be replayed: what ran it
        ended, or its process was killed."""
        self._end_status: RunStatus | None = None
        self._turn, self._token, self._running = 0, "", False
        self._start_by = time.monotonic() + START_S
        self._began = 0.0
        self._deadline: float | None = None
        self._left = 0.0
        self._call, self._calls, self._pid = 0, 0, 0

    @property
    def secret(self) -> bytes:
        """What marks a word in the channel as the keeper's or the fork server's own, not the interpreter's."""
        return self._secret

    @property
    def held(self) -> Held:
        """The process behind it."""
        return self._held

    def tell(self, message: dict[str, Any]) -> None:
        """Queue a message that needs no reply, ahead of the first submission."""
        self._out += pack(message)

    def begin(self, seed: int, tools: Sequence[ToolSignature]) -> None:
        """Send what makes a warm interpreter the session of one episode: its seed and the functions it has."""
        require_seed(seed)
        self._tools = {tool.name: tuple(tool.parameter_names) for tool in tools}
        offered = [{"name": t.name, "parameters": list(t.parameter_names), "doc": t.description} for t in tools]
        self.tell({"t": "begin", "seed": seed, "tools": offered})
        self._flush()

    # --- running -------------------------------------------------------------------------------------------------
    def submit(self, code: str, deadline: float) -> int:
        """Start running `code`; the clock starts once the interpreter is up. See `Session.submit`."""
        if self._lost and self._end_status is not None:
            self._turn += 1
            self._events.append(Done(self._turn, self._end_status, error=self._lost, state_lost=True))
            self._end_status = None
            return self._turn
        self._must_be_idle()
        if not isinstance(code, str) or not isinstance(deadline, (int, float)):
            raise TypeError(f"submit() takes code as str and a deadline in seconds, not {code!r:.80} and {deadline!r}")
        self._turn += 1
        self._token = os.urandom(8).hex()
        self._running, self._interrupted, self._call, self._calls = True, False, 0, self._calls
        self._began = time.monotonic()
        self._left = deadline
        self._deadline = self._began + deadline if self._ready else None
        self._out += pack({"t": "run", "n": self._turn, "code": code, "token": self._token})
        self._flush()
        return self._turn

    def _must_be_idle(self) -> None:
        if self._lost:
            raise RuntimeError(f"the session is over: {self._lost}; open a new one")
        if self._running:
            raise RuntimeError(f"submission {self._turn} is still running; wait for its Done")

    def events(self) -> list[HostCall | Done]:
        """What has happened since the last call. See `Session.events`."""
        if not self._lost:
            self._advance()
        found = list(self._events)
        self._events.clear()
        return found

    def _advance(self) -> None:
        self._flush()
        self._receive()
        now = time.monotonic()
        if self._lost:
            return
        if not self._ready:
            if now >= self._up_by() or not self._held.alive():
                waited = START_S + now - self._start_by
                self._lose(RunStatus.EXECUTOR_ERROR, f"the interpreter was not up after {waited:.0f} s")
        elif self._deadline is not None and now >= self._deadline:
            if self._interrupted:
                self._lose(RunStatus.TIMEOUT, "time limit; the code did not react to the interrupt and was killed")
            else:
                self.interrupt()

    def wakeup(self) -> float | None:
        """When `events` must be called though nothing arrives (`time.monotonic()` seconds). See `Session.wakeup`."""
        if self._lost:
            return time.monotonic() if self._events else None
        if self._events or self._out or self._held.flush():
            return time.monotonic() + 0.002
        if not self._ready:
            return self._up_by() if self._running else None
        return self._deadline

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in the running code, kill it after `Limits.grace_s`."""
        if self._lost or not self._running or self._interrupted:
            return
        self._interrupted = True
        self._out += pack({"t": "interrupt", "token": self._token})
        self._flush()
        self._held.interrupt()
        self._left = self._limits.grace_s
        self._deadline = time.monotonic() + self._left if self._ready else None

    def answer(self, call_id: int, value: Any = None, error: str = "") -> None:
        """Answer the tool call that waits; an answer to one that no longer does is dropped.

        Raises `TypeError` or `ValueError` if `value` is not JSON.
        """
        if self._lost or call_id != self._call or call_id == 0:
            return
        packed = pack({"t": "answer", "id": call_id, "value": value, "error": error})
        self._call = 0
        self._out += packed
        if self._deadline is None:
            self._deadline = time.monotonic() + self._left
        self._flush()

    # --- files and copies ----------------------------------------------------------------------------------------
    def put(self, path: str, data: bytes) -> None:
        """Write a file of the working directory. Raises `ValueError` for another path, `OSError` if it does not fit."""
        path, until = relative_path(path), self._patience(self._limits.wall_s)
        for piece in pieces(path, data):
            reply = self._ask(piece, FILE, until)
            if reply["error"]:
                raise OSError(f"{path}: {clean(reply['error'], 200)}")

    def get(self, path: str) -> bytes:
        """Read a file of the working directory. Raises `FileNotFoundError`, `ValueError` for another path."""
        path, until = relative_path(path), self._patience(self._limits.wall_s)
        data = bytearray()
        while len(data) <= self._limits.disk_mb << 20:
            reply = self._ask({"t": "get", "path": path, "at": len(data)}, FILE, until)
            if reply["error"] == "missing":
                raise FileNotFoundError(f"{path} is not in the working directory")
            if reply["error"]:
                raise ValueError(f"{path}: {clean(reply['error'], 200)}")
            try:
                piece = base64.b64decode(reply["data"], validate=True)
            except ValueError:
                self._lose(RunStatus.PROTOCOL_ERROR, "a file arrived garbled")
                raise RuntimeError(f"the session is over: {self._lost}") from None
            data += piece
            if len(piece) < CHUNK:
                break
        return bytes(data)

    def fork(self, seed: int | None = None) -> Session:
        """Raise `ForkError`: only the fork server's sessions can be copied live. See `Session.fork`."""
        raise ForkError("a session of this executor is one process that nothing can copy; use ForkServer, or replay")

    def _ask(self, message: dict[str, Any], shape: Mapping[str, type], until: float) -> Any:
        """Send a request to the idle guest and wait for the reply. Raises `RuntimeError`."""
        self.request(message)
        return self._reply(message["t"], shape, until)

    def request(self, message: dict[str, Any]) -> None:
        """Send a request to the idle guest. Raises `RuntimeError`."""
        self._must_be_idle()
        self._out += self._request(message)
        self._flush()

    def _request(self, message: dict[str, Any]) -> bytes:
        self._token = os.urandom(8).hex()
        return pack(message | {"token": self._token})

    def _patience(self, seconds: float) -> float:
        return time.monotonic() + seconds + (0.0 if self._ready else START_S)

    def _reply(self, kind: str, shape: Mapping[str, type], until: float) -> Any:
        self._advance()
        while not self._replies and not self._lost:
            if time.monotonic() >= until:
                self._lose(RunStatus.KILLED, f"no reply to {kind!r} in time")
                break
            pause = time.monotonic() + 0.002 if self._out or self._held.flush() else until
            wait_readable(self.fileno(), pause)
            self._advance()
        return self.reply(shape)

    def reply(self, shape: Mapping[str, type]) -> Any:
        """The reply to `request`, None while there is none (`events` looks for it). Raises `RuntimeError`."""
        if self._lost:
            raise RuntimeError(f"the session is over: {self._lost}")
        if not self._replies:
            return None
        reply = self._replies.popleft()
        if self._replies or reply.keys() != shape.keys():
            self._lose(RunStatus.PROTOCOL_ERROR, "a reply to something else")
            raise RuntimeError(f"the session is over: {self._lost}")
        return reply

    # --- the channel ---------------------------------------------------------------------------------------------
    def _flush(self) -> None:
        self._held.flush()
        with contextlib.suppress(OSError):
            while self._out:
                del self._out[: self._channel.send(self._out, socket.MSG_NOSIGNAL)]

    def _read(self, size: int) -> bytes:
        return self._channel.recv(size)

    def _receive(self) -> None:
        for _ in range(_READS):
            try:
                data = self._read(_PIECE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._ended()
                return
            self._in += data
            try:
                self._frames()
            except BadFrameError as error:
                self._lose(RunStatus.PROTOCOL_ERROR, f"the session broke the protocol: {error}")
            if self._lost or (self._events and len(data) < _PIECE):
                return  # what may have come since is heard of the next time

    def _frames(self) -> None:
        while len(self._in) >= 4 and not self._lost:
            if self._in[:4] == MAGIC:
                if not self._born and len(self._in) >= NOTE:
                    if self._in[:NOTE] != self._secret + struct.pack("!ii", BORN, 0):
                        raise BadFrameError("a copy that the fork server does not know")
                    self._born = True
                    del self._in[:NOTE]
                    continue
                if self._in[:16] == self._secret[: len(self._in[:16])] and len(self._in) <= NOTE:
                    return  # the fork server's last word; the end follows
                raise BadFrameError("a frame that is too long")
            size = int.from_bytes(self._in[:4], "big")
            if size > self._cap:
                raise BadFrameError(f"a frame of {size} bytes")
            if len(self._in) < 4 + size:
                return
            body = bytes(self._in[4 : 4 + size])
            del self._in[: 4 + size]
            self._message(unpack(body))

    def _message(self, message: dict[str, Any]) -> None:
        kind = message["t"]
        free = not self._call or self._interrupted  # an interrupted guest waits for no answer
        if not self._ready:
            if kind == "failed":
                self._failed = True
                self._lose(RunStatus.EXECUTOR_ERROR, clean(str(message.get("text")), 500))
            elif message != {"t": "ready"}:
                raise BadFrameError(f"a {kind[:20]!r} frame before the first submission")
            elif not self._born:
                raise BadFrameError("a copy that the fork server does not know")
            else:
                self._came_up()
        elif message.get("token") != self._token or not self._token:
            raise BadFrameError(f"a {kind[:20]!r} frame that is out of turn")
        elif kind == "done" and self._running and free:
            check(message, DONE)
            self._finish(message)
        elif kind == "call" and self._running and free:
            check(message, CALL)
            self._host_call(message)
        elif kind in ("file", "forked") and not self._running and not self._replies:
            check(message, FILE if kind == "file" else FORKED)
            self._replies.append(message)
        else:
            raise BadFrameError(f"a {kind[:20]!r} frame that is out of turn")

    def _up_by(self) -> float:
        """When an interpreter that is not up is given up (`time.monotonic()` seconds)."""
        return self._start_by

    def _came_up(self) -> None:
        self._ready = True
        if self._running:
            self._deadline = time.monotonic() + self._left

    def _host_call(self, message: dict[str, Any]) -> None:
        if message["tool"] not in self._tools or message["id"] <= self._calls:
            raise BadFrameError("a call of a tool that is not offered, or twice")
        self._call = self._calls = message["id"]
        try:
            arguments = proper(message["arguments"])
        except ValueError as error:  # the clock goes on, or a flood of these would stop it
            self.answer(self._call, error=f"{message['tool']}(): {error}")
            return
        if self._deadline is not None and not self._interrupted:
            self._left, self._deadline = max(0.0, self._deadline - time.monotonic()), None
        self._events.append(HostCall(self._turn, message["id"], message["tool"], arguments))

    def _finish(self, message: dict[str, Any]) -> None:
        status = STATUS.get(message["status"], RunStatus.EXCEPTION)
        if self._interrupted:
            status = RunStatus.TIMEOUT
        chars = self._limits.output_chars
        stdout, stderr, value, error, trace = (
            clean(message[key], chars) for key in ("stdout", "stderr", "value", "error", "traceback")
        )
        wall = time.monotonic() - self._began
        measured = Measured(wall, float(message["cpu"]), message["memory"] / 1024, self._pid)
        self._end_turn()
        self._events.append(Done(self._turn, status, stdout, stderr, value, error, trace, measured=measured))

    def _end_turn(self) -> None:
        self._running, self._token, self._call, self._deadline = False, "", 0, None

    # --- ends ----------------------------------------------------------------------------------------------------
    def _ended(self) -> None:
        """The channel has ended: say why, as the fork server observed it."""
        note = bytes(self._in[-NOTE:])
        if not self._ready and self._born:
            self._lose(RunStatus.EXECUTOR_ERROR, "the interpreter ended before it was up")
        elif len(note) == NOTE and note[:16] == self._secret:
            code, cpu_ms = struct.unpack("!ii", note[16:])
            self._lose(RunStatus.KILLED, self._cause(code, cpu_ms))
        elif not self._held.alive():
            self._lose(RunStatus.EXECUTOR_ERROR, "what ran the session ended")
        else:
            self._lose(RunStatus.KILLED, "the process ended")

    def _cause(self, code: int, cpu_ms: int) -> str:
        if code < 0:
            return "the process ended"
        if not os.WIFSIGNALED(code):
            return f"the process ended with exit status {os.WEXITSTATUS(code)}"
        number = os.WTERMSIG(code)
        if number == signal.SIGKILL and cpu_ms >= self._limits.cpu_s * 1000:
            return f"the session used up its {self._limits.cpu_s} s of processor time"
        self.spared = number == signal.SIGKILL
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return f"the process was killed by {name}" + (", maybe for lack of memory" if number == 9 else "")

    def _lose(self, status: RunStatus, error: str) -> None:
        if self._lost:
            return
        error = clean(error, 300)
        self.spared |= status is RunStatus.EXECUTOR_ERROR and not self._held.alive()
        if self._running:
            wall = time.monotonic() - self._began
            done = Done(self._turn, status, error=error, state_lost=True, measured=Measured(wall))
            self._end_turn()
            self._events.append(done)
        else:
            self._end_status = status
        self._over(error)

    def _over(self, why: str) -> None:
        self._lost = why
        self._channel.close()
        self._held.end()

    def close(self) -> None:
        """End the session and its processes; they are gone soon after, with the last lease at the latest."""
        if not self._lost:
            self._over("it was closed")
        self._events.clear()

    def forget(self) -> None:
        """In a process forked from the owner: let go of the session without ending it."""
        self._lost = "it belongs to the process this one was forked from"
        self._channel.close()

    def fileno(self) -> int:
        """Readable when there is something to tell; -1 once the session is closed or lost."""
        return -1 if self._lost else self._channel.fileno()

    def __del__(self) -> None:
        if not getattr(self, "_lost", "unborn"):
            self._lost = "it was dropped"
            self._channel.close()
            self._held.drop()
