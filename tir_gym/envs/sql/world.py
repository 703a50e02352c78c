"""The state that writing tasks change: a private copy of a database."""

import json
import weakref
from dataclasses import replace
from typing import Any

from tir_gym.core.interfaces import World
from tir_gym.core.tool import EnvError
from tir_gym.envs.sql.engine import NOW, EngineUnavailable, Source, State, engine
from tir_gym.envs.sql.results import Changes, Failure, QueryLimits, Result

OPS = 100_000_000
"""Instructions that the changing statements of one world may take together, so that it can always be made anew."""
_LIMITS = QueryLimits()
BOUNDS = QueryLimits(rows=10_000, bytes=8_000_000, ops=1 << 62, seconds=30.0)
"""Bounds of what `changes` tells."""


class SqlWorld(World):
    """A copy of a database that statements change: here the statements, in the engine's worker what came of them.

    The clock stands at `now`, references are enforced, each statement is done whole or not at all, and the copy grows
    by 8 MB at most. `run` and what compares raise `EnvError` where the environment cannot run SQL.
    """

    def __init__(self, base: Source, now: str = NOW) -> None:
        self._now = now
        self._ops = 0
        self._told = 0
        self._take(State(engine().session(), base))

    def _take(self, state: State) -> None:
        self._state = state
        self._let_go = weakref.finalize(self, engine().drop, state.session)
        self._let_go.atexit = False

    @property
    def base(self) -> Source:
        """The database it was copied from."""
        return self._state.base

    @property
    def log(self) -> tuple[str, ...]:
        """The statements that changed it, in order."""
        return self._state.log

    def run(self, sql: str, limits: QueryLimits = _LIMITS) -> Result:
        """The result of one statement, which may change the world."""
        allowed = replace(limits, ops=min(limits.ops, OPS - self._ops))
        try:
            found = engine().write(self._state, sql, allowed, self._now)
        except (EngineUnavailable, OSError) as error:
            raise EnvError(str(error)) from error
        if not isinstance(found, Failure) and found.changed >= 0:
            self._state = replace(self._state, log=(*self._state.log, sql))
            self._ops += found.ops
        return found

    def changes(self, limits: QueryLimits = BOUNDS) -> Changes:
        """What differs from the base."""
        return self._changes(None, limits)

    def _changes(self, since: State | None, limits: QueryLimits = BOUNDS) -> Changes:
        try:
            return engine().changes(self._state, limits, self._now, since)
        except (EngineUnavailable, OSError) as error:
            raise EnvError(str(error)) from error

    def snapshot(self) -> tuple[tuple[str, ...], int]:
        """The statements so far, and the instructions they took."""
        return self._state.log, self._ops

    def restore(self, snapshot: tuple[tuple[str, ...], int]) -> None:
        """Go back; the worker makes that state anew when it is needed."""
        log, self._ops = snapshot
        if log != self._state.log:
            self._let_go()
            self._take(State(engine().session(), self.base, log))
        self._told = min(self._told, len(log))

    def fork(self) -> "SqlWorld":
        """An independent copy, made in the worker."""
        made = SqlWorld.__new__(SqlWorld)
        made._now, made._ops, made._told = self._now, self._ops, self._told
        try:
            made._take(engine().copy(self._state))
        except EngineUnavailable as error:
            raise EnvError(str(error)) from error
        return made

    def digest(self) -> str:
        """Hash of the base's key and of what differs from it."""
        return f"{self.base.key}:{self.changes().digest if self.log else ''}"

    def diff(self, snapshot: tuple[tuple[str, ...], int]) -> dict[str, Any]:
        """What changed since, by table: `before`, `after`, rows `removed` and `added`."""
        if snapshot[0] == self.log:
            return {}
        past = State(engine().session(), self.base, snapshot[0])
        try:
            found = self._changes(past)
        finally:
            engine().drop(past.session)
        told: dict[str, Any] = {
            f"{each.kind} {each.name}": {
                "before": list(each.before),
                "after": list(each.after),
                "removed": [list(row) for row in each.removed],
                "added": [list(row) for row in each.added],
            }
            for each in found.tables
        }
        return {**told, "more": True} if found.more else told

    def take_writes(self) -> bytes:
        """The changing statements since the last call, as JSON."""
        fresh, self._told = self.log[self._told :], len(self.log)
        return json.dumps(fresh).encode() if fresh else b""
