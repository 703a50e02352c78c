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
import hashlib
import importlib.util
import json
import os
import struct
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from tir_gym.workers import Leased, Lost, Worker, WorkerUnavailable

__all__ = ["Comparer", "Expression", "Verdict", "WorkerUnavailable", "comparer"]

Expression: TypeAlias = "Sequence[str | Expression]"

_HEADER = struct.Struct("!Id")
_MAX_REQUEST = 1 << 20
_CACHED = 4096
_GRACE = 0.15


class Verdict(StrEnum):
    """What is known about two expressions."""

    EQUAL = "equal"
    UNEQUAL = "unequal"
    UNDECIDED = "undecided"


_VERDICTS = {b"E": Verdict.EQUAL, b"U": Verdict.UNEQUAL}


class NotServed(WorkerUnavailable):
    """The worker was busy with other threads' comparisons or still starting: the expressions did not get their time."""


class Comparer(Leased):
    """Compares expressions in a worker of its own, started at the first comparison that is not cached.

    Usable from any thread, one comparison at a time. A forked copy of the process gets a worker of its own. A comparer
    made by hand is to be closed; a worker ends with its process in any case.
    """

    def __init__(self) -> None:
        super().__init__()
        self._verdicts: OrderedDict[bytes, tuple[Verdict, float]] = OrderedDict()

    def _start(self) -> Worker:
        program = Path(__file__).with_name("symbolic_worker.py")
        environment = {"PYTHONPATH": os.pathsep.join(_library_folders()), "PYTHONHASHSEED": "0"}
        return Worker([sys.executable, "-P", "-S", "-B", str(program), str(os.getpid())], environment)

    def warm(self, seconds: float) -> bool:
        """Start the worker if there is none; whether it is up and free within `seconds`. Raises `WorkerUnavailable`."""
        deadline = time.monotonic() + seconds
        if not self._turn.acquire(timeout=max(seconds, 0)):
            return False
        try:
            return self._running().wait_ready(deadline - time.monotonic())
        except Lost:
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
            worker = self._running()
            try:
                if not worker.wait_ready(deadline - time.monotonic()):
                    raise NotServed("the worker is still starting")
                seconds = max(deadline - time.monotonic(), 0.05)
                return _reply(worker, request, seconds), seconds
            except Lost as lost:
                self._bury(lost)
            except NotServed:
                raise
            except BaseException:  # interrupted: the reply would be taken for that of the next comparison
                self._end_worker()
                raise
        return b"", 0.0


def _reply(worker: Worker, request: bytes, seconds: float) -> bytes:
    """The worker's reply, one byte. Raises `Lost`."""
    try:
        worker.channel.settimeout(seconds + _GRACE)
        worker.channel.sendall(_HEADER.pack(len(request), seconds) + request)
        reply = worker.channel.recv(1)
    except OSError as error:
        raise Lost(str(error)) from error
    if not reply:
        raise Lost("the worker ended")
    return reply


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
