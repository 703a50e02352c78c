"""`ForkServer`: untrusted Python in jailed processes forked from one warm interpreter."""

import atexit
import functools
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from tir_gym.core.interfaces import Executor, ExecutorUnavailable, Limits, Session, ToolSignature
from tir_gym.executors.durable import DurableSession
from tir_gym.executors.forked import ForkedSession
from tir_gym.executors.process import (
    NoNamespacesError,
    Preload,
    ServerProcess,
    package_names,
    profile,
    require_whole,
    wait_readable,
)
from tir_gym.executors.report import TRIAL, observe
from tir_gym.executors.roster import Roster
from tir_gym.executors.tiers import admit, tier_named


class _State:
    """What a `ForkServer` has in this process: leases, the server, open sessions."""

    def __init__(self, live: int) -> None:
        self.roster = Roster(live)
        self.lock = self.roster.lock
        self.leases = 0
        self.server: ServerProcess | None = None
        self.tier = ""
        self.sessions: weakref.WeakSet[DurableSession | ForkedSession] = weakref.WeakSet()
        self.spares: deque[ForkedSession] = deque()
        self.shape: Limits | None = None
        _STATES.add(self)

    def take(self, server: ServerProcess, limits: Limits, spare: int) -> ForkedSession:
        """A session for `limits`, started ahead if there is one.

        Where those run short, it has as many as `spare` made ready while its first submission runs: several at a time,
        so that most openings pay for none.
        """
        if self.shape != limits:
            self.drop_spares()
            self.shape = limits
        found = None
        while self.spares and found is None:
            first = self.spares.popleft()
            found = first if first.waits() else None
        found = found or ForkedSession.start(server, limits, self.sessions.add)
        if len(self.spares) <= spare // 4 < spare:
            found.meanwhile = functools.partial(self.restock, server, limits, spare)
        return found

    def restock(self, server: ServerProcess, limits: Limits, spare: int) -> None:
        """Have as many as `spare` sessions on the way, if they are still what is asked for."""
        with self.lock:
            while len(self.spares) < spare and self.shape == limits and self.server is server and not server.dead:
                self.spares.append(ForkedSession.start(server, limits, self.sessions.add, later=True))

    def drop_spares(self) -> None:
        while self.spares:
            self.spares.popleft().close()

    def stop(self) -> None:
        self.drop_spares()
        for session in list(self.sessions):
            session.close()
        if self.server is not None:
            self.server.close()
            self.server = None
            self.tier = ""

    def __del__(self) -> None:
        self.stop()

    def forget(self) -> None:
        """After `os.fork`, in the child: the parent's server is not ours."""
        for session in list(self.sessions):
            session.forget()
        if self.server is not None:
            self.server.forget()
        self.__init__(self.roster.bound)  # type: ignore[misc]


_ALLOW_NAMESPACES = (
    "Allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0) "
    "or run as root"
)
_IDLE_MB = 4
"""What an idle session takes of its own, with what the kernel has for it (definition by this project)."""
_ROOM = 2
"""Times what idle sessions take: an advice that leaves room for work (definition by this project)."""
_STATES: "weakref.WeakSet[_State]" = weakref.WeakSet()
_SHARED: dict[Executor, Executor] = {}
_SHARED_LOCK = threading.Lock()


@dataclass(frozen=True)
class ForkServer(Executor):
    """Sessions forked from one warm, jailed interpreter; equal configurations are equal, hashable and picklable.

    `preload`: packages imported and exercised before the first fork, or a profile's name: "lean" (numpy, sympy) or
    "full" (mpmath, scipy, networkx and pandas, too). `packages`: further ones sessions may import. Sessions see the
    standard library and these, nothing else. `namespaces=False` does without namespaces, as in a container that allows
    none (weaker; for tests of that tier). `programs=True`: sessions may start programs of the machine's /usr/bin, bash
    among them; it takes namespaces, and such sessions cannot be copied live.

    `spare`: how many sessions of the limits last asked for are kept ready, so that opening one costs no start; it does
    not count for equality. `live`: about how many sessions have a process at once (0: each has one); the others, used
    less recently, come back by replay of what was asked of them, see `executors.durable`. When the server
    dies, sessions come back in the same way.

    `min_tier`: the least of "A", "A-", "B", "C", "unsafe" (`tiers.Tier`) at which code may run, as found by attacks in
    a session of its own at each start. `pool_memory_mb`, `pool_tasks`: what all sessions and the server (some 80 MB
    with "lean") may take together where cgroups can be made; 0 is half of what the host has. Memory that holds no more
    than the server and its spares is refused at the start.

    >>> executor = ForkServer(preload=())
    >>> with executor.leased():
    ...     session = executor.open(Limits(), seed=0)
    ...     session.close()
    """

    preload: Preload = "lean"
    packages: tuple[str, ...] = ()
    namespaces: bool = True
    programs: bool = False
    spare: int = field(default=4, compare=False)
    live: int = 0
    min_tier: str = "B"
    pool_memory_mb: int = 0
    pool_tasks: int = 0

    def __post_init__(self) -> None:
        require_whole(self, "spare", "live", "pool_memory_mb", "pool_tasks")
        tier_named(self.min_tier)
        object.__setattr__(self, "preload", profile(self.preload))
        object.__setattr__(self, "packages", package_names("packages", self.packages))
        object.__setattr__(self, "_state", _State(self.live))

    def __reduce__(self) -> tuple[Any, ...]:
        return ForkServer, tuple(getattr(self, item.name) for item in fields(self))

    @property
    def runs_programs(self) -> bool:
        """Whether sessions may start programs."""
        return self.programs

    @property
    def _own(self) -> _State:
        state: _State = self.__dict__["_state"]
        return state

    def acquire(self) -> Self:
        """Take a lease; the first starts the server. Raises `ExecutorUnavailable`."""
        state = self._own
        with state.lock:
            if state.leases == 0:
                state.server = self._start()
            state.leases += 1
        return self

    def release(self) -> None:
        """Give a lease back; the last closes every session and returns when all processes are gone."""
        state = self._own
        with state.lock:
            if state.leases == 0:
                return
            state.leases -= 1
            if state.leases == 0:
                state.stop()

    def _start(self) -> ServerProcess:
        """A server that has been attacked in vain, and has room where a bound is asked for: then it is warm, too."""
        if not self.pool_memory_mb:
            return self._launch(0)
        try:
            server, whole = self._launch(self.pool_memory_mb), True
            least = self._least(server) if not server.hello["cgroup"] else 0
        except ExecutorUnavailable:
            server, whole = self._launch(0), False
            least = self._least(server)
            if least <= self.pool_memory_mb:
                server.close()
                raise
        if whole and least <= self.pool_memory_mb:
            return server
        server.close()
        raise ExecutorUnavailable(
            f"pool_memory_mb={self.pool_memory_mb} is too little for the fork server with preload={self.preload!r} "
            f"and {self.spare + 1} idle sessions: they take some {least} MB; allow {least * _ROOM} or more"
        )

    def _least(self, server: ServerProcess) -> int:
        """MB that a server needs with its spares and one session more. Raises `ExecutorUnavailable`; it is closed."""
        try:
            return -(-server.warm() >> 20) + _IDLE_MB * (self.spare + 1)
        except BaseException:
            server.close()
            raise

    def _launch(self, memory_mb: int) -> ServerProcess:
        why = "asked for with namespaces=False"
        pool = memory_mb << 20, self.pool_tasks
        try:
            if self.programs and not self.namespaces:
                raise NoNamespacesError(why)
            server = ServerProcess(self.preload, self.packages, self.namespaces, self.programs, pool)
        except NoNamespacesError as error:
            why = str(error)
            if self.programs:
                raise ExecutorUnavailable(f"programs=True needs namespaces ({why}). {_ALLOW_NAMESPACES}") from None
            server = ServerProcess(self.preload, self.packages, False, False, pool)
        server.hello["why"] = why
        try:
            trial = ForkedSession.start(server, TRIAL, self._own.sessions.add)
            trial.begin(0, ())
            report = observe(trial, server.hello)
            trial.held.end()
            while trial.fileno() >= 0:
                wait_readable(trial.fileno(), time.monotonic() + 1.0)
                trial.events()
            admit(report, tier_named(self.min_tier))
        except BaseException:
            server.close()
            raise
        server.send({"t": "tried"})
        self._own.tier = report["tier"]
        return server

    @property
    def tier(self) -> str:
        """See `Executor.tier`."""
        return self._own.tier

    def open(self, limits: Limits, seed: int, tools: Sequence[ToolSignature] = ()) -> DurableSession:
        """Start a session; returns at once. Raises `ExecutorUnavailable`, or `RuntimeError` without a lease."""
        fresh = functools.partial(self._fresh, limits, seed, tuple(tools))
        state = self._own
        with state.lock:
            self._require_lease()
            return DurableSession(fresh, limits, state.roster, state.sessions.add).start()

    def _fresh(self, limits: Limits, seed: int, tools: Sequence[ToolSignature]) -> ForkedSession:
        with self._own.lock:
            session = self._own.take(self._serving(), limits, self.spare)
        session.begin(seed, tools)
        return session

    def _require_lease(self) -> None:
        if self._own.leases == 0:
            raise RuntimeError("open() without a lease; call acquire() first")

    def _serving(self) -> ServerProcess:
        """The server, started anew where it has died."""
        self._require_lease()
        state = self._own
        if state.server is None or not state.server.alive():
            state.drop_spares()
            if state.server is not None:
                state.server.close()
            state.server = self._start()
        return state.server

    def report(self) -> dict[str, str]:
        """See `Executor.report`; takes some 20 ms, and a start where there is no lease."""
        with self.leased():
            server = self._own.server
            assert server is not None
            session = ForkedSession.start(server, TRIAL, self._own.sessions.add)
            session.begin(0, ())
            try:
                return observe(session, server.hello)
            finally:
                session.close()


def shared(executor: Executor) -> Executor:
    """The instance of this process that stands for every executor equal to `executor`; they share its server."""
    with _SHARED_LOCK:
        return _SHARED.setdefault(executor, executor)


def _after_fork() -> None:
    global _SHARED_LOCK
    _SHARED_LOCK = threading.Lock()
    for state in list(_STATES):
        state.forget()


def _at_exit() -> None:
    for state in list(_STATES):
        state.stop()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
__all__ = ["ForkServer", "Session", "shared"]
