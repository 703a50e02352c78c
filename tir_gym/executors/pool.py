"""Executors that give each session a process of its own, started ahead of demand, with a `keeper` inside.

What differs between them is how that process is started and how it is buried. The sessions are the fork server's:
the same interpreter, the same frames.
"""

import atexit
import dataclasses
import os
import threading
import weakref
from abc import abstractmethod
from collections import deque
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar, Self

from tir_gym.core.interfaces import Executor, Limits, ToolSignature
from tir_gym.executors.cell import Cell
from tir_gym.executors.process import Preload, profile, require_whole, wait_readable
from tir_gym.executors.report import TRIAL, observe
from tir_gym.executors.session import GuestSession, orders
from tir_gym.executors.tiers import Tier, admit, tier_named

_KNOWN = {
    "fixed_addresses": False,
    "cgroup": "use ForkServer, or bound the whole host",
    "weak": {"addresses": "missing: they differ from run to run; use ForkServer for the same repr() of objects"},
}


class _State:
    """What an executor has in this process. Starts and burials each have a thread, off everybody's way."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.leases = 0
        self.starter: ThreadPoolExecutor | None = None
        self.undertaker: ThreadPoolExecutor | None = None
        self.engine: Any = None
        self.shape: Hashable = None
        self.tier = ""
        self.spares: deque[Future[Cell]] = deque()
        self.sessions: weakref.WeakSet[GuestSession] = weakref.WeakSet()
        self.dropped: deque[Cell] = deque()
        _STATES.add(self)

    def begin(self) -> None:
        """Have threads; the starter lives as long as what it starts, which the kernel may kill with it."""
        self.starter, self.undertaker = (ThreadPoolExecutor(1, f"tir_gym-{name}") for name in ("start", "bury"))

    def bury(self, cell: Cell) -> None:
        """Have a cell buried; at the end of the interpreter, when there are no threads any more, do it here."""
        try:
            if self.undertaker is None:
                raise RuntimeError
            self.undertaker.submit(cell.bury)
        except RuntimeError:
            cell.bury()

    def clear_spares(self) -> None:
        """End what was started ahead, and what sessions left that nobody closed."""
        while self.spares:
            spare = self.spares.popleft()
            if not spare.cancel() and spare.exception() is None:
                spare.result().channel.close()
                self.bury(spare.result())
        while self.dropped:
            self.bury(self.dropped.popleft())

    def stop(self) -> None:
        """End everything; returns when it is gone."""
        for session in list(self.sessions):
            session.close()
        self.clear_spares()
        for threads in (self.undertaker, self.starter):
            if threads is not None:
                threads.shutdown()
        self.undertaker = self.starter = None
        if self.engine is not None:
            self.engine.close()
            self.engine = None
        self.tier = ""

    def forget(self) -> None:
        """After `os.fork`, in the child: what the parent started is not ours."""
        for session in list(self.sessions):
            session.forget()
        for spare in self.spares:
            if spare.done() and not spare.cancelled() and spare.exception() is None:
                spare.result().channel.close()
        self.__init__()  # type: ignore[misc]


_STATES: "weakref.WeakSet[_State]" = weakref.WeakSet()


class PooledExecutor(Executor):
    """The part that such executors share. Subclasses are frozen dataclasses, so equal, hashable and picklable.

    `open` takes a spare, or waits for a start where there is none; `spare` cells are kept ready for limits as last
    asked for. `min_tier`: the least at which code may run, as of `ForkServer`.
    """

    preload: Preload
    spare: int
    min_tier: str
    why: ClassVar[str] = ""
    """Why there may be no namespaces, for the report."""
    namespaces: ClassVar[bool] = True
    best: ClassVar[Tier] = Tier.A
    """The tier that is claimed at most, whatever attacks show."""

    def __post_init__(self) -> None:
        require_whole(self, "spare")
        tier_named(self.min_tier)
        object.__setattr__(self, "preload", profile(self.preload))
        object.__setattr__(self, "_state", _State())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, field.name) for field in dataclasses.fields(self))  # type: ignore[arg-type]

    @property
    def _own(self) -> _State:
        state: _State = self.__dict__["_state"]
        return state

    @abstractmethod
    def _prepare(self) -> Any:
        """Check what a first lease needs; returns something to `close`, or None. Raises `ExecutorUnavailable`."""

    @abstractmethod
    def _start(self, limits: Limits) -> Cell:
        """Start a cell and greet it; called in the starter's thread. Raises `ExecutorUnavailable`."""

    def _shape(self, limits: Limits) -> Hashable:
        """The part of `limits` that a cell must know when it starts."""
        return None

    def acquire(self) -> Self:
        """Take a lease; the first starts a session's process and attacks from it. Raises `ExecutorUnavailable`."""
        state = self._own
        with state.lock:
            if state.leases == 0:
                state.engine = self._prepare()
                state.begin()
                try:
                    self._try()
                except BaseException:
                    state.stop()
                    raise
            state.leases += 1
        return self

    def _try(self) -> None:
        """See in a cell of its own what holds; then that cell is gone, and the first spare is on its way."""
        state = self._own
        if self.best is Tier.UNSAFE:
            self._stock(Limits(), 1)
            state.spares[0].result()
            state.tier = Tier.UNSAFE.value
            return
        assert state.starter is not None
        assert state.undertaker is not None
        trial = state.starter.submit(self._start, TRIAL)
        self._stock(Limits(), 1)
        cell = trial.result()
        session = self._furnish(cell, TRIAL, 0, ())
        report = self._observe(session)
        session.close()
        admit(report, tier_named(self.min_tier), self.best)
        state.undertaker.submit(int).result()
        state.tier = report["tier"]

    def release(self) -> None:
        """Give a lease back; the last returns when every process, descriptor and directory is gone."""
        state = self._own
        with state.lock:
            if state.leases == 0:
                return
            state.leases -= 1
            if state.leases == 0:
                state.stop()

    def _stock(self, limits: Limits, wanted: int) -> None:
        """Have at least `wanted` cells for `limits` on the way or ready."""
        state = self._own
        if state.shape != self._shape(limits):
            state.clear_spares()
            state.shape = self._shape(limits)
        while len(state.spares) < wanted:
            assert state.starter is not None
            state.spares.append(state.starter.submit(self._start, limits))

    def open(self, limits: Limits, seed: int, tools: Sequence[ToolSignature] = ()) -> GuestSession:
        """Start a session. Raises `ExecutorUnavailable`, or `RuntimeError` without a lease."""
        return self._furnish(self._take(limits), limits, seed, tools)

    def _furnish(self, cell: Cell, limits: Limits, seed: int, tools: Sequence[ToolSignature]) -> GuestSession:
        session = GuestSession(cell.channel, cell, limits)
        self._own.sessions.add(session)
        session.tell({"t": "open", "limits": orders(limits)})
        session.tell({"t": "secret", "secret": session.secret.hex()})
        session.begin(seed, tools)
        return session

    def _take(self, limits: Limits) -> Cell:
        state = self._own
        while True:
            with state.lock:
                if state.leases == 0:
                    raise RuntimeError("open() without a lease; call acquire() first")
                while state.dropped:
                    state.bury(state.dropped.popleft())
                self._stock(limits, 1)
                first = state.spares.popleft()
                self._stock(limits, self.spare)
            cell = first.result()
            if not wait_readable(cell.channel.fileno(), 0.0):
                return cell
            cell.channel.close()  # it speaks unasked: it died while it waited
            state.bury(cell)

    def report(self) -> dict[str, str]:
        """See `Executor.report`."""
        with self.leased():
            session = self.open(TRIAL, seed=0)
            try:
                return self._observe(session)
            finally:
                session.close()

    def _observe(self, session: GuestSession) -> dict[str, str]:
        cell = session.held
        assert isinstance(cell, Cell)
        return observe(session, cell.hello | _KNOWN | {"why": self.why, "namespaces": self.namespaces}, self.best)

    @property
    def tier(self) -> str:
        """See `Executor.tier`."""
        return self._own.tier


def _after_fork() -> None:
    for state in list(_STATES):
        state.forget()


def _at_exit() -> None:
    for state in list(_STATES):
        state.stop()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
