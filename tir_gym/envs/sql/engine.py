"""Runs SQL of a policy, or of a file, in a worker process that can be killed: `engine().run(...)`.

`worker` says what keeps a statement in bounds. This side ends what the worker itself cannot: a statement that answers
neither its instruction limit nor its deadline is ended with the process, and the next one gets a new worker.
Nothing of a statement is run in this process, and nothing but JSON is read from the worker.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tir_gym.envs.sql.worker import HEADER

NOW = "2025-06-15 12:00:00"
"""The moment at which the clock of a database stands where its task says nothing else (definition by this project)."""
_GRACE = 0.5
_START_LIMIT = 30.0


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

    @property
    def whole(self) -> bool:
        """Whether every row is here."""
        return self.count == len(self.rows) and not self.more


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a statement returned nothing.

    `kind` is `sql` (SQLite's own complaint), `refused` (not allowed: `message` names what), `ops` or `time` (too long),
    `killed` (the worker had to be ended), `memory` or `text` (no text that can be sent).
    """

    kind: str
    message: str


Result = Table | Failure


class _Lost(Exception):  # noqa: N818
    """The worker ended, or fell silent (`silent`)."""

    def __init__(self, reason: str, silent: bool = False) -> None:
        super().__init__(reason)
        self.silent = silent


class _Worker:
    """One worker process, the channel to it, and the keys that it was given."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        program = Path(__file__).with_name("worker.py")
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", "-B", str(program), str(os.getpid())],
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

        Raises `EngineUnavailable` where no worker can be started or a database not be opened.
        """
        results: list[Result] = []
        with self._turn:
            while len(results) < len(runs) and not (stop and results and isinstance(results[-1], Failure)):
                results += self._some(runs[len(results) :], {"now": now, "stop": stop, **asdict(limits)})
        return results

    def one(self, source: Source, sql: str, limits: QueryLimits = QueryLimits(), now: str = NOW) -> Result:
        """The result of one statement."""
        return self.run([(source, sql)], limits, now)[0]

    def _some(self, runs: Sequence[tuple[Source, str]], terms: dict[str, Any]) -> list[Result]:
        """Results of at least the first of these runs."""
        for last_try in (False, True):
            try:
                reply = self._ask_with_databases(runs, terms)
                if "results" in reply:
                    return [_result(found) for found in reply["results"]]
                if len(runs) == 1:
                    raise EngineUnavailable(f"the database {runs[0][0].key!r} does not stay open in the worker")
            except _Lost as lost:  # at whichever statement it was, running the first one alone finds out
                if len(runs) == 1 and (lost.silent or last_try):
                    return [Failure("killed", "the statement did not end in time and was ended with its process")]
            runs = runs[:1]
        return self._some(runs, terms)

    def _ask_with_databases(self, runs: Sequence[tuple[Source, str]], terms: dict[str, Any]) -> dict[str, Any]:
        request = {"runs": [[source.key, sql] for source, sql in runs], **terms}
        patience = terms["seconds"] * len(runs) + _GRACE
        reply = self._ask(request, b"", patience)
        if "missing" not in reply:
            return reply
        sources = {source.key: source for source, _ in runs}
        for key in reply["missing"]:
            loaded = self._ask({"load": key, "path": sources[key].path}, sources[key].content(), 60.0)
            if "error" in loaded:
                raise EngineUnavailable(f"cannot open the database {sources[key].path or key!r}: {loaded['error']}")
        return self._ask(request, b"", patience)

    def _ask(self, request: dict[str, Any], blob: bytes, seconds: float) -> dict[str, Any]:
        """The worker's reply. Raises `_Lost` where it was lost at work, `EngineUnavailable` if it does not start."""
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
    return Table(tuple(found["columns"]), tuple(map(tuple, found["rows"])), found["count"], found["more"])


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
