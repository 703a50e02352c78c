"""The verdict: does the final query return what the gold query returns, here and on twins of the database?"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from tir_gym.core.task import Gold
from tir_gym.core.verify import Evidence, Score, Verifier
from tir_gym.envs.sql.databases import Database, database_of, scaled
from tir_gym.envs.sql.engine import NOW, EngineUnavailable, Kind, Source, engine
from tir_gym.envs.sql.habits import checklist, statement
from tir_gym.envs.sql.kept import Kept
from tir_gym.envs.sql.match import differ, is_ordered, same_cell
from tir_gym.envs.sql.results import Change, Changes, Failure, QueryLimits, Result, Table
from tir_gym.envs.sql.ties import allows, tied
from tir_gym.envs.sql.twins import twins
from tir_gym.envs.sql.world import SqlWorld

Mode = Literal["test_suite", "exec", "spider", "bird", "value"]
LIMITS = QueryLimits(rows=10_000, bytes=8_000_000, seconds=3.0)
"""Bounds of a query that is judged, of instructions and seconds on all databases together; a result that is larger is
wrong, or cannot be judged if it is gold's. Gold has as much on each of them."""
KEPT = 32 << 20
"""Bytes of gold's results, and as many of gold's changes, that a process keeps."""


def _cells(result: Result) -> int:
    rows = result.rows if isinstance(result, Table) else ()
    return 500 + sum(_row_size(row) for row in rows)


def _row_size(row: Sequence[Any]) -> int:
    return 64 + sum(40 + (len(str(cell)) if isinstance(cell, str | dict) else 0) for cell in row)


def _size_of(changes: Changes | None) -> int:
    tables = changes.tables if changes else ()
    return 500 + sum(_row_size(row) for table in tables for row in (*table.removed, *table.added))


_results: Kept[tuple[str, ...], list[Result]] = Kept(KEPT, lambda results: sum(map(_cells, results)))
_wanted: Kept[tuple[str, ...], Changes | None] = Kept(KEPT, _size_of)


class SqlVerifier(Verifier):
    """1.0 where the final query is right, else 0.0; no answer is 0.0. Modes:

    - `test_suite`: the same result as a gold query on the database shown and on `count` twins of it; ordered where
      gold has an ORDER BY of its own, where it leaves rows equal in any order of these (`ties`).
    - `exec`: the same on the database shown alone.
    - `spider`: as `exec`, but columns may stand in any order.
    - `bird`: as `spider`, but rows may, too. (BIRD's own script also ignores duplicates; here they count.)
    - `value`: the answer is a value, not a query: that of the single cell which gold returns.

    Queries of an answer are run by the engine `kind`, gold's always by SQLite.

    Where there are several golds, one of them must agree everywhere. Gold's own results are remembered,
    up to `KEPT` bytes. A gold query that cannot be run makes the verdict invalid; on a twin, it takes the twin out.
    """

    def __init__(self, mode: Mode, count: int, kind: Kind = "sqlite") -> None:
        self._mode = mode
        self._kind: Kind = kind
        self._count = count if mode == "test_suite" else 0

    def acquire(self) -> None:
        """Keep the process-wide workers, once a statement has started them, until the last `release`."""
        engine().acquire()
        engine(self._kind).acquire()

    def release(self) -> None:
        """Give the leases back; the last one ends the worker."""
        engine(self._kind).release()
        engine().release()

    def score(self, evidence: Evidence, gold: Gold) -> Score:
        """The verdict on the answer alone; beside it, as evidence, how the policy worked (`checklist`)."""
        return replace(self._score(evidence, gold), evidence=checklist(evidence))

    def _score(self, evidence: Evidence, gold: Gold) -> Score:
        if evidence.answer is None:
            return Score(0.0, reason="no answer")
        accepted = [gold.answer] if isinstance(gold.answer, str) else list(gold.answer)
        base = database_of(evidence.task.data["database"])
        now = evidence.task.data.get("now") or NOW
        answer = statement(evidence.answer.text)
        try:
            shown = {sql: self._gold([base], sql, now, scaled(LIMITS, base))[0] for sql in accepted}
            golds = {sql: found for sql, found in shown.items() if isinstance(found, Table) and found.whole}
            if not golds:
                return Score(0.0, valid=False, reason="no gold query can be run")
            if self._mode == "value":
                return self._value(answer, list(golds.values()))
            return self._query(answer, base, golds, now)
        except EngineUnavailable as error:
            return Score(0.0, valid=False, reason=str(error))

    def _gold(self, sources: Sequence[Source], sql: str, now: str, limits: QueryLimits = LIMITS) -> list[Result]:
        """Gold's results on these databases, remembered."""
        key = (sql, now, *(source.key for source in sources))
        return _results.get(key, lambda: engine().run([(source, sql) for source in sources], limits, now))

    def _query(self, answer: str, base: Database, golds: dict[str, Table], now: str) -> Score:
        limits = scaled(LIMITS, base)
        found = engine(self._kind).one(base, answer, limits, now)
        if isinstance(found, Failure):
            return Score(0.0, reason=f"the query fails: {found.message[:200]}")
        reasons = {sql: self._differ(base, sql, wanted, found, now) for sql, wanted in golds.items()}
        candidates = [sql for sql, reason in reasons.items() if not reason]
        if not candidates:
            return Score(0.0, reason=next(iter(reasons.values())))
        told, left = "", limits.after([found])
        for sql in candidates:
            told, left = self._on_twins(answer, base, sql, now, left)
            if not told:
                return Score(1.0, reason="the same result" + (" on every database" if self._count else ""))
        return Score(0.0, reason=f"right on the database shown by luck: {told}")

    def _on_twins(
        self, answer: str, base: Database, sql: str, now: str, limits: QueryLimits
    ) -> tuple[str, QueryLimits]:
        """Where and how the answer differs from a gold query on a twin ("": nowhere), and what limits are left."""
        made = twins(base, sql, self._count)
        golds = self._gold(made, sql, now) if made else []
        judged = [
            (twin, wanted)
            for twin, wanted in zip(made, golds, strict=True)
            if isinstance(wanted, Table) and wanted.whole
        ]
        runs = [(twin, answer) for twin, _ in judged]
        results = engine(self._kind).run(runs, limits, now, stop=True, shared=True)
        left = limits.after(results)
        for (twin, wanted), found in zip(judged, results, strict=False):
            if isinstance(found, Failure):
                return f"on twin {twin.number} it fails: {found.message[:200]}", left
            if told := self._differ(twin, sql, wanted, found, now):
                return f"on twin {twin.number} {told}", left
        return "", left

    def _differ(self, source: Source, sql: str, gold: Table, found: Table, now: str) -> str:
        if not found.whole:
            return "too large a result"
        ordered = self._mode != "bird" and is_ordered(sql)
        permute = self._mode in ("spider", "bird")
        told = differ(gold.rows, found.rows, ordered=ordered, permute=permute)
        return "" if told and ordered and self._is_tie(source, sql, gold, found, now) else told

    def _is_tie(self, source: Source, sql: str, gold: Table, found: Table, now: str) -> bool:
        """Whether the rows found are another choice among rows that gold's ORDER BY leaves equal."""
        if len(gold.rows) != len(found.rows) or len(gold.columns) != len(found.columns):
            return False
        query = tied(sql, len(gold.columns))
        if query is None:
            return False
        (upwards,), (downwards,) = (self._gold([source], run, now) for run in (query.upwards, query.downwards))
        runs = [run.rows for run in (upwards, downwards) if isinstance(run, Table) and run.whole]
        return len(runs) == 2 and allows(query, runs[0], runs[1], found.rows)

    def _value(self, answer: str, golds: Sequence[Table]) -> Score:
        for table in golds:
            if len(table.rows) == len(table.columns) == 1 and _is_value(answer, table.rows[0][0]):
                return Score(1.0, reason="the value")
        return Score(0.0, reason="another value")


class StateVerifier(Verifier):
    """1.0 where the database was left as gold's statements leave it, else 0.0 (mode `state`); so is no answer.

    Compared is what differs from the opening state: tables, rows as bags with floats as in `match`, columns with types,
    keys, indexes, references, triggers. Of a new table only the names of its columns count, and of rows added to a
    table of `gold.data["free_keys"]` their first column does not. Gold's own changes are remembered, up
    to `KEPT` bytes.
    """

    def acquire(self) -> None:
        """Keep the process-wide worker, once a statement has started it, until the last `release`."""
        engine().acquire()

    def release(self) -> None:
        """Give the lease back; the last one ends the worker."""
        engine().release()

    def score(self, evidence: Evidence, gold: Gold) -> Score:
        """The verdict on the final world; beside it, as evidence, how the policy worked (`checklist`)."""
        assert isinstance(evidence.world, SqlWorld)
        habits = checklist(evidence)
        wanted = self._gold(evidence.world, gold.data["statements"])
        if wanted is None:
            return Score(0.0, valid=False, reason="gold's statements cannot be run")
        if evidence.answer is None:
            return Score(0.0, reason="it did not say that it was done", evidence=habits)
        told = unlike(wanted, evidence.world.changes(), frozenset(gold.data["free_keys"]))
        return Score(0.0 if told else 1.0, reason=told or "the state asked for", evidence=habits)

    def _gold(self, world: SqlWorld, statements: Sequence[str]) -> Changes | None:
        def made() -> Changes | None:
            done = SqlWorld(world.base)
            if any(isinstance(done.run(statement), Failure) for statement in statements):
                return None
            changes = done.changes()
            return None if changes.more else changes

        return _wanted.get((world.base.key, *statements), made)


def unlike(wanted: Changes, found: Changes, free_keys: frozenset[str] = frozenset()) -> str:
    """How the changes found differ from those wanted, "" if they do not."""
    ours, theirs = ({(each.kind, each.name): each for each in side.tables} for side in (wanted, found))
    for kind, name in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get((kind, name)), theirs.get((kind, name))
        if one is None:
            return f"the {kind} {name} was changed, which nobody asked for"
        if other is None:
            return f"the {kind} {name} was not changed"
        if _shape(one) != _shape(other):
            return f"the {kind} {name} has other columns, keys or indexes than asked for"
        added = [[row[name in free_keys :] for row in each.added] for each in (one, other)]
        if differ(one.removed, other.removed, ordered=False) or differ(*added, ordered=False):
            return f"the {kind} {name} holds other rows than asked for"
    return "too many changes" if found.more else ""


def _shape(change: Change) -> tuple[str, ...]:
    """What a table is; of a new one, which columns it has."""
    if change.before or change.kind != "table":
        return change.after
    return tuple(line.split(" ")[0] for line in change.after if not line.startswith(("INDEX ", "reference ")))


class NumberVerifier(Verifier):
    """1.0 for a number within 0.001 of gold's (or a share of 1e-6, where that is more), else 0.0; no answer is 0.0."""

    def acquire(self) -> None:
        """Keep the process-wide worker, once a statement has started it, until the last `release`."""
        engine().acquire()

    def release(self) -> None:
        """Give the lease back; the last one ends the worker."""
        engine().release()

    def score(self, evidence: Evidence, gold: Gold) -> Score:
        """The verdict on the answer alone; beside it, as evidence, how the policy worked (`checklist`)."""
        if evidence.answer is None:
            return Score(0.0, reason="no answer", evidence=checklist(evidence))
        wanted = float(gold.answer)
        found = number_in(evidence.answer.text)
        right = found is not None and abs(found - wanted) <= max(0.001, 1e-6 * abs(wanted))
        reason = "no number" if found is None else "the number" if right else "another number"
        return Score(float(right), reason=reason, evidence=checklist(evidence))


def number_in(answer: str) -> float | None:
    """The number that an answer is, commas between thousands allowed; None where it is not one finite number."""
    text = answer.strip().strip("'\"")
    try:
        found = float(text.replace(",", ""))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _is_value(answer: str, value: object) -> bool:
    text = answer.strip().strip("'\"")
    if isinstance(value, int | float):
        number = number_in(answer)
        return number is not None and same_cell(number, float(value))
    return " ".join(text.casefold().split()) == " ".join(str(value if value is not None else "NULL").casefold().split())
