"""The program that runs policy SQL on SQLite databases; exec'd fresh by `engine`, and killed by it if need be.

It serves one host on descriptor 0. A message is `HEADER` (length of a JSON text, length of a blob) and both parts.
Requests, to any of which `"drop": [session, ...]` may be added:

- `{"load": key, "path": ""}` with the bytes of a database as blob, or with the path of a file; answered with `{}`.
- `{"runs": [[key, sql], ...], "rows", "bytes", "ops", "seconds", "count", "now", "stop"}`; answered with
  `{"results": [...]}`, one object for each run, in order (with `stop` up to the first that failed).
- `{"session": [id, base, at], "steps": [sql, ...], ...}`: the same in a session that writes, which `at` statements have
  changed so far; `{"session": [id, base, at], "since": [id, base, at], ...}`: what changed since that state.
- `{"session": [id, base, at], "log": [sql, ...], ...}`: make a session anew; `{"session": ..., "copy": id}`: copy one
  if it is there.

What is lacking is told: `{"missing": [key, ...]}` for databases, `{"stale": [id, ...]}` for sessions that are not (or
not any more) as far as `at`.
"""

import ctypes
import json
import os
import resource
import select
import socket
import sqlite3
import struct
from collections import OrderedDict
from typing import Any

from tir_gym.envs.sql.worker.guard import HEAP, Clock, Database, opened
from tir_gym.envs.sql.worker.writing import Session, changes

HEADER = struct.Struct("!IQ")
READY = b"R"
KEPT = 256 << 20
"""Bytes of databases kept in memory, and as many of sessions; beyond, the least recently used is dropped."""
_MOST = 1_000


class Store:
    """The databases and sessions that are open, least recently used first."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.open: OrderedDict[str, Database] = OrderedDict()
        self.sessions: OrderedDict[int, Session] = OrderedDict()

    def answer(self, request: dict[str, Any], blob: bytes) -> dict[str, Any]:
        """The reply to a request."""
        for each in request.get("drop", ()):
            if each in self.sessions:
                self.sessions.pop(each).connection.close()
        if "load" in request:
            return self._load(request["load"], blob, request["path"])
        self.clock.now = request["now"]
        return self._session(request) if "session" in request else self._run(request)

    def _load(self, key: str, blob: bytes, path: str) -> dict[str, Any]:
        try:
            self.open[key] = Database(self.clock, opened(blob, path), len(blob))
        except sqlite3.Error as error:
            return {"error": str(error)}
        _shrink(self.open)
        return {}

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        if missing := [key for key, _ in request["runs"] if key not in self.open]:
            return {"missing": list(dict.fromkeys(missing))}
        results = []
        for key, sql in request["runs"]:
            self.open.move_to_end(key)
            results.append(self.open[key].run(sql, request))
            if request["stop"] and "error" in results[-1]:
                break
        return {"results": results}

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
        oldest.connection.close()


def confine() -> None:
    """Take from this process what it does not need: writing files, cores, more memory, new rights."""
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD: memory of one statement is kept for the next
        libc.mallopt(option, 32 << 20)
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_NOFILE: 1_100}
    limits[resource.RLIMIT_AS] = 2 * HEAP
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))


def main(host: int) -> None:
    """Serve the process `host` on descriptor 0 until that closes or the host ends."""
    watched = os.pidfd_open(host)
    if os.getppid() != host:
        return
    channel = socket.socket(fileno=0)
    requests = channel.makefile("rb")
    confine()
    store = Store()
    channel.sendall(READY)
    ends = [channel.fileno(), watched]
    while watched not in select.select(ends, [], [])[0]:
        header = requests.read(HEADER.size)
        if len(header) < HEADER.size:
            return
        length, size = HEADER.unpack(header)
        request = json.loads(requests.read(length))
        reply = store.answer(request, requests.read(size))
        text = json.dumps(reply, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        channel.sendall(HEADER.pack(len(text), 0) + text)
