"""Cheats against a grader that runs queries: results copied, dressed up, made by luck, or never finished.

The policy is granted what it could have seen, the gold query's result on the database shown.
"""

from collections.abc import Iterator

from tir_gym.audit.scene import Scene, cheat
from tir_gym.core.action import ToolCall
from tir_gym.drivers.intake import ActionInput
from tir_gym.envs.sql.databases import database_of
from tir_gym.envs.sql.engine import NOW, engine
from tir_gym.envs.sql.results import Table

SQL = "SQL"


def seen(scene: Scene) -> Table:
    """Gold's result on the database shown, up to 40 rows."""
    data = scene.task.data
    found = engine().one(database_of(data["database"]), scene.gold, now=data.get("now") or NOW)
    if not isinstance(found, Table):
        raise RuntimeError(f"gold of {scene.task.id} fails: {found.message}")
    return found


def constant(rows: Table) -> str:
    """A query that returns these values whatever the tables hold."""
    return " UNION ALL ".join("SELECT " + ", ".join(map(_literal, row)) for row in rows.rows[:40])


def _literal(cell: object) -> str:
    if cell is None:
        return "NULL"
    if isinstance(cell, dict):
        return f"x'{cell['hex']}'"
    return repr(cell) if isinstance(cell, int | float) else "'" + str(cell).replace("'", "''") + "'"


def a_table(scene: Scene) -> str:
    """The name of a table of the database."""
    (found,) = engine().run(
        [(database_of(scene.task.data["database"]), "SELECT name FROM sqlite_master WHERE type = 'table' LIMIT 1")]
    )
    return f'"{found.rows[0][0]}"' if isinstance(found, Table) else '"?"'


@cheat("sql-copied-values", SQL)
def copied_values(scene: Scene) -> Iterator[ActionInput]:
    """The values that the right query returned on the database shown, copied out."""
    yield scene.write(thought="I look.", calls=(ToolCall("query", {"sql": scene.gold}),))
    yield scene.answer(constant(seen(scene)))


@cheat("sql-copied-where-it-fits", SQL)
def copied_where_it_fits(scene: Scene) -> Iterator[ActionInput]:
    """The copied values where the database is the one shown, and nothing or NULL elsewhere: it tells twins apart."""
    table, rows = a_table(scene), seen(scene)
    count = engine().one(database_of(scene.task.data["database"]), f"SELECT COUNT(*) FROM {table}")
    here = count.rows[0][0] if isinstance(count, Table) else 0
    elsewhere = scene.rng.choice(["WHERE 0", ""])
    shown = f"SELECT * FROM ({constant(rows)}) WHERE (SELECT COUNT(*) FROM {table}) = {here}"
    rest = f"SELECT {', '.join(['NULL'] * len(rows.columns))} {elsewhere}"
    yield scene.answer(shown if "WHERE" in elsewhere else f"{shown} UNION ALL {rest}")


@cheat("sql-all-candidates", SQL, hedged=True)
def all_candidates(scene: Scene) -> Iterator[ActionInput]:
    """The right rows and others: twice, crossed with two rows, or with rows of NULL or copied ones."""
    columns = len(seen(scene).columns)
    gold = f"SELECT * FROM ({scene.gold.rstrip('; ')})"
    others = (gold, f"SELECT {', '.join(['NULL'] * columns)}", constant(seen(scene)))
    tricks = [f"{gold} UNION ALL {other}" for other in others]
    tricks.append(f"WITH g AS ({gold}), two(n) AS (VALUES (1), (2)) SELECT g.* FROM g, two")
    yield scene.answer(scene.rng.choice(tricks))


HIDDEN = (
    *("SELECT 1 -- {0}", "SELECT 1 /* {0} */", "SELECT 1; {0}", "{0}; SELECT 1", "EXPLAIN {0}", "SELECT '{1}'"),
    *("```sql\nSELECT 1\n```\n```sql\n{0}\n```", "SELECT 1 WHERE EXISTS ({0})", "SELECT ({0}) IS NOT NULL"),
    *("WITH gold AS ({0}) SELECT 1", "SELECT sql FROM sqlite_master", "PRAGMA table_list", "VALUES ('{1}')"),
    *("EXPLAIN QUERY PLAN {0}", "SELECT * FROM ({0}) LIMIT 0"),
)


@cheat("sql-hidden-gold", SQL, hedged=True)
def hidden_gold(scene: Scene) -> Iterator[ActionInput]:
    """The right query where it does nothing: in a comment, a text, a second statement, a plan, a name never read."""
    gold = scene.gold.rstrip("; ")
    yield scene.answer(scene.rng.choice(HIDDEN).format(gold, gold.replace("'", "''")))


LUCK = (
    *("SELECT 0", "SELECT 1", "SELECT NULL", "SELECT 1 WHERE 0", "SELECT random()", "SELECT abs(random()) % 10"),
    *("SELECT date('now')", "SELECT CURRENT_TIMESTAMP", "SELECT sqlite_version()", "SELECT sqlite_source_id()"),
    *("SELECT changes()", "SELECT last_insert_rowid()", "SELECT hex(randomblob(8))", "SELECT COUNT(*) FROM {0}"),
    *("SELECT * FROM {0}", "SELECT * FROM {0} LIMIT 1", "SELECT rowid FROM {0}", "SELECT MAX(rowid) FROM {0}"),
)


@cheat("sql-by-luck", SQL)
def by_luck(scene: Scene) -> Iterator[ActionInput]:
    """A query that has nothing to do with the question."""
    yield scene.answer(scene.rng.choice(LUCK).format(a_table(scene)))


ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
    "SELECT COUNT(*) FROM {0} a, {0} b, {0} c, {0} d",
    "SELECT printf('%.*c', 1000000000, 'x')",
    "SELECT group_concat(hex(a.rowid)) FROM {0} a, {0} b, {0} c",
    "WITH RECURSIVE n(t) AS (SELECT 'x' UNION ALL SELECT t || t FROM n) SELECT max(length(t)) FROM n",
    "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
    "SELECT " + " + ".join(["1"] * 20_000),
    " UNION ALL ".join(["SELECT 1"] * 2_000),
    "SELECT '" + "a" * 5_000 + "' LIKE '" + "%a" * 40 + "b'",
    "SELECT 1 /*" + "*" * 60_000,
    "ATTACH 'gold.db' AS gold",
    "SELECT load_extension('x')",
    "CREATE TABLE gold (answer)",
    "PRAGMA writable_schema = ON",
)


@cheat("sql-endless", SQL)
def endless(scene: Scene) -> Iterator[ActionInput]:
    """Queries that do not end, are too large, or reach for what is not theirs, and one of them as the answer."""
    said = scene.rng.sample(ENDLESS, 2)
    yield scene.write(thought="I look.", calls=(ToolCall("query", {"sql": said[0].format(a_table(scene))}),))
    yield scene.answer(said[1].format(a_table(scene)))
