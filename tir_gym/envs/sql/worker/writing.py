"""A session that writes: a private copy of a database in memory, one savepoint a statement, and what became of it.

Standard library only; loaded by `serve`.
"""

import hashlib
import sqlite3
import time
from collections import Counter
from itertools import zip_longest
from typing import Any

from tir_gym.envs.sql.worker.guard import Clock, Database

GROWTH = 8 << 20
"""Bytes by which a session may grow beyond its base."""

Shape = tuple[str, ...]


class Session(Database):
    """A copy of another connection's database, which statements may change; `at` counts those that did."""

    writable = True

    def __init__(self, clock: Clock, base: sqlite3.Connection, at: int = 0) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)
        base.backup(connection)
        pages, page = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        super().__init__(clock, connection, pages * page)
        self.at = at
        self._page = page
        with self.ours():
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute(f"PRAGMA max_page_count={pages + GROWTH // page}").fetchall()

    def copy(self) -> "Session":
        """Another session with the same content; it may grow no further than this one."""
        made = Session(self._clock, self.connection, self.at)
        with self.ours(), made.ours():
            (most,) = self.connection.execute("PRAGMA max_page_count").fetchone()
            made.connection.execute(f"PRAGMA max_page_count={most}").fetchall()
        return made

    def step(self, sql: str, limits: dict[str, Any]) -> dict[str, Any]:
        """The result of a statement, as `run` gives it, all of it done or nothing.

        `changed` is the number of rows written, those by triggers and references included; -1 where it only read.
        """
        with self.ours():
            self.connection.execute("SAVEPOINT step")
        before = self.connection.total_changes
        found = self.run(sql, limits)
        with self.ours():
            if "error" not in found:
                try:
                    self.connection.execute("RELEASE step")
                except sqlite3.Error as error:  # a reference that was to hold by now
                    found = self._explain(error)
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK TO step")
                self.connection.execute("RELEASE step")
            if "error" not in found:
                found["changed"] = self.connection.total_changes - before if self.changes else -1
                self.at += self.changes
                self.size = self.connection.execute("PRAGMA page_count").fetchone()[0] * self._page
        return found


def changes(before: Database, after: Database, limits: dict[str, Any]) -> dict[str, Any]:
    """What differs between two states, table by table, or the error that kept it from being told.

    `tables` holds `[name, kind, shape before, shape after, rows removed, rows added]` for each table, view or trigger
    that differs, rows as a bag; `more` says that there are more rows than `limits` allow, which are left out; `digest`
    is a hash of the whole.
    """
    for each in (before, after):
        each.ops, each.most_ops = 0, limits["ops"]
        each.deadline = time.process_time() + limits["seconds"]
    try:
        with before.ours(), after.ours():
            return _bounded(_differences(before.connection, after.connection), limits)
    except MemoryError:
        return {"error": "memory", "message": "out of memory"}
    except sqlite3.Error as error:
        return after._explain(error)


Difference = tuple[str, str, Shape, Shape, Counter[str], Counter[str], dict[str, list[Any]]]


def _differences(before: sqlite3.Connection, after: sqlite3.Connection) -> list[Difference]:
    shapes = [_shapes(connection) for connection in (before, after)]
    found: list[Difference] = []
    for key in sorted(shapes[0].keys() | shapes[1].keys()):
        kind, name = key
        old, new = (shape.get(key, ()) for shape in shapes)
        if kind == "trigger" or (kind == "view" and old == new):
            bags: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
            cells: dict[str, list[Any]] = {}
        else:
            bags, cells = _bags(before if old else None, after if new else None, name)
        if old != new or bags[0] or bags[1]:
            found.append((name, kind, old, new, *bags, cells))
    return found


def _bags(
    before: sqlite3.Connection | None, after: sqlite3.Connection | None, name: str
) -> tuple[tuple[Counter[str], Counter[str]], dict[str, list[Any]]]:
    """The rows only the one and only the other has, by their text; and what the texts stand for."""
    sql = f"SELECT * FROM {_quoted(name)}"
    sides = [connection.execute(sql) if connection else iter(()) for connection in (before, after)]
    bags: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    cells: dict[str, list[Any]] = {}
    for pair in zip_longest(*sides):
        texts = [repr(row) if row is not None else "" for row in pair]
        if texts[0] != texts[1]:
            for bag, text, row in zip(bags, texts, pair, strict=True):
                if text:
                    bag[text] += 1
                    cells[text] = [{"hex": cell.hex()} if isinstance(cell, bytes) else cell for cell in row]
    return (bags[0] - bags[1], bags[1] - bags[0]), cells


def _shapes(connection: sqlite3.Connection) -> dict[tuple[str, str], Shape]:
    """What each table, view and trigger is: its columns, keys, indexes and references, or its text, one a line."""
    shapes: dict[tuple[str, str], Shape] = {}
    held = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view', 'trigger') "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND sql NOT LIKE 'CREATE VIRTUAL%'"
    )
    for kind, name, sql in held.fetchall():
        shapes[kind, name.lower()] = _table(connection, name) if kind == "table" else (" ".join(sql.split()),)
    return shapes


def _table(connection: sqlite3.Connection, table: str) -> Shape:
    lines = []
    for _, name, kind, not_null, default, key, hidden in connection.execute(f"PRAGMA table_xinfo({_quoted(table)})"):
        notes = [f"PRIMARY KEY {key}"] if key else []
        notes += ["NOT NULL"] if not_null else []
        notes += [f"DEFAULT {default}"] if default is not None else []
        notes += ["GENERATED"] if hidden else []
        lines.append(" ".join([name.lower(), kind.upper(), *notes]))
    for _, index, unique, origin, partial in connection.execute(f"PRAGMA index_list({_quoted(table)})").fetchall():
        columns = connection.execute(f"PRAGMA index_info({_quoted(index)})").fetchall()
        words = [index.lower()] if origin == "c" else []
        words += [word for word, said in (("UNIQUE", unique), ("PARTIAL", partial)) if said]
        lines.append(f"INDEX {' '.join(words)} ({', '.join(str(column[2]).lower() for column in columns)})")
    for row in connection.execute(f"PRAGMA foreign_key_list({_quoted(table)})"):
        _, _, target, mine, theirs, update, delete, _ = row
        lines.append(f"REFERENCE {mine} {target} {theirs} {update} {delete}".lower())
    return tuple(lines)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _bounded(found: list[Difference], limits: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.blake2b(digest_size=16)
    tables, more = [], False
    rows_left, bytes_left = limits["rows"], limits["bytes"]
    for name, kind, old, new, *bags, cells in found:
        sides: list[list[Any]] = []
        digest.update(repr((name, kind, old, new)).encode())
        for bag in bags:
            side: list[Any] = []
            for text in sorted(bag.elements()):
                digest.update(text.encode("utf-8", "surrogatepass"))
                if rows_left > 0 and bytes_left > 0:
                    side.append(cells[text])
                    rows_left, bytes_left = rows_left - 1, bytes_left - len(text)
                else:
                    more = True
            sides.append(side)
            digest.update(b"\n")
        tables.append([name, kind, old, new, *sides])
    return {"tables": tables, "more": more, "digest": digest.hexdigest() if tables else ""}
