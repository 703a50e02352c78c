"""Runs SQL of a policy, or of a file, in a worker process that can be killed: `engine().run(...)`.

`worker` says what keeps a statement in bounds. This side ends what the worker itself cannot: a statement that answers
neither its instruction limit nor its deadline is ended with the process, and the next one gets a new worker.
Nothing of a statement is run in this process, and nothing but JSON is read from the worker.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from tir_gym.envs.sql.channel import replies
from tir_gym.envs.sql.results import Change, Changes, Failure, QueryLimits, Result, Rows, Table
from tir_gym.workers import Leased, Lost, Worker, WorkerUnavailable, module_command

NOW = "2025-06-15 12:00:00"
"""The moment at which the clock of a database stands where its task says nothing else (definition by this project)."""
Kind = Literal["sqlite", "duckdb"]
"""What runs statements."""
_LIMITS = QueryLimits()
_GRACE = 0.5
_LOAD_LIMIT = 60.0
EngineUnavailable = WorkerUnavailable
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
class Job:
    """A statement to be run on a database, its bounds, and the moment at which the clock stands."""

    source: Source
    sql: str
    limits: QueryLimits
    now: str


@dataclass(frozen=True, slots=True)
class State:
    """A state of a database that is written to: the statements that changed it since `base`, in order.

    `session` is the worker's name for it, given by `Engine.session`; the worker makes the state anew from `log` where
    it does not have it (any more).
    """

    session: int
    base: Source
    log: tuple[str, ...] = ()


_MOST_FILES = 1_000
_REPLAY = QueryLimits(rows=0, ops=1 << 62, seconds=_LOAD_LIMIT)


class Engine(Leased):
    """Runs statements in a worker of its own, started at the first one; usable from any thread, one request at a time.

    A forked copy of the process gets a worker of its own. An engine made by hand is to be closed; a worker ends with
    its process in any case.
    """

    def __init__(self, kind: Kind = "sqlite") -> None:
        super().__init__()
        self._kind: Kind = kind
        self._names = itertools.count()
        self._dropped: deque[int] = deque()
        self._files: dict[str, None] = {}
        """What the worker may read."""

    def _start(self) -> Worker:
        arguments = (str(os.getpid()), _library() if self._kind == "duckdb" else "", *self._files)
        command = module_command("tir_gym.envs.sql.worker.serve", *arguments, beside=("tir_gym.executors",))
        return Worker(command, {"TZ": "UTC"})

    def run(
        self,
        runs: Sequence[tuple[Source, str]],
        limits: QueryLimits = _LIMITS,
        now: str = NOW,
        *,
        stop: bool = False,
        shared: bool = False,
    ) -> list[Result]:
        """The result of each statement on its database; with `stop` up to the first failure.

        The limits hold for each of them; where they are `shared`, those of instructions and seconds for all together.
        Raises `EngineUnavailable` where no worker can be started, a database not be opened, or the worker is killed at
        the same statement twice.
        """
        results: list[Result] = []

        def request(some: Sequence[tuple[Source, str]]) -> dict[str, Any]:
            left = limits.after(results) if shared else limits
            runs = [[source.key, sql] for source, sql in some]
            return {"runs": runs, "now": now, "stop": stop, "shared": shared, **left.terms}

        with self._turn:
            while len(results) < len(runs) and not (stop and results and isinstance(results[-1], Failure)):
                rest = runs[len(results) :]
                results += self._some(rest, request, {source.key: source for source, _ in rest}, [])
        return results

    def one(self, source: Source, sql: str, limits: QueryLimits = _LIMITS, now: str = NOW) -> Result:
        """The result of one statement."""
        return self.run([(source, sql)], limits, now)[0]

    def each(self, jobs: Sequence[Job]) -> list[Result | Exception]:
        """The result of each job, or the `EngineUnavailable` or `OSError` that it alone would end with.

        The worker is told all of them at once. One at which it is lost costs the others nothing but time.
        """
        if len(jobs) == 1:
            return [self._alone(jobs[0])]
        found: list[Result | Exception | None] = [None] * len(jobs)
        keys: dict[int, str] = {}
        for i, job in enumerate(jobs):
            try:
                keys[i] = job.source.key
            except OSError as error:
                found[i] = error
        with self._turn:
            while keys:
                self._stream(jobs, keys, found)
        return [self._alone(job) if result is None else result for job, result in zip(jobs, found, strict=True)]

    def _stream(self, jobs: Sequence[Job], keys: dict[int, str], found: list[Result | Exception | None]) -> None:
        """Have the worker do the jobs of these numbers, which are taken out, up to one at which it is lost.

        None is found of a job that is to be done alone: its database is not open, or somebody killed the worker at it.
        """
        terms: dict[tuple[QueryLimits, str], int] = {}
        each = [
            (key, jobs[i].sql, terms.setdefault((jobs[i].limits, jobs[i].now), len(terms))) for i, key in keys.items()
        ]
        request = {"each": each, "terms": [{"now": now, **limits.terms} for limits, now in terms]}
        patience = [jobs[i].limits.seconds + _GRACE for i in keys]
        try:
            with contextlib.closing(self._asked(request, b"", patience)) as replies:
                for i, reply in zip(list(keys), replies, strict=True):
                    del keys[i]
                    found[i] = None if "missing" in reply else _result(reply)
        except Lost as lost:
            i = next(iter(keys))
            del keys[i]
            found[i] = _killed(lost)
        except EngineUnavailable as error:
            found[:] = [error if i in keys else result for i, result in enumerate(found)]
            keys.clear()

    def _alone(self, job: Job) -> Result | Exception:
        try:
            return self.one(job.source, job.sql, job.limits, job.now)
        except (EngineUnavailable, OSError) as error:
            return error

    def layers(self) -> dict[str, str]:
        """What holds the worker in: "enforced", as seen by trying, or why it is not. Raises `EngineUnavailable`."""
        with self._turn:
            found: dict[str, str] = self._ask({"layers": True}, b"", _LOAD_LIMIT)["layers"]
        return found

    def session(self) -> int:
        """A new name for a state that will be written to. `drop` it when it is not needed any more."""
        return next(self._names)

    def drop(self, session: int) -> None:
        """Let the worker forget a session, with the next request; usable from a finalizer."""
        self._dropped.append(session)

    def write(self, state: State, sql: str, limits: QueryLimits = _LIMITS, now: str = NOW) -> Result:
        """The result of a statement that may change a state; all of it is done, or, if it fails, nothing.

        Where the result is a table with `changed >= 0` the state has become that with `sql` added to its log, and
        the caller is to say so the next time. Raises `EngineUnavailable`.
        """
        terms = {"now": now, **limits.terms}

        def request(some: Sequence[str]) -> dict[str, Any]:
            return {"session": _place(state), "steps": list(some), **terms}

        with self._turn:
            return self._some([sql], request, {state.base.key: state.base}, [state])[0]

    def copy(self, state: State) -> State:
        """The same state under a new name: copied in the worker if it is there."""
        made = State(self.session(), state.base, state.log)
        with self._turn:
            if state.log and self._worker:
                with contextlib.suppress(Lost):  # it will be made anew
                    self._ask({"session": _place(made), "copy": state.session, "now": NOW}, b"", _LOAD_LIMIT)
        return made

    def changes(self, state: State, limits: QueryLimits, now: str = NOW, since: State | None = None) -> Changes:
        """What a state differs in from another one, or from its base. Raises `EngineUnavailable`."""
        terms = {"now": now, **limits.terms}
        past = since or State(-1, state.base)
        request = {"session": _place(state), "since": _place(past), **terms}
        with self._turn:
            try:
                found = self._served(request, {state.base.key: state.base}, [state, past], limits.seconds + _GRACE)
            except Lost as lost:
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
            alone = len(items) == 1 or asked.get("shared", False)
            try:
                reply = self._served(asked, sources, states, asked["seconds"] * (1 if alone else len(items)) + _GRACE)
                return [_result(found) for found in reply["results"]]
            except Lost as lost:  # at whichever statement it was, running the first one alone finds out
                failure = _killed(lost)
                if failure and (len(items) == 1 or (alone and lost.silent)):
                    return [failure]
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
                self._permit(path)
                loaded = self._ask({"load": key, "path": path}, blob, _LOAD_LIMIT)
                if "error" in loaded:
                    raise EngineUnavailable(f"cannot open the database {path or key!r}: {loaded['error']}")
            for name in reply.get("stale", ()):
                state = next(each for each in states if each.session == name)
                terms = {"log": state.log, "now": request["now"], **_REPLAY.terms}
                made = self._ask({"session": _place(state), **terms}, b"", _LOAD_LIMIT)
                if "error" in made:
                    raise EngineUnavailable(f"a state cannot be made anew: {made['error']}")
            if not ("missing" in reply or "stale" in reply):
                return reply
        raise EngineUnavailable(f"the databases {', '.join(sources)} do not stay open in the worker")

    def _permit(self, path: str) -> None:
        """Have a worker that may read the file: what one may read is settled at its start."""
        if path and path not in self._files:
            if len(self._files) >= _MOST_FILES:
                self._files.clear()
            self._files[path] = None
            self._end_worker()

    def _ask(self, request: dict[str, Any], blob: bytes, seconds: float) -> dict[str, Any]:
        """The worker's reply. Raises `Lost` where it was lost at work, `WorkerUnavailable` if it does not start."""
        while self._dropped:
            request.setdefault("drop", []).append(self._dropped.popleft())
        (reply,) = self._asked(request, blob, (seconds,))
        return reply

    def _asked(
        self, request: dict[str, Any], blob: bytes, patience: Iterable[float]
    ) -> Generator[dict[str, Any], None, None]:
        """The worker's replies, as they come; all are to be taken, or the generator is to be closed."""
        while True:
            worker = self._running()
            try:
                worker.wait_ready()
                yield from replies(worker, request, blob, patience)
                return
            except Lost as lost:
                self._bury(lost)
                if worker.ready:
                    raise
            except BaseException:  # interrupted: the reply would be taken for that of the next request
                self._end_worker()
                raise


def _killed(lost: Lost) -> Failure | None:
    """What it says of the statement at which a worker was lost; None where it was no fault of the statement."""
    if lost.silent:
        return Failure("killed", "the statement did not end in time and was ended with its process")
    return Failure("killed", "the statement took down its process") if lost.crashed else None


def _result(found: dict[str, Any]) -> Result:
    if "error" in found:
        return Failure(found["error"], found["message"])
    changed = found.get("changed", -1)
    return Table(
        tuple(found["columns"]),
        _rows(found["rows"]),
        found["count"],
        found["more"],
        changed,
        found["ops"],
        found.get("seconds", 0.0),
    )


def _rows(found: list[list[Any]]) -> Rows:
    return tuple(map(tuple, found))


def _place(state: State) -> list[Any]:
    return [state.session, state.base.key, len(state.log)]


def _library() -> str:
    """Where duckdb is installed. Raises `EngineUnavailable`."""
    spec = importlib.util.find_spec("duckdb")
    if spec is None or spec.origin is None:
        raise EngineUnavailable('engine="duckdb" needs the package duckdb: pip install "tir-gym[duckdb]"')
    return str(Path(spec.origin).parents[1])


def engine(kind: Kind = "sqlite") -> Engine:
    """The engine of this process for databases of that kind."""
    return _engines[kind]


_engines: dict[Kind, Engine] = {"sqlite": Engine(), "duckdb": Engine("duckdb")}
for each in _engines.values():
    atexit.register(each.close)
