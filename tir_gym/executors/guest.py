"""The interpreter loop inside a session: runs submissions, calls tools on the host, copies itself on request.

It shares its process with the policy's code, so nothing here is a boundary and the host believes nothing it says.
Standard library only; loaded once by `server` before it forks.
"""

import _signal  # type: ignore[import-not-found]
import _thread
import array
import base64
import builtins
import contextlib
import json
import linecache
import os
import random
import resource
import select
import signal
import socket
import stat
import struct
import sys
import threading
import types
from collections import deque
from typing import Any

from tir_gym.executors import jail
from tir_gym.executors.halves import halves
from tir_gym.executors.sink import OutputLimitError, Sink, clip
from tir_gym.executors.trace import describe

CHANNEL = 3
"""The descriptor of the channel to the host."""
MAX_CALL = 1 << 20
"""Bytes of one tool call's frame."""
CHUNK = 1 << 19
"""Bytes of a file in one frame."""
RULES = 63
"""The descriptor at which a copy finds its Landlock rules."""
_encode = json.JSONEncoder(allow_nan=False).encode
_decode = json.JSONDecoder().decode
_SIGINT, _SIGNALS = int(signal.SIGINT), frozenset(map(int, signal.valid_signals()))
_getsignal = _signal.getsignal  # without the enum of signal.getsignal, which costs microseconds
_MAIN = threading.main_thread().ident
_seed = random.Random.seed


class ToolError(Exception):
    """A tool called from the session failed; the message is the host's."""


ToolError.__module__ = "builtins"


def frame(message: dict[str, Any]) -> bytes:
    """A message as it travels: its length in four bytes, then JSON."""
    body = _encode(message).encode()
    return struct.pack("!I", len(body)) + body


def capture(work: str) -> None:
    """Point descriptors 1 and 2 at nameless files in `work`, so that they count against its size."""
    for fd in (1, 2):
        fresh = os.open(work, os.O_TMPFILE | os.O_RDWR | os.O_APPEND, 0o600)
        os.dup2(fresh, fd)
        os.close(fresh)


class Channel:
    """Frames from and to the host; `wanted` is the submission the host has asked to interrupt."""

    def __init__(self) -> None:
        self.socket = socket.socket(fileno=CHANNEL)
        self.buffer = bytearray()
        self.frames: deque[dict[str, Any]] = deque()
        self.fds: list[int] = []
        self.wanted = ""
        self.pumping = self.late = False

    def send(self, message: dict[str, Any]) -> None:
        """Send a message whole."""
        self.socket.sendall(frame(message))

    def pump(self, flags: int = 0) -> None:
        """Read what is there (wait for something without MSG_DONTWAIT); ends the process with the channel."""
        while True:
            self.pumping, self.late = True, False
            try:
                self._receive(flags)
            except BlockingIOError:
                pass
            finally:
                self.pumping = False
            if not self.late:  # what comes from here on is read by its own signal
                return
            flags = socket.MSG_DONTWAIT

    def _receive(self, flags: int) -> None:
        data, ancillary, _, _ = self.socket.recvmsg(1 << 18, 64, flags | socket.MSG_CMSG_CLOEXEC)
        if not data:
            os._exit(0)
        for _, kind, content in ancillary:
            if kind == socket.SCM_RIGHTS:
                self.fds += array.array("i", content)
        self.buffer += data
        while len(self.buffer) >= 4:
            size = int.from_bytes(self.buffer[:4], "big")
            if len(self.buffer) < 4 + size:
                return
            message = _decode(self.buffer[4 : 4 + size].decode())
            del self.buffer[: 4 + size]
            if message["t"] == "interrupt":
                self.wanted = message["token"]
            else:
                self.frames.append(message)

    def next(self) -> dict[str, Any]:
        """The next message; waits for it."""
        while not self.frames:
            self.pump()
        return self.frames.popleft()


class Guest:
    """One session: its namespace, channel and streams."""

    def __init__(self, limits: dict[str, Any]) -> None:
        self.limits = limits
        self.chars: int = limits["output_chars"]
        self.work: str = limits["work"]
        self.channel = Channel()
        self.lock = threading.Lock()
        self.token, self.running, self.frozen, self.calls = "", False, False, 0
        self.main = types.ModuleType("__main__")
        self.main.__dict__["__builtins__"] = builtins
        sys.modules["__main__"] = self.main
        vars(builtins).update(ToolError=ToolError, exit=sys.exit, quit=sys.exit)
        self.out, self.err = Sink(self.chars, 1), Sink(self.chars, 2)
        self.reserve: bytes | None = bytes(4 << 20)  # untouched pages, room to report a MemoryError in
        self.spent = 0.0
        signal.signal(signal.SIGINT, self.on_interrupt)

    # --- interrupts ----------------------------------------------------------------------------------------------
    def on_interrupt(self, number: int, at: types.FrameType | None) -> None:
        """Raise in the submission the host means; a signal that comes late for it does nothing."""
        if self.channel.pumping:
            self.channel.late = True
            return
        self.channel.pump(socket.MSG_DONTWAIT)
        self.check()

    def check(self) -> None:
        """Raise `KeyboardInterrupt` (in the main thread) if the running submission is to stop."""
        if self.running and self.channel.wanted == self.token:
            if _thread.get_ident() != _MAIN:
                _thread.interrupt_main()
                return
            self.channel.wanted = ""
            raise KeyboardInterrupt

    # --- the loop ------------------------------------------------------------------------------------------------
    def rehearse(self) -> None:
        """Run a submission nobody asked for, so that the first real one finds its memory already this process's own.

        Raises `MemoryError`.
        """
        be_predictable(0)
        said = self.submission({"t": "run", "n": 0, "code": "print(1)\n1", "token": "rehearsal"})
        _decode(frame(said)[4:].decode())
        linecache.cache.clear()
        self.main.__dict__.pop("_", None)
        if said["status"] == "memory":
            raise MemoryError

    def loop(self) -> None:
        """Serve the host until the channel ends."""
        self.channel.send({"t": "ready"})
        while True:
            message = self.channel.next()
            kind = message["t"]
            if kind == "run":
                self.channel.send(self.submission(message))
            elif kind == "begin":
                be_predictable(message["seed"])
                for tool in message["tools"]:
                    self.main.__dict__[tool["name"]] = self.function(**tool)
            elif kind == "fork":
                self.fork(message["token"])
            elif kind in ("put", "get"):
                self.channel.send(self.file(message))

    def submission(self, message: dict[str, Any]) -> dict[str, Any]:
        """Run one submission and describe how it ended."""
        name, code, status, value = f"<call {message['n']}>", message["code"], "ok", ""
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        error = trace = ""
        sys.stdout, sys.stderr = self.out, self.err
        sys.__stdout__, sys.__stderr__ = self.out, self.err  # type: ignore[assignment,misc]
        if _getsignal(_SIGINT) != self.on_interrupt:  # the policy's own handler lasts for one submission
            signal.signal(signal.SIGINT, self.on_interrupt)
        self.token = message["token"]
        try:
            try:
                self.running = True
                self.check()
                value = self.evaluate(code, name)
            finally:
                self.running = False
        except BaseException as caught:
            if isinstance(caught, MemoryError):
                self.reserve = None
            status = next((name for kind, name in _STATUS.items() if isinstance(caught, kind)), "exception")
            error, trace = describe(caught, self.chars)
        usage, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = usage.ru_utime + usage.ru_stime + others.ru_utime + others.ru_stime
        cpu, self.spent = spent - self.spent, spent
        reply: dict[str, Any] = {"t": "done", "token": self.token, "status": status, "value": value, "error": error}
        reply |= {"traceback": trace, "stdout": self.out.take(), "stderr": self.err.take()}
        reply |= {"cpu": round(max(0.0, cpu), 6), "memory": usage.ru_maxrss}
        if self.reserve is None and status != "memory":
            with contextlib.suppress(MemoryError):
                self.reserve = bytes(4 << 20)
        return reply

    def evaluate(self, code: str, name: str) -> str:
        """Execute `code`; return `repr` of its last expression, "" if there is none or it is None."""
        before, final = halves(code, name)
        space = self.main.__dict__
        if before is not None:
            exec(before, space)  # noqa: S102 - what this process is for
        if final is None:
            return ""
        result = eval(final, space)  # noqa: S307
        if result is None:
            return ""
        space["_"] = result
        return clip(repr(result), self.chars)

    # --- tools ---------------------------------------------------------------------------------------------------
    def function(self, name: str, parameters: list[str], doc: str) -> Any:
        """A function of the namespace that asks the host."""

        def call(*positional: Any, **named: Any) -> Any:
            if len(positional) > len(parameters):
                raise TypeError(f"{name}() takes {len(parameters)} arguments, {len(positional)} were given")
            arguments = dict(zip(parameters, positional, strict=False))
            if twice := arguments.keys() & named.keys():
                raise TypeError(f"{name}() got more than one value for {min(twice)!r}")
            return self.ask(name, arguments | named)

        call.__name__ = call.__qualname__ = name
        call.__module__, call.__doc__ = "__main__", doc
        return call

    def ask(self, name: str, arguments: dict[str, Any]) -> Any:
        """Have the host call a tool; waits for the answer. Raises `ToolError`."""
        with self.lock:
            if not self.running:
                raise RuntimeError(f"{name}() was called while no submission is running")
            self.calls += 1
            number = self.calls
            body = frame({"t": "call", "token": self.token, "id": number, "tool": name, "arguments": arguments})
            if len(body) > MAX_CALL:
                raise ValueError(f"arguments of {name}() take {len(body)} bytes; at most {MAX_CALL} are sent")
            self.channel.socket.sendall(body)
            while True:
                while not self.channel.frames:
                    self.channel.pump()
                    self.check()
                answer = self.channel.frames.popleft()
                if answer["t"] == "answer" and answer["id"] == number:
                    break
        if answer["error"]:
            raise ToolError(answer["error"])
        return answer["value"]

    # --- files ---------------------------------------------------------------------------------------------------
    def file(self, message: dict[str, Any]) -> dict[str, Any]:
        """Write or read one piece of a file of the working directory."""
        reply: dict[str, Any] = {"t": "file", "token": message["token"], "data": "", "error": ""}
        path, at = os.path.join(self.work, message["path"]), message["at"]  # noqa: PTH118
        try:
            if message["t"] == "put":
                os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | (0 if at else os.O_TRUNC), 0o600)
                try:
                    data = base64.b64decode(message["data"])
                    while data:
                        written = os.pwrite(fd, data, at)
                        data, at = data[written:], at + written
                finally:
                    os.close(fd)
            else:
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                try:
                    if not stat.S_ISREG(os.fstat(fd).st_mode):
                        raise IsADirectoryError("not a regular file")
                    reply["data"] = base64.b64encode(os.pread(fd, CHUNK, at)).decode()
                finally:
                    os.close(fd)
        except (FileNotFoundError, NotADirectoryError):
            reply["error"] = "missing"
        except OSError as error:
            reply["error"] = f"{type(error).__name__}: {error.strerror or error}"
        return reply

    # --- live copies ---------------------------------------------------------------------------------------------
    def fork(self, token: str) -> None:
        """Become this session and a copy of it. The first time, this very process stays behind as their parent."""
        fds, self.channel.fds = self.channel.fds, []
        reason = self.obstacle(fds)
        if reason:
            for fd in fds:
                os.close(fd)
            self.channel.send({"t": "forked", "token": token, "error": reason})
            return
        channel, line = fds[0], socket.socket(fileno=fds[1])
        error, work = "", self.work
        try:
            if os.fork() == 0:
                self.become_copy(channel, line)
                return
            if not self.frozen:
                if os.fork() != 0:
                    self.freeze(channel, line)
                self.frozen = True
                self.spent = 0.0
                line.send(b"parent")
            self.meet(work)
            self.rename(work)
        except OSError as caught:
            reason = {11: "; too many live copies?", 16: "; hidden threads?"}.get(caught.errno or 0, "")
            error = f"the kernel refuses to fork: {caught.strerror}{reason}"
        os.close(channel)
        line.close()
        self.channel.send({"t": "forked", "token": token, "error": error})

    def obstacle(self, ours: list[int]) -> str:
        """Why the state cannot be copied, "" if it can."""
        if _thread._count():
            return f"{_thread._count()} threads of the session are alive; join them first"
        fds, poll = set(range(CHANNEL + 1, 64)) - set(ours), select.poll()
        for fd in fds:
            poll.register(fd, 0)
        for fd in sorted(fds - {fd for fd, state in poll.poll(0) if state & select.POLLNVAL}):
            if not stat.S_ISCHR(os.fstat(fd).st_mode):
                return f"descriptor {fd} of the session is open, copies would share its position; close it first"
        return "" if len(ours) == 2 else "the descriptors for the copy did not arrive"

    def freeze(self, channel: int, line: socket.socket) -> None:
        """Stay behind: hold the process ids of the copies together, run nothing."""
        for fd in (1, 2, CHANNEL, channel):
            os.close(fd)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        line.close()  # the server stops this process for good
        while True:
            signal.pause()

    def become_copy(self, channel: int, line: socket.socket) -> None:
        """Take up the new channel, working directory and confinement."""
        os.dup2(channel, CHANNEL)
        os.close(channel)
        self.frozen, work = True, self.work
        try:
            line.send(b"copy")
            box = line.recv(4096).decode()
            line.close()
            if not box.startswith("/"):
                raise OSError(box[1:])
            copy_tree(work, box)
            capture(box)
            self.meet(box)
        except OSError as error:
            hint = "; shared memory or a mapped file?" if error.errno == 16 else ""
            self.channel.send({"t": "failed", "text": f"cannot copy the working directory: {error}{hint}"})
            os._exit(70)
        self.spent = 0.0
        self.channel.send({"t": "ready"})
        self.rename(work)

    def meet(self, box: str) -> None:
        """Wait with the other half until the server has set both apart, and be where it was, but in `box`."""
        here, old = os.getcwd(), self.work  # noqa: PTH109
        inside = "." if here == old else os.path.relpath(here, old)
        os.chdir(box)
        mask = _signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # the original must hold still
        try:
            jail.landlock_enter(RULES)  # the server puts a copy's rules there while it waits
        finally:
            _signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        with contextlib.suppress(OSError):
            os.close(RULES)
        self.work = os.getcwd()  # noqa: PTH109
        if inside.startswith(".."):
            if box == old:
                os.chdir(here)
        elif inside != ".":
            os.chdir(inside)

    def rename(self, old: str) -> None:
        """Tell the code what its working directory is called now, if not `old`; the host need not wait for that."""
        if self.work != old:
            os.environ.update(HOME=self.work, TMPDIR=self.work)
            if getattr(sys.modules.get("tempfile"), "tempdir", None):
                sys.modules["tempfile"].tempdir = self.work  # type: ignore[attr-defined]


_STATUS: dict[type, str] = {MemoryError: "memory", KeyboardInterrupt: "interrupted", OutputLimitError: "output_limit"}


def copy_tree(source: str, target: str) -> None:
    """Copy regular files and directories with their modes. Raises `OSError`."""
    with os.scandir(source) as entries:
        for entry in entries:
            to = f"{target}/{entry.name}"
            mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
            if entry.is_dir(follow_symlinks=False):
                os.mkdir(to, mode | 0o700)  # noqa: PTH102
                copy_tree(entry.path, to)
                continue
            source_fd = os.open(entry.path, os.O_RDONLY)
            target_fd = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            try:
                while os.sendfile(target_fd, source_fd, None, 1 << 24):
                    pass
            finally:
                os.close(source_fd)
                os.close(target_fd)


def be_predictable(seed: int) -> None:
    """Let what Python code takes from the system's randomness follow from `seed`, too; live copies keep the state."""
    source = random.Random(f"the system's randomness {seed}")  # predictable on purpose

    def urandom(size: int, /) -> bytes:
        """Bytes that follow from the session's seed."""
        return source.randbytes(size)

    def getrandom(size: int, flags: int = 0) -> bytes:
        """Bytes that follow from the session's seed."""
        return source.randbytes(size)

    def reseed(self: random.Random, a: Any = None, version: int = 2) -> None:
        """Initialize the state from `a`, or from the session's seed."""
        _seed(self, source.randbytes(32) if a is None else a, version)

    os.urandom = random._urandom = urandom  # type: ignore[attr-defined]
    os.getrandom = getrandom
    reseed.__name__ = reseed.__qualname__ = "seed"
    random.Random.seed = reseed  # type: ignore[method-assign]
    random.seed = random._inst.seed
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % (1 << 32))


def run(limits: dict[str, Any]) -> None:
    """Be a session until the host ends it."""
    try:
        guest = Guest(limits)
        guest.rehearse()
    except MemoryError:
        text = f"memory_mb={limits['memory'] >> 20} is not enough to start with; allow a session 16 or more"
        os.write(CHANNEL, frame({"t": "failed", "text": text}))
        os._exit(70)
    guest.loop()
