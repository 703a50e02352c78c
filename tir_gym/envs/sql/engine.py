"""Runs SQL of a policy, or of a file, in a worker process that can be killed: `engine().run(...)`.

`worker` says what keeps a statement in bounds. This side ends what the worker itself cannot: a statement that answers
neither its instruction limit nor its deadline is ended with the process, and the next one gets a new worker.
Nothing of a statement is run in this process, and nothing but JSON is read from the worker.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tir_gym.envs.sql.worker.serve import HEADER

NOW = "2025-06-15 12:00:00"
"""The moment at which the clock of a database stands where its task says nothing else (definition by this project)."""
_GRACE = 0.5
_START_LIMIT = 30.0
_LOAD_LIMIT = 60.0
_ROOT = Path(__file__).parents[2]
_BOOT = """import sys, types
for name in ("tir_gym", "tir_gym.envs", "tir_gym.envs.sql"):
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [sys.argv[1] + name[7:].replace(".", "/")]
from tir_gym.envs.sql.worker.serve import main
main(int(sys.argv[2]))
"""
"""Starts the worker without importing this package: the packages above it stand for their folders only."""


class EngineUnavailable(RuntimeError):  # noqa: N818
    """SQL cannot be run here, or a database cannot be opened: no fault of the statement."""


class Source(Protocol):
    """A database that the engine can open."""

    @property
    def key(self) -> str:
        """Its name; equal keys stand for equal content."""

    @property
    def path(self) -> str:
        """The file it lies in, "" where `content` gives the bytes of one."""

    def content(self) -> bytes:
        """The bytes of a SQLite file; b"" where there is a path."""


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """Bounds of one statement. A row more, or a byte more once there is a row, is counted but not returned."""

    rows: int = 200
    bytes: int = 64_000
    ops: int = 20_000_000
    """Virtual machine instructions, counted in steps of 10,000: the same on every machine."""
    seconds: float = 5.0
    """Wall-clock time; a second guard, which a slow machine may reach before `ops`."""
    count: int = 10_000
    """Rows beyond this many are not even counted."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a statement returned: rows in order, with duplicates; a blob is `{"hex": digits}`.

    `count` is the number of rows there are, of which `rows` are the first; `more` says that even more were not counted.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    count: int
    more: bool = False
    changed: int = -1
    """Rows that it wrote, by triggers and references as well; -1 for a statement that only reads."""
    ops: int = field(default=0, compare=False)
    """Instructions it took, in steps of 10,000."""

    @property
    def whole(self) -> bool:
        """Whether every row is here."""
        return self.count == len(self.rows) and not self.more


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a statement returned nothing.

    `kind` is `sql` (SQLite's own complaint), `refused` (not allowed: `message` names what), `ops` or `time` (too long),
    `killed` (the worker had to be ended), `memory`, or `space` (the database would grow too large).
    """

    kind: str
    message: str


Result = Table | Failure
Rows = tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """How a table, view or trigger differs between two states of a database.

    `before` and `after` say what it is, one column, index or reference (or its SQL) a line; () where it is not there.
    `removed` and `added` are rows as bags, sorted: a row that was changed is in both, with its old and new values.
    """

    name: str
    """In small letters."""
    kind: str
    """`table`, `view` or `trigger`."""
    before: tuple[str, ...]
    after: tuple[str, ...]
    removed: Rows
    added: Rows


@dataclass(frozen=True, slots=True)
class Changes:
    """How two states of a database differ, by name; `more` says that rows beyond the limits are left out.

    `digest` is a hash of all of it, "" for no difference.
    """

    tables: tuple[Change, ...]
    more: bool
    digest: str


@dataclass(frozen=True, slots=True)
class State:
    """A state of a database that is written to: the statements that changed it since `base`, in order.

    `session` is the worker's name for it, given by `Engine.session`; the worker makes the state anew from `log` where
    it does not have it (any more).
    """

    session: int
    base: Source
    log: tuple[str, ...] = ()


_REPLAY = QueryLimits(rows=0, ops=1 << 62, seconds=_LOAD_LIMIT)


class _Lost(Exception):  # noqa: N818
    """The worker ended, or fell silent (`silent`)."""

    def __init__(self, reason: str, silent: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent


class _Worker:
    """One worker process, the channel to it, and the keys that it was given."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", "-B", "-c", _BOOT, f"{_ROOT}/", str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"TZ": "UTC"},
                start_new_session=True,
            )
        except OSError as error:
            self._channel.close()
            raise EngineUnavailable(f"cannot run {sys.executable!r} as a SQL worker: {error}") from error
        finally:
            theirs.close()
        self._replies = self._channel.makefile("rb")
        self.ready = False

    def ask(self, request: dict[str, Any], blob: bytes, seconds: float) -> dict[str, Any]:
        """The reply, or `_Lost` after that time. The first one waits for the start as well."""
        text = json.dumps(request, separators=(",", ":")).encode()
        try:
            if not self.ready:
                self._channel.settimeout(_START_LIMIT)
                if not self._replies.read(1):
                    raise _Lost("it ended before it was ready")
                self.ready = True
            self._channel.settimeout(seconds)
            self._channel.sendall(HEADER.pack(len(text), len(blob)) + text)
            if blob:
                self._channel.sendall(blob)
            header = self._replies.read(HEADER.size)
            reply = self._replies.read(HEADER.unpack(header)[0]) if len(header) == HEADER.size else b""
        except OSError as error:
            raise _Lost(str(error), isinstance(error, TimeoutError)) from error
        if not reply:
            raise _Lost("it ended")
        found: dict[str, Any] = json.loads(reply)
        return found

    def end(self) -> None:
        """Kill the worker and reap it."""
        self.forget_channel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def forget_channel(self) -> None:
        """Close this side of the channel."""
        self._replies.close()
        self._channel.close()

    def forget(self) -> None:
        """In a forked copy of the host: let go; the process belongs to the original."""
        self.forget_channel()
        self._process.returncode = 0


class Engine:
    """Runs statements in a worker of its own, started at the first one; usable from any thread, one request at a time.

    A forked copy of the process gets a worker of its own. An engine made by hand is to be closed; a worker ends with
    its process in any case.
    """

    def __init__(self) -> None:
        self._leases = 0
        self._failed_starts = 0
        self._worker: _Worker | None = None
        self._names = itertools.count()
        self._dropped: deque[int] = deque()
        self._new_locks()
        _engines.add(self)

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

    def run(
        self,
        runs: Sequence[tuple[Source, str]],
        limits: QueryLimits = QueryLimits(),
        now: str = NOW,
        *,
        stop: bool = False,
    ) -> list[Result]:
        """The result of each statement on its database, limits holding for each; with `stop` up to the first failure.

        Raises `EngineUnavailable` where no worker can be started, a database not be opened, or the worker is killed at
        the same statement twice.
        """
        terms = {"now": now, "stop": stop, **asdict(limits)}

        def request(some: Sequence[tuple[Source, str]]) -> dict[str, Any]:
            return {"runs": [[source.key, sql] for source, sql in some], **terms}

        results: list[Result] = []
        with self._turn:
            while len(results) < len(runs) and not (stop and results and isinstance(results[-1], Failure)):
                rest = runs[len(results) :]
                results += self._some(rest, request, {source.key: source for source, _ in rest}, [])
        return results

    def one(self, source: Source, sql: str, limits: QueryLimits = QueryLimits(), now: str = NOW) -> Result:
        """The result of one statement."""
        return self.run([(source, sql)], limits, now)[0]

    def session(self) -> int:
        """A new name for a state that will be written to. `drop` it when it is not needed any more."""
        return next(self._names)

    def drop(self, session: int) -> None:
        """Let the worker forget a session, with the next request; usable from a finalizer."""
        self._dropped.append(session)

    def write(self, state: State, sql: str, limits: QueryLimits = QueryLimits(), now: str = NOW) -> Result:
        """The result of a statement that may change a state; all of it is done, or, if it fails, nothing.

        Where the result is a table with `changed >= 0` the state has become that with `sql` added to its log, and
        the caller is to say so the next time. Raises `EngineUnavailable`.
        """
        terms = {"now": now, **asdict(limits)}

        def request(some: Sequence[str]) -> dict[str, Any]:
            return {"session": _place(state), "steps": list(some), **terms}

        with self._turn:
            return self._some([sql], request, {state.base.key: state.base}, [state])[0]

    def copy(self, state: State) -> State:
        """The same state under a new name: copied in the worker if it is there."""
        made = State(self.session(), state.base, state.log)
        with self._turn:
            if state.log and self._worker:
                with contextlib.suppress(_Lost):  # it will be made anew
                    self._ask({"session": _place(made), "copy": state.session, "now": NOW}, b"", _LOAD_LIMIT)
        return made

    def changes(self, state: State, limits: QueryLimits, now: str = NOW, since: State | None = None) -> Changes:
        """What a state differs in from another one, or from its base. Raises `EngineUnavailable`."""
        terms = {"now": now, **asdict(limits)}
        past = since or State(-1, state.base)
        request = {"session": _place(state), "since": _place(past), **terms}
        with self._turn:
            try:
                found = self._served(request, {state.base.key: state.base}, [state, past], limits.seconds + _GRACE)
            except _Lost as lost:
                raise EngineUnavailable(f"the SQL worker was lost while states were compared: {lost}") from lost
        if "error" in found:
            raise EngineUnavailable(f"two states cannot be compared: {found['message']}")
        tables = tuple(
            Change(name, kind, tuple(before), tuple(after), _rows(removed), _rows(added))
            for name, kind, before, after, removed, added in found["tables"]
        )
        return Changes(tables, found["more"], found["digest"])

    def _some(
        self,
        items: Sequence[Any],
        request: Callable[[Sequence[Any]], dict[str, Any]],
        sources: Mapping[str, Source],
        states: Sequence[State],
    ) -> list[Result]:
        """Results of at least the first of these items."""
        for last_try in (False, True):
            asked = request(items)
            try:
                reply = self._served(asked, sources, states, asked["seconds"] * len(items) + _GRACE)
                return [_result(found) for found in reply["results"]]
            except _Lost as lost:  # at whichever statement it was, running the first one alone finds out
                if len(items) == 1 and lost.silent:
                    return [Failure("killed", "the statement did not end in time and was ended with its process")]
                if len(items) == 1 and last_try:
                    raise EngineUnavailable(f"the SQL worker was killed twice at one statement: {lost}") from lost
            items = items[:1]
        return self._some(items, request, sources, states)

    def _served(
        self, request: dict[str, Any], sources: Mapping[str, Source], states: Sequence[State], seconds: float
    ) -> dict[str, Any]:
        """The reply to a request once the worker has what it needs for it."""
        for _ in range(4):
            reply = self._ask(request, b"", seconds)
            for key in reply.get("missing", ()):
                blob, path = sources[key].content(), sources[key].path
                loaded = self._ask({"load": key, "path": path}, blob, _LOAD_LIMIT)
                if "error" in loaded:
                    raise EngineUnavailable(f"cannot open the database {path or key!r}: {loaded['error']}")
            for name in reply.get("stale", ()):
                state = next(each for each in states if each.session == name)
                terms = {"log": state.log, "now": request["now"], **asdict(_REPLAY)}
                made = self._ask({"session": _place(state), **terms}, b"", _LOAD_LIMIT)
                if "error" in made:
                    raise EngineUnavailable(f"a state cannot be made anew: {made['error']}")
            if not ("missing" in reply or "stale" in reply):
                return reply
        raise EngineUnavailable(f"the databases {', '.join(sources)} do not stay open in the worker")

    def _ask(self, request: dict[str, Any], blob: bytes, seconds: float) -> dict[str, Any]:
        """The worker's reply. Raises `_Lost` where it was lost at work, `EngineUnavailable` if it does not start."""
        while self._dropped:
            request.setdefault("drop", []).append(self._dropped.popleft())
        while True:
            self._worker = self._worker or _Worker()
            try:
                reply = self._worker.ask(request, blob, seconds)
                self._failed_starts = 0
                return reply
            except _Lost as lost:
                was_ready = self._worker.ready
                self._end_worker()
                if was_ready:
                    raise
                self._failed_starts += 1
                if self._failed_starts >= 2:
                    raise EngineUnavailable(f"the SQL worker does not start: {lost}; run it to see why") from lost
            except BaseException:  # interrupted: the reply would be taken for that of the next request
                self._end_worker()
                raise

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker:
            worker.end()

    def _new_locks(self) -> None:
        self._state = threading.Lock()
        """Guards leases."""
        self._turn = threading.Lock()
        """Held by who uses the worker."""

    def _in_forked_child(self) -> None:
        self._new_locks()
        worker, self._worker = self._worker, None
        if worker:
            worker.forget()


def _result(found: dict[str, Any]) -> Result:
    if "error" in found:
        return Failure(found["error"], found["message"])
    changed = found.get("changed", -1)
    return Table(tuple(found["columns"]), _rows(found["rows"]), found["count"], found["more"], changed, found["ops"])


def _rows(found: list[list[Any]]) -> Rows:
    return tuple(map(tuple, found))


def _place(state: State) -> list[Any]:
    return [state.session, state.base.key, len(state.log)]


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _forget_workers() -> None:
    for each in list(_engines):
        each._in_forked_child()


os.register_at_fork(after_in_child=_forget_workers)


def engine() -> Engine:
    """The engine of this process."""
    return _engine


_engine = Engine()
atexit.register(_engine.close)
