"""The program that runs policy SQL on SQLite or DuckDB databases; exec'd fresh by `engine`, killed by it if need be.

It serves one host on descriptor 0. A message is `HEADER` (length of a JSON text, length of a blob) and both parts.
Requests, to any of which `"drop": [session, ...]` may be added:

- `{"load": key, "path": ""}` with the bytes of a database as blob, or with the path of a file; answered with `{}`.
- `{"runs": [[key, sql], ...], "rows", "bytes", "ops", "seconds", "count", "now", "stop", "shared"}`; answered with
  `{"results": [...]}`, one object for each run, in order (with `stop` up to the first that failed). `ops` and
  `seconds` hold for each of them, or for all together where they are `shared`.
- `{"each": [[key, sql, which], ...], "terms": [{"rows", ..., "now"}, ...]}`; answered with one reply for each, as soon
  as it is done: what the run returned under `terms[which]`, or `{"missing": [key]}`.
- `{"session": [id, base, at], "steps": [sql, ...], ...}`: the same in a session that writes, which `at` statements have
  changed so far; `{"session": [id, base, at], "since": [id, base, at], ...}`: what changed since that state.
- `{"layers": true}`: what holds this process in, as `confine` found it.
- `{"session": [id, base, at], "log": [sql, ...], ...}`: make a session anew; `{"session": ..., "copy": id}`: copy one
  if it is there.

What is lacking is told: `{"missing": [key, ...]}` for databases, `{"stale": [id, ...]}` for sessions that are not (or
not any more) as far as `at`.
"""

import json
import os
import select
import socket
import sqlite3
import struct
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from tir_gym.envs.sql.worker.confine import confine
from tir_gym.envs.sql.worker.guard import Clock, Database, opened
from tir_gym.envs.sql.worker.writing import Session, changes

HEADER = struct.Struct("!IQ")
READY = b"R"
KEPT = 256 << 20
"""Bytes of databases kept in memory, and as many of sessions; beyond, the least recently used is dropped."""
_MOST = 1_000
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Store:
    """The databases and sessions that are open, least recently used first."""

    def __init__(self, library: str = "") -> None:
        self.clock = Clock()
        self.open: OrderedDict[str, Any] = OrderedDict()
        self._make: Callable[[bytes, str], Any] = self._sqlite
        self._errors: tuple[type[Exception], ...] = (sqlite3.Error,)
        self.needed: tuple[str, ...] = ()
        """Files that the library reads."""
        if library:
            sys.path.append(library)
            from tir_gym.envs.sql.worker import duck

            self.needed = duck.NEEDED
            self._make, self._errors = duck.DuckDatabase, duck.ERRORS
        self.sessions: OrderedDict[int, Session] = OrderedDict()

    def answer(self, request: dict[str, Any], blob: bytes) -> dict[str, Any]:
        """The reply to a request."""
        for each in request.get("drop", ()):
            if each in self.sessions:
                self.sessions.pop(each).close()
        if "load" in request:
            return self._load(request["load"], blob, request["path"])
        self.clock.now = request["now"]
        return self._session(request) if "session" in request else self._run(request)

    def _load(self, key: str, blob: bytes, path: str) -> dict[str, Any]:
        try:
            self.open[key] = self._make(blob, path)
        except self._errors as error:
            return {"error": str(error)}
        _shrink(self.open)
        return {}

    def _sqlite(self, blob: bytes, path: str) -> Database:
        return Database(self.clock, opened(blob, path), len(blob))

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        if missing := [key for key, _ in request["runs"] if key not in self.open]:
            return {"missing": list(dict.fromkeys(missing))}
        results: list[dict[str, Any]] = []
        left = request
        for key, sql in request["runs"]:
            self.open.move_to_end(key)
            found = self._timed(key, sql, left)
            results.append(found)
            if request["stop"] and "error" in found:
                break
            if request["shared"]:
                ops, seconds = left["ops"] - found.get("ops", 0), left["seconds"] - found["seconds"]
                left = {**left, "ops": ops, "seconds": seconds}
        return {"results": results}

    def each(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The replies to a request for single runs."""
        for key, sql, which in request["each"]:
            if key not in self.open:
                yield {"missing": [key]}
                continue
            self.open.move_to_end(key)
            limits = request["terms"][which]
            self.clock.now = limits["now"]
            yield self._timed(key, sql, limits)

    def _timed(self, key: str, sql: str, limits: dict[str, Any]) -> dict[str, Any]:
        """What a run returned, and how long this process worked for it."""
        started = time.process_time()
        found = self.open[key].run(sql, limits)
        return {**found, "seconds": time.process_time() - started}

    def _session(self, request: dict[str, Any]) -> dict[str, Any]:
        name, base, at = request["session"]
        if "copy" in request:
            if (original := self.sessions.get(request["copy"])) and original.at == at:
                self._keep(name, original.copy())
            return {}
        if base not in self.open:
            return {"missing": [base]}
        if "log" in request:
            return self._replay(name, self.open[base], request)
        found = [self._as_far(*asked) for asked in (request["session"], request.get("since", ())) if asked]
        if stale := [asked for asked in found if isinstance(asked, int)]:
            return {"stale": stale}
        session, since = found[0], found[-1]
        if "since" in request:
            return changes(since, session, request)
        results = [session.step(sql, request) for sql in request["steps"]]
        _shrink(self.sessions)
        return {"results": results}

    def _as_far(self, name: int, base: str, at: int) -> Any:
        """The state that is asked for, or the session's id if it is not there. That of no changes is its base."""
        if name < 0:
            return self.open[base]
        session = self.sessions.get(name)
        if session is None and at == 0:
            session = self._keep(name, Session(self.clock, self.open[base].connection))
        if session is None or session.at != at:
            return name
        self.sessions.move_to_end(name)
        return session

    def _replay(self, name: int, base: Database, request: dict[str, Any]) -> dict[str, Any]:
        session = Session(self.clock, base.connection)
        for sql in request["log"]:
            found = session.step(sql, request)
            if "error" in found:
                return {"error": f"{sql[:200]!r} succeeded before and fails now: {found['message']}"}
        self._keep(name, session)
        return {}

    def _keep(self, name: int, session: Session) -> Session:
        self.sessions[name] = session
        self.sessions.move_to_end(name)
        _shrink(self.sessions)
        return session


def _shrink(held: OrderedDict[Any, Any]) -> None:
    """Close those that are too many."""
    while len(held) > 1 and (len(held) > _MOST or sum(each.size for each in held.values()) > KEPT):
        _, oldest = held.popitem(last=False)
        oldest.close()


def _watch(host: int) -> None:
    """End this process with another (by its descriptor), whatever statement is running."""
    select.select([host], [], [])
    os._exit(0)


def main(host: str, library: str, *files: str) -> None:
    """Serve the process `host` on descriptor 0 until that closes or the host ends; `files` are all it may read.

    With a `library`, the folder in which duckdb is installed, databases are DuckDB's, else SQLite's.
    """
    watched = os.pidfd_open(int(host))
    if os.getppid() != int(host):
        return
    channel = socket.socket(fileno=0)
    requests = channel.makefile("rb")
    store = Store(library)
    layers = confine([*files, *store.needed], threads=bool(library))
    threading.Thread(target=_watch, args=(watched,), daemon=True).start()  # now: it is confined like this one
    channel.sendall(READY)
    while len(header := requests.read(HEADER.size)) == HEADER.size:
        length, size = HEADER.unpack(header)
        request = json.loads(requests.read(length))
        blob = requests.read(size)
        if "layers" in request:
            _send(channel, {"layers": layers})
        elif "each" in request:
            for reply in store.each(request):
                _send(channel, reply)
        else:
            _send(channel, store.answer(request, blob))


def _send(channel: socket.socket, reply: dict[str, Any]) -> None:
    text = _encode(reply).encode("utf-8", "replace")
    channel.sendall(HEADER.pack(len(text), 0) + text)
