"""`ForkServer`: untrusted Python in jailed processes forked from one warm interpreter."""

import atexit
import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tir_gym.core.interfaces import Executor, ExecutorUnavailable, Limits, Session, ToolSignature
from tir_gym.executors.forked import ForkedSession
from tir_gym.executors.process import NoNamespacesError, Preload, ServerProcess, profile
from tir_gym.executors.report import observe


class _State:
    """What a `ForkServer` has in this process: leases, the server, open sessions."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.leases = 0
        self.server: ServerProcess | None = None
        self.sessions: weakref.WeakSet[ForkedSession] = weakref.WeakSet()
        self.spares: deque[ForkedSession] = deque()
        self.shape: Limits | None = None
        _STATES.add(self)

    def take(self, server: ServerProcess, limits: Limits, spare: int) -> ForkedSession:
        """A session for `limits`, started ahead if there is one; then have `spare` more of the kind on the way."""
        if self.shape != limits:
            self.drop_spares()
            self.shape = limits
        found = None
        while self.spares and found is None:
            first = self.spares.popleft()
            found = first if first.waits() else None
        found = found or ForkedSession.start(server, limits, self.sessions.add)
        while len(self.spares) < spare:
            self.spares.append(ForkedSession.start(server, limits, self.sessions.add))
        return found

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

    def __del__(self) -> None:
        self.stop()

    def forget(self) -> None:
        """After `os.fork`, in the child: the parent's server is not ours."""
        for session in list(self.sessions):
            session.forget()
        if self.server is not None:
            self.server.forget()
        self.__init__()  # type: ignore[misc]


_ALLOW_NAMESPACES = (
    "Allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0) "
    "or run as root"
)
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
    among them; it takes namespaces, and such sessions cannot be copied live. `spare`: how many sessions of the limits
    last asked for are kept ready, so that opening one costs no start.

    >>> executor = ForkServer(preload=())
    >>> with executor.leased():
    ...     session = executor.open(Limits(), seed=0)
    ...     session.close()
    """

    preload: Preload = "lean"
    packages: tuple[str, ...] = ()
    namespaces: bool = True
    programs: bool = False
    spare: int = 4

    def __post_init__(self) -> None:
        if isinstance(self.spare, bool) or not isinstance(self.spare, int) or self.spare < 0:
            raise ValueError(f"spare={self.spare!r} must be a whole number, 0 or more")
        object.__setattr__(self, "preload", profile(self.preload))
        object.__setattr__(self, "_state", _State())

    def __reduce__(self) -> tuple[Any, ...]:
        return ForkServer, (self.preload, self.packages, self.namespaces, self.programs, self.spare)

    @property
    def runs_programs(self) -> bool:
        """Whether sessions may start programs."""
        return self.programs

    @property
    def _own(self) -> _State:
        state: _State = self.__dict__["_state"]
        return state

    @contextlib.contextmanager
    def leased(self) -> Iterator[Self]:
        """`acquire` on entry, `release` on exit."""
        self.acquire()
        try:
            yield self
        finally:
            self.release()

    def acquire(self) -> Self:
        """Take a lease; the first starts the server. Raises `ExecutorUnavailable`."""
        state = self._own
        with state.lock:
            if state.leases == 0:
                self._start()
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
        why = "asked for with namespaces=False"
        try:
            if self.programs and not self.namespaces:
                raise NoNamespacesError(why)
            server = ServerProcess(self.preload, self.packages, self.namespaces, self.programs)
        except NoNamespacesError as error:
            why = str(error)
            if self.programs:
                raise ExecutorUnavailable(f"programs=True needs namespaces ({why}). {_ALLOW_NAMESPACES}") from None
            server = ServerProcess(self.preload, self.packages, False)
        server.hello["why"] = why
        try:
            refuse_if_weak(server.hello)
        except ExecutorUnavailable:
            server.close()
            raise
        self._own.server = server
        return server

    def open(self, limits: Limits, seed: int, tools: Sequence[ToolSignature] = ()) -> ForkedSession:
        """Start a session; returns at once. Raises `ExecutorUnavailable`, or `RuntimeError` without a lease."""
        state = self._own
        with state.lock:
            if state.leases == 0:
                raise RuntimeError("open() without a lease; call acquire() first")
            server = state.server
            if server is None or not server.alive():
                state.drop_spares()
                if server is not None:
                    server.close()
                server = self._start()
            session = state.take(server, limits, self.spare)
        session.begin(seed, tools)
        return session

    def report(self) -> dict[str, str]:
        """Each layer -> "enforced" or "missing: why, mend", from attacks run in a real session (about a second)."""
        with self.leased():
            server = self._own.server
            assert server is not None
            limits = Limits(wall_s=20.0, memory_mb=256, disk_mb=4)
            session = self.open(limits, seed=0)
            try:
                return observe(session, server.hello, limits.disk_mb << 20, limits.memory_mb << 20)
            finally:
                session.close()


def refuse_if_weak(hello: dict[str, Any]) -> None:
    """Raise `ExecutorUnavailable` where neither namespaces nor Landlock with seccomp hold sessions."""
    if hello["namespaces"]:
        return
    lacks = []
    if not hello["landlock"]:
        lacks.append("Landlock (Linux 5.13 or later, with landlock among the kernel's lsm=)")
    if hello["seccomp"]:
        lacks.append(f"seccomp ({hello['seccomp']})")
    if lacks:
        raise ExecutorUnavailable(
            f"no namespaces ({hello['why']}), and missing: {', '.join(lacks)}. {_ALLOW_NAMESPACES}"
        )


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
