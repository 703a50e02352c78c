"""Databases that are written to: whole statements or nothing, copies, going back, what became of them, and attacks."""

import copy
import gc
import json
import os
import signal

import pytest

from tests.envs.sql.samples import SHELF, Sample, sample
from tests.envs.sql.test_hostile import EXFILTRATION, FILES, SETTINGS, UNINTERRUPTIBLE
from tir_gym.core.tool import EnvError
from tir_gym.envs.sql import world as world_module
from tir_gym.envs.sql.engine import engine
from tir_gym.envs.sql.results import Change, Failure, QueryLimits, Table
from tir_gym.envs.sql.worker.serve import Store
from tir_gym.envs.sql.world import SqlWorld


@pytest.fixture
def world():
    return SqlWorld(sample())


def names(world):
    return [row[0] for row in world.run("SELECT name FROM author ORDER BY id").rows]


def done(world, *statements):
    for sql in statements:
        found = world.run(sql)
        assert isinstance(found, Table), found
        assert found.changed >= 0
    return world


def test_what_is_written_is_read_again_and_the_base_stays(world):
    other = SqlWorld(sample())
    inserted = world.run("INSERT INTO author VALUES (7, 'Eve', 1999), (8, 'Flo', NULL) RETURNING id")
    assert (inserted.columns, inserted.rows, inserted.changed) == (("id",), ((7,), (8,)), 2)
    assert world.run("UPDATE author SET name = upper(name) WHERE id < 3").changed == 2
    assert world.run("UPDATE author SET name = 'x' WHERE 0").changed == 0
    assert world.run("SELECT 1").changed == -1
    assert names(world) == ["ADA", "BO", "Cy", "Eve", "Flo"]
    assert names(other) == ["Ada", "Bo", "Cy"]
    assert engine().one(world.base, "SELECT count(*) FROM author").rows == ((3,),)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE mine (a PRIMARY KEY, b DEFAULT CURRENT_TIMESTAMP, c AS (a + 1), CHECK (a > 0)) WITHOUT ROWID",
        "CREATE TABLE mine AS SELECT * FROM author",
        "CREATE UNIQUE INDEX mine ON author (name) WHERE born > 0",
        "CREATE VIEW mine AS SELECT date(sold) FROM book",
        "CREATE TRIGGER mine AFTER INSERT ON author BEGIN UPDATE book SET price = price + 1; END",
        "ALTER TABLE author ADD COLUMN city TEXT DEFAULT '?'",
        "ALTER TABLE author RENAME COLUMN name TO called",
        "ALTER TABLE book DROP COLUMN sold",
        "ALTER TABLE book RENAME TO volume",
        "DROP VIEW cheap",
        "DROP TABLE book",
        "DROP INDEX book_author",
        "REINDEX",
        "WITH cheapest AS (SELECT id FROM book ORDER BY price LIMIT 1) DELETE FROM book WHERE id IN cheapest",
        "INSERT INTO author (id, name) VALUES (1, 'Eva') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        "REPLACE INTO book VALUES (1, 1, 'Other', 1, NULL)",
    ],
)
def test_tables_views_indexes_triggers_and_rows_may_be_changed(world, sql):
    before = world.digest()
    done(world, sql)
    assert (world.digest() == before) == (sql == "REINDEX")
    again = done(SqlWorld(sample()), sql)
    assert world.changes() == again.changes()


def test_a_default_tells_the_time_of_the_world():
    world = SqlWorld(sample(), now="2001-02-03 04:05:06")
    done(world, "CREATE TABLE mine (a, b DEFAULT CURRENT_TIMESTAMP, c DEFAULT (date('now')))")
    done(world, "INSERT INTO mine (a) VALUES (1)")
    assert world.run("SELECT b, c FROM mine").rows == (("2001-02-03 04:05:06", "2001-02-03"),)


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("INSERT OR FAIL INTO author VALUES (7, 'Eve', 1), (1, 'Eva', 1), (9, 'Evi', 1)", "sql"),
        ("UPDATE OR FAIL author SET id = id + 1 WHERE id < 3", "sql"),
        ("INSERT INTO author SELECT a.n + 10, 'x', 1 FROM big a, big b", "sql"),
        ("UPDATE big SET word = (SELECT count(*) FROM big a, big b WHERE a.word > b.word)", "ops"),
        ("DELETE FROM author", "sql"),
        ("INSERT INTO book VALUES (9, 77, 'No author', 1, NULL)", "sql"),
        ("INSERT INTO loan VALUES (1, 77)", "sql"),
        ("INSERT INTO guarded VALUES (1), (2), (3)", "sql"),
    ],
)
def test_a_statement_that_fails_changes_nothing(sql, kind):
    script = (
        "CREATE TABLE loan (id, author_id REFERENCES author(id) DEFERRABLE INITIALLY DEFERRED); "
        "CREATE TABLE guarded (a);"
        "CREATE TRIGGER guard AFTER INSERT ON guarded WHEN new.a = 2 BEGIN SELECT RAISE(FAIL, 'not 2'); END;"
    )
    world = done(
        SqlWorld(sample(SHELF + script, key="guarded", many=2_000)), "UPDATE author SET name = 'Ann' WHERE id = 1"
    )
    before = world.digest()
    found = world.run(sql, QueryLimits(ops=1_000_000))
    assert isinstance(found, Failure)
    assert found.kind == kind
    assert len(world.log) == 1
    assert world.digest() == before
    assert names(done(world, "INSERT INTO author VALUES (9, 'Zoe', 1)")) == ["Ann", "Bo", "Cy", "Zoe"]


@pytest.mark.parametrize(
    "sql",
    [
        *FILES,
        *SETTINGS,
        *EXFILTRATION[:2],
        "CREATE TEMP TABLE mine (a)",
        "CREATE TEMP VIEW mine AS SELECT 1",
        "CREATE TEMP TRIGGER mine AFTER INSERT ON author BEGIN DELETE FROM book; END",
        "CREATE VIRTUAL TABLE mine USING fts5 (a)",
        "CREATE VIRTUAL TABLE mine USING dbstat",
        "INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 2, 'CREATE TABLE x (a)')",
        "UPDATE sqlite_master SET sql = 'x'",
        "DELETE FROM sqlite_schema",
        "UPDATE sqlite_dbpage SET data = zeroblob(4096)",
        "INSERT INTO sqlite_dbpage VALUES (1, x'00')",
        "ANALYZE",
        "PRAGMA foreign_keys = OFF",
        "PRAGMA max_page_count = 1000000000",
        "PRAGMA main.page_size = 512",
        "PRAGMA recursive_triggers = ON",
        "SELECT sqlite_rename_table('main', 'table', 'author', 'CREATE TABLE author (a)', 'author', 'x', 0)",
        "SELECT last_insert_rowid()",
        "CREATE TABLE mine AS SELECT random()",
        "CREATE TABLE mine (a AS (load_extension('{place}/evil')))",
        "INSERT INTO author SELECT 9, readfile('{secret}'), 1",
        "CREATE TABLE mine AS SELECT * FROM pragma_database_list",
    ],
)
def test_writing_opens_no_other_way(world, tmp_path, sql):
    secret = tmp_path / "secret.db"
    secret.write_bytes(b"treasure")
    found = world.run(sql.format(place=tmp_path, secret=secret))
    assert isinstance(found, Failure)
    assert found.kind in ("refused", "sql")
    assert "treasure" not in found.message
    assert list(tmp_path.iterdir()) == [secret]
    assert world.log == ()
    assert world.run("PRAGMA foreign_key_list(book)").rows


@pytest.mark.parametrize(
    "call",
    [
        "fts3_tokenizer('simple', x'4141414141414141')",
        "load_extension('/tmp/evil')",
        "randomblob(100000000)",
        "random()",
        "zeroblob(100000000)",
        "printf('%1000000000d', 1)",
    ],
)
def test_what_the_authorizer_is_not_asked_about_is_refused_where_it_is_called(world, call):
    """SQLite does not ask it about functions in a DEFAULT when rows are inserted."""
    world.run(f"CREATE TABLE mine (a, b DEFAULT ({call}))")
    found = world.run("INSERT INTO mine (a) VALUES (1)")
    assert isinstance(found, Failure)
    assert isinstance(world.run("SELECT 1"), Table)


def test_a_trigger_that_calls_itself_or_a_view_without_end_ends(world):
    done(
        world,
        "CREATE TABLE mine (a)",
        "CREATE TRIGGER again AFTER INSERT ON mine BEGIN INSERT INTO mine VALUES (new.a + 1); END",
        "CREATE VIEW endless AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT * FROM r",
    )
    world.run("INSERT INTO mine VALUES (1)")
    assert world.run("SELECT count(*) FROM mine").rows[0][0] <= 10
    assert world.run("SELECT max(n) FROM endless").kind == "ops"
    with pytest.raises(EnvError, match="cannot be compared"):
        world.changes(QueryLimits(ops=1_000_000))


def test_a_world_grows_by_so_much_and_no_more(world):
    sql = (
        "INSERT INTO author (name) WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 2000) "
        "SELECT printf('%1000d', n) FROM r"
    )
    found = [world.run(sql) for _ in range(6)]
    kinds = [each.kind if isinstance(each, Failure) else "" for each in found]
    assert kinds == ["", "", "", "", "space", "space"]
    copied = world.fork()
    assert copied.run(sql).kind == "space"
    assert world.run("SELECT count(*) FROM author").rows == ((8_003,),)


def test_what_no_handler_interrupts_costs_the_statement_and_not_the_world():
    world = SqlWorld(sample(key="big", many=4_000))
    neighbour = done(SqlWorld(sample()), "DELETE FROM book WHERE id = 1")
    done(world, "UPDATE author SET name = 'Ann' WHERE id = 1")
    found = world.run(f"INSERT INTO author (name) {UNINTERRUPTIBLE[0]}", QueryLimits(seconds=1.0))
    assert found.kind in ("killed", "time", "ops")
    assert names(world) == ["Ann", "Bo", "Cy"]
    assert neighbour.run("SELECT count(*) FROM book").rows == ((3,),)


def test_all_changes_of_one_world_have_a_limit_together(monkeypatch, world):
    monkeypatch.setattr(world_module, "OPS", 1_500_000)
    long = (
        "INSERT INTO author (name, born) WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 50000) "
        "SELECT 'x', sum(n) FROM r"
    )
    kinds = [getattr(world.run(long), "kind", "") for _ in range(4)]
    assert kinds[0] == ""
    assert kinds[-1] == "ops"


def test_a_copy_goes_its_own_way(world):
    done(world, "DELETE FROM book WHERE id = 1")
    first, second = world.fork(), copy.deepcopy(world)
    done(first, "INSERT INTO author VALUES (7, 'Eve', 1)")
    done(second, "UPDATE author SET name = 'x'")
    assert names(world) == ["Ada", "Bo", "Cy"]
    assert names(first) == ["Ada", "Bo", "Cy", "Eve"]
    assert names(second) == ["x", "x", "x"]
    assert all(each.run("SELECT count(*) FROM book").rows == ((3,),) for each in (world, first, second))
    assert world.fork().digest() == world.digest()
    assert json.loads(world.take_writes()) == ["DELETE FROM book WHERE id = 1"]
    assert world.take_writes() == b""
    assert json.loads(first.take_writes()) == [
        "DELETE FROM book WHERE id = 1",
        "INSERT INTO author VALUES (7, 'Eve', 1)",
    ]


def test_a_world_survives_the_loss_of_its_worker(world):
    done(world, "INSERT INTO author VALUES (7, 'Eve', 1)", "DELETE FROM author WHERE id = 3")
    copied = world.fork()
    before = world.digest()
    os.kill(engine()._worker.pid, signal.SIGKILL)
    assert names(copied) == names(world) == ["Ada", "Bo", "Eve"]
    assert world.digest() == copied.digest() == before
    os.kill(engine()._worker.pid, signal.SIGKILL)
    done(world, "DELETE FROM author WHERE id = 7")
    assert names(world) == ["Ada", "Bo"]


def test_a_world_goes_back_to_a_snapshot(world):
    empty = world.snapshot()
    done(world, "INSERT INTO author VALUES (7, 'Eve', 1)")
    one = world.snapshot()
    first = world.digest()
    done(world, "DELETE FROM book")
    assert world.diff(one).keys() == {"table book"}
    assert world.diff(empty).keys() == {"table author", "table book"}
    world.restore(one)
    assert (world.digest(), names(world)) == (first, ["Ada", "Bo", "Cy", "Eve"])
    done(world, "UPDATE author SET born = 2 WHERE id = 7")
    shape = ["id INTEGER PRIMARY KEY 1", "name TEXT NOT NULL", "born INTEGER"]
    assert world.diff(one) == {
        "table author": {"before": shape, "after": shape, "removed": [[7, "Eve", 1]], "added": [[7, "Eve", 2]]}
    }
    world.restore(one)
    world.restore(empty)
    assert (names(world), world.diff(empty), world.log) == (["Ada", "Bo", "Cy"], {}, ())


def test_the_digest_is_of_the_content_not_of_the_way(world):
    other = SqlWorld(sample())
    start = world.digest()
    done(world, "INSERT INTO author VALUES (7, 'Eve', 1)", "INSERT INTO author VALUES (8, 'Flo', 1)")
    done(other, "INSERT INTO author VALUES (8, 'Flo', 1)", "INSERT INTO author VALUES (7, 'Eve', 2)")
    assert world.digest() != other.digest()
    done(other, "UPDATE author SET born = 1 WHERE id = 7")
    assert world.digest() == other.digest() != start
    done(world, "DELETE FROM author WHERE id > 6")
    assert world.digest() == start


def test_changes_tell_shapes_and_rows(world):
    done(
        world,
        "UPDATE book SET price = 9.5, sold = x'00ff' WHERE id = 3",
        "INSERT INTO author VALUES (7, 'Eve', 1), (8, 'Eve', 1)",
        "DELETE FROM author WHERE id = 3",
        "CREATE TABLE Mine (A INTEGER PRIMARY KEY, b TEXT NOT NULL DEFAULT 'x' UNIQUE, c REFERENCES author (id))",
        "INSERT INTO mine (a) VALUES (5)",
        "DROP VIEW cheap",
        "CREATE VIEW dear AS SELECT title FROM book WHERE price > 9 ORDER BY 1",
        "CREATE INDEX by_name ON author (name, born)",
    )
    found = world.changes()
    assert not found.more
    author = ("id INTEGER PRIMARY KEY 1", "name TEXT NOT NULL", "born INTEGER")
    cheap = "CREATE VIEW cheap AS SELECT title, price FROM book WHERE price < 10"
    told = {each.name: each for each in found.tables}
    assert list(told) == ["author", "book", "mine", "cheap", "dear"]
    assert told["author"] == Change(
        *("author", "table", author, (*author, "INDEX by_name (name, born)")),
        *(((3, "Cy", 1950),), ((7, "Eve", 1), (8, "Eve", 1))),
    )
    assert told["book"].removed == ((3, 2, "Rain", 8.0, None),)
    assert told["book"].added == ((3, 2, "Rain", 9.5, {"hex": "00ff"}),)
    assert told["book"].before == told["book"].after
    assert told["mine"] == Change(
        "mine",
        "table",
        (),
        (
            *("a INTEGER PRIMARY KEY 1", "b TEXT NOT NULL DEFAULT 'x'", "c ", "INDEX UNIQUE (b)"),
            "reference c author id no action no action",
        ),
        (),
        ((5, "x", None),),
    )
    assert told["cheap"].before == (cheap,)
    assert told["cheap"].after == ()
    assert told["cheap"].removed == (("Engines", 8.0), ("NULL", 3.25), ("Rain", 8.0))
    assert told["dear"].added == (("Notes",), ("Rain",))
    few = world.changes(QueryLimits(rows=2))
    assert few.more
    assert few.digest == found.digest
    assert sum(len(each.removed) + len(each.added) for each in few.tables) == 2


def test_types_and_duplicates_count_as_changes():
    base = sample("CREATE TABLE t (a); INSERT INTO t VALUES (1), (1), ('1'), (1.0), (NULL)", key="typed")
    same = done(SqlWorld(base), "DELETE FROM t WHERE typeof(a) = 'real'", "INSERT INTO t VALUES (1.0)")
    assert same.changes().tables == ()
    fewer = done(SqlWorld(base), "DELETE FROM t WHERE rowid = 1")
    assert fewer.changes().tables[0].removed == ((1,),)
    typed = done(SqlWorld(base), "UPDATE t SET a = '1' WHERE rowid = 1")
    assert (typed.changes().tables[0].removed, typed.changes().tables[0].added) == (((1,),), (("1",),))


def test_files_are_copied_and_not_written(tmp_path):
    import sqlite3

    path = tmp_path / "shelf.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(SHELF)
    connection.close()
    before = path.read_bytes()
    world = done(SqlWorld(Sample(f"wal {path}", path=str(path))), "DELETE FROM book")
    assert world.run("SELECT count(*) FROM book").rows == ((0,),)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_worker_forgets_worlds_that_are_gone():
    base = sample()
    store = Store()
    store.answer({"load": base.key, "path": ""}, base.content())
    terms = {"rows": 1, "bytes": 9, "ops": 10**6, "seconds": 9.0, "count": 9, "now": "2001-01-01 00:00:00"}
    for name in range(3):
        store.answer({"session": [name, base.key, 0], "steps": ["DELETE FROM book"], **terms}, b"")
    assert list(store.sessions) == [0, 1, 2]
    assert store.answer({"session": [1, base.key, 0], "steps": ["SELECT 1"], **terms}, b"") == {"stale": [1]}
    store.answer({"session": [1, base.key, 1], "steps": ["SELECT 1"], "drop": [0, 2], **terms}, b"")
    assert list(store.sessions) == [1]
    store.sessions[1].connection.close()
    store.open[base.key].connection.close()
    store.clock._plain.close()
    before = len(engine()._dropped)
    for _ in range(3):
        SqlWorld(base)
    gc.collect()
    assert len(engine()._dropped) >= before + 3
