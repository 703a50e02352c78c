"""Processes that run what may hang or crash: exec'd fresh, leased, killed when they fall silent, replaced when lost.

`Worker` is one process and the channel to it; `Leased` holds one for the threads of this process. What is asked and
answered over the channel is up to a subclass (`scoring.symbolic`, `envs.sql.engine`).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

START_LIMIT = 30.0
"""Seconds a worker has to say that it is ready."""
_DYING = 1.0
_PROCESS_TIME = 2
"""Which of the clocks of a process its number asks for (clock_getcpuclockid(3), Linux)."""
_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS)
_ROOT = Path(__file__).parent
_BOOT = """import importlib, sys, types
_, root, folders, module, *arguments = sys.argv
for name in folders.split(","):
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [root + name[7:].replace(".", "/")]
importlib.import_module(module).main(*arguments)
"""


class WorkerUnavailable(RuntimeError):  # noqa: N818
    """A worker cannot be started: no fault of what it was to do."""


class Lost(Exception):  # noqa: N818
    """A worker ended, or fell silent (`silent`).

    `crashed` says, once it is buried, whether a fault of its own ended it; else somebody killed it, or it left.
    """

    def __init__(self, reason: str, silent: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent
        self.crashed = False


def module_command(module: str, *arguments: str, beside: Sequence[str] = ()) -> list[str]:
    """The command that runs `main(*arguments)` of a module of ours, standard library only.

    The packages above it, and those named in `beside`, are not run: they stand for their folders, so that it can import
    what lies in them.
    """
    parts = module.split(".")
    folders = [".".join(parts[:end]) for end in range(1, len(parts))] + list(beside)
    return [sys.executable, "-I", "-S", "-B", "-c", _BOOT, f"{_ROOT}/", ",".join(folders), module, *arguments]


class Worker:
    """One worker process, which serves descriptor 0 and first sends the byte that says it is ready."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.command = shlex.join(command)
        self.channel, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            self.channel.close()
            raise WorkerUnavailable(f"cannot run {command[0]!r}: {error}") from error
        finally:
            theirs.close()
        self._born = time.monotonic()
        self.ready = False

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def wait_ready(self, seconds: float = START_LIMIT) -> bool:
        """Whether the worker is up within that time. Raises `Lost` if it will never be."""
        if not self.ready:
            try:
                self.channel.settimeout(max(seconds, 1e-3))
                if not self.channel.recv(1):
                    raise Lost("it ended before it was ready")
                self.ready = True
            except TimeoutError:
                if time.monotonic() - self._born >= START_LIMIT:
                    raise Lost(f"it was not ready after {START_LIMIT:g} s") from None
            except OSError as error:
                raise Lost(str(error)) from error
        return self.ready

    def worked(self) -> float:
        """Seconds of processor time that it has used, in all its threads."""
        return time.clock_gettime((~self.pid << 3) | _PROCESS_TIME)

    def crashed(self) -> bool:
        """Whether it ended, or is about to, by a signal for a fault of its own."""
        try:
            return -self._process.wait(_DYING) in _FAULTS
        except subprocess.TimeoutExpired:
            return False

    def end(self) -> None:
        """Kill the worker with its children and reap it."""
        self.channel.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def forget(self) -> None:
        """In a forked copy of the host: let go of the channel; the process belongs to the original."""
        self.channel.close()
        self._process.returncode = 0


class Leased(ABC):
    """A worker for all threads of this process, one request at a time, started at the first.

    A forked copy of the process gets a worker of its own. One made by hand is to be closed; a worker ends with its
    process in any case.
    """

    def __init__(self) -> None:
        self._leases = 0
        self._failed_starts = 0
        self._worker: Worker | None = None
        self._new_locks()
        _all.add(self)

    @abstractmethod
    def _start(self) -> Worker:
        """A new worker. Raises `WorkerUnavailable`."""

    def acquire(self) -> None:
        """Take a lease: the worker, once started, stays until every lease is released. Starts nothing."""
        with self._state:
            self._leases += 1

    def release(self) -> None:
        """Give a lease back; the last one ends the worker. Without a lease to give back it does nothing."""
        with self._state:
            last = self._leases == 1
            self._leases = max(0, self._leases - 1)
        if last:
            self.close()

    def close(self) -> None:
        """End the worker, after the request it is at. The next request starts another."""
        with self._turn:
            self._end_worker()

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker:
            worker.end()

    def _running(self) -> Worker:
        """The worker, started if there is none. To be used in `_turn`, like what follows."""
        worker = self._worker = self._worker or self._start()
        return worker

    def _bury(self, lost: Lost) -> None:
        """End a worker that was lost. Raises `WorkerUnavailable` if it was the second in a row that did not start."""
        worker = self._worker
        lost.crashed = not lost.silent and worker is not None and worker.crashed()
        self._end_worker()
        self._failed_starts = 0 if worker is None or worker.ready else self._failed_starts + 1
        if worker and self._failed_starts >= 2:
            raise WorkerUnavailable(f"a worker does not start: {lost}; run it to see why: {worker.command}") from lost

    def _new_locks(self) -> None:
        self._state = threading.Lock()
        """Guards leases and what a subclass keeps."""
        self._turn = threading.Lock()
        """Held by who uses the worker."""

    def _in_forked_child(self) -> None:
        self._new_locks()
        worker, self._worker = self._worker, None
        if worker:
            worker.forget()


_all: weakref.WeakSet[Leased] = weakref.WeakSet()


def _forget_workers() -> None:
    for each in list(_all):
        each._in_forked_child()


os.register_at_fork(after_in_child=_forget_workers)
