"""A started keeper as the host holds it: its channel, its greeting, its burial."""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tir_gym.core.interfaces import ExecutorUnavailable
from tir_gym.executors.frames import BadFrameError, clean, pack, unpack
from tir_gym.executors.launcher import ENVIRONMENT
from tir_gym.executors.process import LOAD, START_S, programs
from tir_gym.executors.session import Channel

BOOT = f"""import json, os, sys, types
def exactly(size):
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            os._exit(1)
        data += piece
    return data
config = json.loads(exactly(int.from_bytes(exactly(4), "big")))
{LOAD}main = package.keeper.main
del parent, package, module, name, source, exactly
main(config)
"""
"""The program that a cell's interpreter is started with; the rest comes through its standard input."""
_PROGRAMS = ("jail", "seccomp", "sink", "trace", "halves", "guest", "confine", "keeper")
_LAST_HELLO = 1 << 16


def keeper_config(
    work: str,
    preload: Sequence[str],
    *,
    isolate: bool = True,
    user: int = -1,
    count_tasks: bool = False,
    readable: Sequence[str] = (),
    search: Sequence[str] = (),
    remove: str = "",
) -> dict[str, Any]:
    """What a `keeper` is told before anything else.

    `work`: the session's directory. `isolate`: Landlock, seccomp and no rights on top of what surrounds the keeper.
    `user`: whom the keeper, still root, is to become; -1 for nobody else. `count_tasks`: the limit on processes is the
    kernel's, as no other session has this user. `readable`: what Landlock lets the session read. `search`: where
    `preload` is found. `remove`: a directory that ends with it.
    """
    return {
        "programs": programs(_PROGRAMS),
        "environment": {**ENVIRONMENT, "HOME": work, "TMPDIR": work},
        "work": work,
        "preload": list(preload),
        "isolate": isolate,
        "user": user,
        "count_tasks": count_tasks,
        "readable": list(readable),
        "search": list(search),
        "remove": remove,
    }


class Yard(Protocol):
    """Where cells are buried."""

    dropped: "deque[Cell]"
    """Those that finalizers left, to be buried when there is time."""

    def bury(self, cell: "Cell") -> None:
        """Have a cell buried; returns at once."""


class Cell(ABC):
    """A started keeper: the host's end of its channel, what it said of itself, and its burial."""

    def __init__(self, channel: Channel, yard: Yard) -> None:
        self.channel, self.hello, self._yard = channel, dict[str, Any](), yard

    @abstractmethod
    def bury(self) -> None:
        """Return when the process and all that was made for it is gone; `channel` is closed. Never raises."""

    @abstractmethod
    def complaint(self) -> str:
        """What it wrote to standard error before it was up."""

    def alive(self) -> bool:
        """Whether what started the process works."""
        return True

    def flush(self) -> bool:
        """Nothing waits: everything goes through the channel."""
        return False

    def interrupt(self) -> None:
        """Leave it to the keeper, which sees the interrupt pass."""
        return

    def end(self) -> None:
        """Have it buried; closing the channel, which the session has done, already kills it."""
        self._yard.bury(self)

    def drop(self) -> None:
        """Have it buried later."""
        self._yard.dropped.append(self)

    def greet(self, config: dict[str, Any]) -> None:
        """Send the configuration, wait for the keeper's word. Raises `ExecutorUnavailable`; then it is buried."""
        try:
            self._greet(config)
        except BaseException:
            self.channel.close()
            self.bury()
            raise

    def _greet(self, config: dict[str, Any]) -> None:
        until = time.monotonic() + START_S
        out, said = bytearray(pack(config)), bytearray()
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN | select.POLLOUT)
        while len(said) < 4 or len(said) < 4 + int.from_bytes(said[:4], "big") <= _LAST_HELLO:
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise ExecutorUnavailable(f"no interpreter after {START_S:.0f} s: {self.complaint()}")
            try:
                while out:
                    del out[: self.channel.send(out, socket.MSG_NOSIGNAL)]
                poll.modify(self.channel.fileno(), select.POLLIN)
            except BlockingIOError:
                pass
            except OSError:
                out.clear()
            try:
                data = self.channel.recv(1 << 16)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                raise ExecutorUnavailable(f"the interpreter ended at its start: {self.complaint()}")
            said += data
        try:
            self.hello = unpack(bytes(said[4:]))
        except BadFrameError as error:
            raise ExecutorUnavailable(f"no greeting from the interpreter: {error}") from None
        if self.hello["t"] != "hello":
            text = clean(str(self.hello.get("text")), 500)
            raise ExecutorUnavailable(f"the interpreter is not ready: {text}; is everything in `preload` there?")


class Process(Cell):
    """A keeper as a child process, its channel a socket pair."""

    def __init__(
        self,
        arguments: list[str],
        yard: Yard,
        environment: dict[str, str],
        *,
        folder: str = "",
    ) -> None:
        """Start `arguments`; `folder` is removed with it. Raises `OSError`."""
        ours, far = socket.socketpair()
        ours.setblocking(False)
        super().__init__(ours, yard)
        self._folder = folder
        self._said = os.memfd_create("tir_gym")
        try:
            with far:
                self.process = subprocess.Popen(  # noqa: S603
                    arguments,
                    env=environment,
                    cwd="/",
                    stdin=far.fileno(),
                    stdout=far.fileno(),
                    stderr=self._said,
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            os.close(self._said)
            raise

    def complaint(self) -> str:
        """The end of what it wrote to standard error."""
        return os.pread(self._said, 2000, 0).decode("utf-8", "replace").strip()[-500:] or "it said nothing"

    def bury(self) -> None:
        """Wait for the keeper, which ends with its channel; kill it where it does not."""
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            for pid in (*_children(self.process.pid), self.process.pid):  # bubblewrap cannot kill another user's child
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._said)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
    return []
