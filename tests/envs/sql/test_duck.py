"""DuckDB behind the same tools: what it returns, whole episodes, and what a policy may try."""

from dataclasses import replace

import pytest

from tests.envs.sql.samples import Sample, ran, sample
from tests.play import make, play_oracle
from tir_gym.core.tool import ToolError
from tir_gym.core.verify import Answer, Evidence
from tir_gym.envs.sql.databases import Generated
from tir_gym.envs.sql.desks import DuckDesk
from tir_gym.envs.sql.engine import NOW, Engine, EngineUnavailable, engine
from tir_gym.envs.sql.env import Sql
from tir_gym.envs.sql.results import Failure, QueryLimits, Table
from tir_gym.envs.sql.tools import SqlToolkit
from tir_gym.envs.sql.verify import SqlVerifier

pytest.importorskip("duckdb")
LIMITS = QueryLimits(rows=50, bytes=20_000, seconds=3.0)


@pytest.fixture(scope="module")
def duck():
    engine("duckdb").acquire()
    yield engine("duckdb")
    engine("duckdb").release()


def test_results_have_the_shape_of_sqlites(duck):
    sql = "SELECT price, title, born FROM book LEFT JOIN author a ON a.id = author_id ORDER BY price DESC, title"
    assert duck.one(sample(), sql) == engine().one(sample(), sql)
    sql = (
        "SELECT NULL, true, 1.50::DECIMAL(9, 2), 7::HUGEINT, DATE '2024-02-29', '\\x00\\xff'::BLOB, "
        "[1, NULL], {'a': 1}, TIMESTAMPTZ '2024-02-29 01:02:03+00', INTERVAL 1 DAY, 'inf'::DOUBLE"
    )
    assert duck.one(sample(), sql).rows == (
        (
            *(None, True, 1.5, 7, "2024-02-29", {"hex": "00ff"}, "[1, null]", '{"a": 1}'),
            *("2024-02-29 01:02:03+00:00", "1 day, 0:00:00", float("inf")),
        ),
    )
    assert duck.one(sample(), "SELECT 1 a, 2 a").columns == ("a", "a")
    flood = duck.one(sample(), "SELECT i FROM range(100000000) t(i)", QueryLimits(rows=3, count=500))
    assert (len(flood.rows), flood.count, flood.more) == (3, 500, True)


def test_the_tools_show_it_and_name_what_is_nearest(duck):
    kit = SqlToolkit(DuckDesk(sample(), LIMITS, NOW))
    assert "author |       3 |    3" in ran(kit.list_tables()).content[0].text
    shown = ran(kit.describe_table("BOOK")).content[0].text
    for line in ("book: 4 rows", "id        | BIGINT  | primary key", "author_id | BIGINT  | references author(id)"):
        assert line in shown
    assert "true BOOLEAN" in ran(kit.query("SELECT true AS true")).content[0].text
    assert "Projection" in ran(kit.explain("SELECT title FROM book")).content[0].text
    with pytest.raises(ToolError, match='Did you mean "book"'):
        ran(kit.query("SELECT * FROM boook"))
    with pytest.raises(ToolError, match='Candidate bindings: "title"'):
        ran(kit.query("SELECT titel FROM book"))
    with pytest.raises(ToolError, match="not allowed here: INSERT; only reading is"):
        ran(kit.query("INSERT INTO author VALUES (9, 'Eve', 1)"))


def test_whole_episodes_are_played_and_judged_on_duckdb():
    with make("tir/SQL-v0", engine="duckdb", twins=2) as env:
        for seed in range(4):
            play_oracle(env, seed)
        assert env.reset(seed=0)[0].count("The database is DuckDB's") == 1


def test_the_dialect_of_the_answer_is_duckdbs(duck):
    task = Sql().tasks(None, "train", 1).task(0, 0)
    database = Generated("shop", 0, 1_000, 0.0, False)
    gold = replace(task.gold, answer="SELECT status, COUNT(*) FROM purchase GROUP BY status")
    public = replace(task, data={"database": database.data}).public
    answer = Answer("FROM purchase SELECT status, count(*) GROUP BY ALL")
    evidence = Evidence(public, answer, (), None, (), "answer")
    assert SqlVerifier("test_suite", 4, "duckdb").score(evidence, gold).value == 1.0
    assert SqlVerifier("test_suite", 4).score(evidence, gold).value == 0.0


REFUSED = [
    "INSERT INTO author VALUES (9, 'Eve', 1)",
    "WITH a AS (INSERT INTO author VALUES (9, 'Eve', 1) RETURNING id) SELECT * FROM a",
    "EXPLAIN ANALYZE INSERT INTO author VALUES (9, 'Eve', 1)",
    "EXPLAIN (ANALYZE) DELETE FROM author",
    "UPDATE author SET name = 'Eve'",
    "DELETE FROM author",
    "MERGE INTO author USING book ON author.id = book.id WHEN MATCHED THEN DELETE",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE TEMP MACRO now() AS 1",
    "CREATE SECRET (TYPE s3)",
    "CREATE FUNCTION f(x) AS x",
    "DROP TABLE author",
    "ALTER TABLE author ADD COLUMN x INTEGER",
    "SELECT nextval('s')",
    "ATTACH '{place}/evil.db'",
    "ATTACH ':memory:' AS other",
    "DETACH memory",
    "USE temp",
    "COPY author TO '{place}/evil.csv'",
    "COPY author FROM '{secret}'",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "EXPORT DATABASE '{place}/evil'",
    "IMPORT DATABASE '{place}'",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs FROM 'http://localhost:1'",
    "LOAD '{place}/evil.duckdb_extension'",
    "UPDATE EXTENSIONS",
    "SET enable_external_access = true",
    "SET GLOBAL lock_configuration = false",
    "SET memory_limit = '100GB'",
    "SET threads = 16",
    "SET temp_directory = '{place}'",
    "SET python_enable_replacements = true",
    "RESET memory_limit",
    "PRAGMA enable_profiling",
    "PRAGMA profiling_output = '{place}/evil'",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY author TO '{place}/evil.csv'",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM read_parquet('{secret}')",
    "SELECT * FROM read_json('{secret}')",
    "SELECT * FROM read_json_objects('{secret}')",
    "SELECT * FROM parquet_metadata('{secret}')",
    "SELECT * FROM read_duckdb('{secret}')",
    "SELECT * FROM glob('{place}/../*')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT * FROM read_csv('http://localhost:1/x')",
    "SELECT * FROM read_csv('/proc/self/environ')",
    "SELECT getenv('HOME')",
    "SELECT * FROM query('COPY author TO ''{place}/evil.csv''')",
    "SELECT * FROM query_table('{secret}')",
    "SELECT * FROM sys",
    "SELECT * FROM blob",
    "SELECT * FROM sqlite_scan('{secret}', 'gold')",
    "SELECT random()",
    "SELECT uuid()",
    "SELECT error('x')",
    "SELECT '\ud800'",
    "",
    ";",
    "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
]


@pytest.mark.parametrize("sql", REFUSED, ids=lambda sql: ascii(sql[:48]))
def test_what_writes_configures_or_reaches_out_is_refused(duck, tmp_path, sql):
    place, secret = tmp_path / "place", tmp_path / "secret.csv"
    place.mkdir()
    secret.write_text("answer\ntreasure\n")
    found = duck.one(sample(), sql.format(place=place, secret=secret), LIMITS)
    assert isinstance(found, Failure)
    assert found.kind in ("refused", "sql", "killed")
    assert "treasure" not in found.message
    assert list(place.iterdir()) == []
    tables = duck.one(
        sample(), "SELECT (SELECT count(*) FROM author), current_setting('enable_external_access')", LIMITS
    )
    assert tables.rows == ((3, False),)


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
        "SELECT count(*) FROM generate_series(1, 100000000000)",
        "SELECT max(a.i + b.i + c.i) FROM range(1000000) a(i), range(1000000) b(i), range(100000) c(i)",
        "SELECT list(i) FROM range(1000000000) t(i)",
        "SELECT count(DISTINCT i) FROM range(1000000000) t(i)",
        "SELECT string_agg(i::VARCHAR, repeat('y', 1000)) FROM range(100000000) t(i)",
        "SELECT repeat('x', 1000000000)",
        "SELECT repeat(repeat('ab', 1000000), 1000)",
        "SELECT printf('%1000000000d', 1)",
        "SELECT lpad('x', 1000000000, 'y')",
        "SELECT levenshtein(repeat('ab', 60000), repeat('ba', 60000))",
        "SELECT array_agg(x) OVER (ORDER BY x) FROM range(1000000) t(x)",
    ],
    ids=lambda sql: sql[:40],
)
def test_what_would_run_on_or_take_all_memory_is_ended(duck, sql):
    found = duck.one(sample(), sql, QueryLimits(seconds=0.5))
    assert isinstance(found, Failure)
    assert found.kind in ("time", "memory", "killed", "sql")
    assert duck.one(sample(), "SELECT count(*) FROM author", LIMITS).rows == ((3,),)


def test_the_clock_stands(duck):
    ways = "now()::DATE, today(), current_date, current_timestamp::DATE, get_current_timestamp()::DATE"
    found = duck.one(sample(), f"SELECT {ways}", LIMITS, now="2001-02-03 04:05:06")
    assert found.rows == (("2001-02-03",) * 5,)
    assert duck.one(sample(), "SELECT current_time", LIMITS, now="2001-02-03 04:05:06").rows == (("04:05:06",),)


def test_the_worker_is_confined(duck):
    layers = duck.layers()
    assert layers == engine().layers()
    assert "it was set and does not hold" not in layers.values()


def test_files_are_tables(duck, tmp_path):
    import duckdb

    (tmp_path / "my data.csv").write_text("id,name,at\n1,Ada,2024-01-05\n2,,2024-02-29\n")
    csv = Sample("csv", path=str(tmp_path / "my data.csv"))
    assert duck.one(csv, "SELECT * FROM my_data").rows == ((1, "Ada", "2024-01-05"), (2, None, "2024-02-29"))
    with duckdb.connect(str(tmp_path / "shelf.db")) as made:
        made.execute("CREATE TABLE t AS SELECT 42 AS x, [1, 2] AS l")
        made.execute(f"COPY t TO '{tmp_path}/t.parquet'")
    for name in ("shelf.db", "t.parquet"):
        source = Sample(name, path=str(tmp_path / name))
        assert duck.one(source, "SELECT * FROM t").rows == ((42, "[1, 2]"),)
        assert isinstance(duck.one(source, "DELETE FROM t"), Failure)
        assert isinstance(duck.one(source, f"SELECT * FROM '{tmp_path}/my data.csv'"), Failure)
    with pytest.raises(EngineUnavailable, match="cannot open the database"):
        duck.one(Sample("none", path=str(tmp_path / "none.csv")), "SELECT 1")


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match=r"tir-gym\[duckdb\]"):
        Engine("duckdb").one(sample(), "SELECT 1")
    assert isinstance(engine().one(sample(), "SELECT 1"), Table)
