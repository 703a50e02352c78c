"""Whether two mathematical expressions, given as small trees, are equal: decided in a worker that can be killed.

`comparer().equal(left, right)` sends both trees to `symbolic_worker`, a fresh interpreter with mpmath and sympy that
forks a limited child for every comparison. Nothing is evaluated here and neither library is imported here.

Expressions (lists or tuples):

- `["n", "3"]`, `["n", "-1/2"]`: an exact rational; `["v", "x"]`: a symbol; `["c", "pi" | "e" | "i" | "oo"]`;
- `["+", a, ...]`, `["*", a, ...]`, `["^", base, exponent]`;
- `["f", name, argument, ...]` with a name of sin cos tan cot sec csc asin acos atan sinh cosh tanh exp ln
  log(argument, base) abs floor ceil factorial binomial.

What "equal" means (definition by this project):

- Symbols stand for real numbers, and two sides are compared where both are real: `|x|` equals `sqrt(x^2)` and `x` does
  not; `log(x^2)` equals `2 log(x)`, whose domain is smaller. If `i` occurs, if there are no symbols, or if there is no
  such point, principal values count: `(-8)^(1/3)` is not `-2` (a real odd root must be built as `-(8^(1/3))`).
- Gaps do not count: `x/x` equals 1. `0^0` is 1. What has no value anywhere (division by zero, `oo - oo`) equals
  nothing, itself included; `oo` equals `oo` and differs from `-oo`.
- Two rationals are compared exactly. Other constants are equal if they agree to 60 digits, expressions with symbols if
  they agree at 5 fixed points (exactly where they are rational, else to 60 digits) and differ at none before: a
  probabilistic identity test in the spirit of Schwartz and Zippel. Sympy proves or refutes some of what is then open.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.util
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

__all__ = ["Comparer", "Expression", "Verdict", "WorkerUnavailable", "comparer"]

Expression: TypeAlias = "Sequence[str | Expression]"

_HEADER = struct.Struct("!Id")
_MAX_REQUEST = 1 << 20
_CACHED = 4096
_GRACE = 0.15
_START_LIMIT = 30.0


class Verdict(StrEnum):
    """What is known about two expressions."""

    EQUAL = "equal"
    UNEQUAL = "unequal"
    UNDECIDED = "undecided"


_VERDICTS = {b"E": Verdict.EQUAL, b"U": Verdict.UNEQUAL}


class WorkerUnavailable(RuntimeError):  # noqa: N818
    """The worker cannot be started, or does not find 1 equal to 1 when it is: no fault of the expressions."""


class NotServed(WorkerUnavailable):
    """The worker was busy with other threads' comparisons or still starting: the expressions did not get their time."""


class _Lost(Exception):  # noqa: N818
    """The worker ended or fell silent."""


class _Worker:
    """One worker process and the channel to it."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("symbolic_worker.py")
        self._command = [sys.executable, "-P", "-S", "-B", str(program), str(os.getpid())]
        environment = {"PYTHONPATH": os.pathsep.join(_library_folders()), "PYTHONHASHSEED": "0"}
        self._channel, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603
                self._command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            self._channel.close()
            raise WorkerUnavailable(f"cannot run {sys.executable!r} for symbolic comparison: {error}") from error
        finally:
            theirs.close()
        self._born = time.monotonic()
        self.ready = False

    def wait_ready(self, deadline: float) -> bool:
        """Whether the worker is up by the deadline. Raises `_Lost` if it will never be."""
        if not self.ready:
            try:
                self._channel.settimeout(max(deadline - time.monotonic(), 1e-3))
                if not self._channel.recv(1):
                    raise _Lost(f"{' '.join(self._command)} ended before it was ready")
                self.ready = True
            except TimeoutError:
                if time.monotonic() - self._born > _START_LIMIT:
                    raise _Lost(f"{' '.join(self._command)} was not ready after {_START_LIMIT:g} s") from None
            except OSError as error:
                raise _Lost(str(error)) from error
        return self.ready

    def ask(self, request: bytes, seconds: float) -> bytes:
        """The worker's reply, one byte. Raises `_Lost`."""
        try:
            self._channel.settimeout(seconds + _GRACE)
            self._channel.sendall(_HEADER.pack(len(request), seconds) + request)
            reply = self._channel.recv(1)
        except OSError as error:
            raise _Lost(str(error)) from error
        if not reply:
            raise _Lost("the worker ended")
        return reply

    def end(self) -> None:
        """Kill the worker with its children and reap it."""
        self._channel.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def forget(self) -> None:
        """In a forked copy of the host: let go of the channel; the process belongs to the original."""
        self._channel.close()
        self._process.returncode = 0


class Comparer:
    """Compares expressions in a worker of its own, started at the first comparison that is not cached.

    Usable from any thread, one comparison at a time. A forked copy of the process gets a worker of its own. A comparer
    made by hand is to be closed; a worker ends with its process in any case.
    """

    def __init__(self) -> None:
        self._leases = 0
        self._failed_starts = 0
        self._worker: _Worker | None = None
        self._verdicts: OrderedDict[bytes, tuple[Verdict, float]] = OrderedDict()
        self._new_locks()
        _comparers.add(self)

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
        """End the worker, after the comparison it is at. The next comparison starts another."""
        with self._turn:
            self._end_worker()

    def warm(self, seconds: float) -> bool:
        """Start the worker if there is none; whether it is up and free within `seconds`. Raises `WorkerUnavailable`."""
        deadline = time.monotonic() + seconds
        if not self._turn.acquire(timeout=max(seconds, 0)):
            return False
        try:
            self._worker = self._worker or _Worker()
            return self._worker.wait_ready(deadline)
        except _Lost:
            self._end_worker()
            return False
        finally:
            self._turn.release()

    def equal(self, left: Expression, right: Expression, seconds: float = 0.7) -> Verdict:
        """Whether two expressions are equal, known within `seconds` (at most about 0.2 s later).

        `Verdict.UNDECIDED` if time or memory did not suffice; verdicts are remembered. Raises `NotServed` if other
        threads' comparisons or the worker's start took most of the time, `WorkerUnavailable` if no worker can be
        started.
        """
        deadline = time.monotonic() + seconds
        sides = sorted(json.dumps(side, separators=(",", ":")) for side in (left, right))
        request = f"[{sides[0]},{sides[1]}]".encode()
        key = hashlib.sha256(request).digest()
        with self._state:
            if key in self._verdicts:
                verdict, given = self._verdicts[key]
                if given >= seconds:
                    self._verdicts.move_to_end(key)
                    return verdict
        if len(request) > _MAX_REQUEST:
            return Verdict.UNDECIDED
        if not self._turn.acquire(timeout=seconds):
            raise NotServed(f"other comparisons kept the worker for {seconds:g} s")
        try:
            reply, given = self._ask(request, deadline)
        finally:
            self._turn.release()
        verdict = _VERDICTS.get(reply, Verdict.UNDECIDED)
        if reply in (b"E", b"U", b"D"):
            given = float("inf")
        elif not reply:
            return verdict
        elif given >= 0.8 * seconds:
            given = seconds
        else:
            raise NotServed(f"of {seconds:g} s the expressions had {given:.2g} s; other comparisons had the rest")
        with self._state:
            self._verdicts[key] = verdict, given
            self._verdicts.move_to_end(key)
            if len(self._verdicts) > _CACHED:
                self._verdicts.popitem(last=False)
        return verdict

    def _ask(self, request: bytes, deadline: float) -> tuple[bytes, float]:
        """The reply and the seconds it was given; no reply if the worker was lost thrice. Raises `NotServed`."""
        for _ in range(3):
            self._worker = self._worker or _Worker()
            try:
                if not self._worker.wait_ready(deadline):
                    raise NotServed("the worker is still starting")
                self._failed_starts = 0
                seconds = max(deadline - time.monotonic(), 0.05)
                return self._worker.ask(request, seconds), seconds
            except _Lost as lost:
                self._failed_starts += not self._worker.ready
                self._end_worker()
                if self._failed_starts >= 2:
                    raise WorkerUnavailable(f"symbolic comparison has no worker: {lost}; run it to see why") from lost
            except NotServed:
                raise
            except BaseException:  # interrupted: the reply would be taken for that of the next comparison
                self._end_worker()
                raise
        return b"", 0.0

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker:
            worker.end()

    def _new_locks(self) -> None:
        self._state = threading.Lock()
        """Guards leases and verdicts."""
        self._turn = threading.Lock()
        """Held by who uses the worker."""

    def _in_forked_child(self) -> None:
        self._new_locks()
        worker, self._worker = self._worker, None
        if worker:
            worker.forget()


_comparers: weakref.WeakSet[Comparer] = weakref.WeakSet()


def _forget_workers() -> None:
    for each in list(_comparers):
        each._in_forked_child()


os.register_at_fork(after_in_child=_forget_workers)


def _library_folders() -> list[str]:
    """Where sympy and mpmath lie. Raises `WorkerUnavailable` if one is not installed."""
    folders: list[str] = []
    for name in ("sympy", "mpmath"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise WorkerUnavailable(f"symbolic comparison needs {name}, which is not installed")
        folder = str(Path(spec.origin).parents[1])
        if folder not in folders:
            folders.append(folder)
    return folders


def comparer() -> Comparer:
    """The comparer of this process."""
    return _comparer


_comparer = Comparer()
atexit.register(_comparer.close)
