"""Questions about any file: SQLite, DuckDB, CSV, parquet, played to the end on either engine."""

import random
import sqlite3

import pytest

from tests.envs.sql.samples import SHELF
from tests.play import make, play_oracle
from tir_gym.envs.sql.databases import connect, database_of
from tir_gym.envs.sql.exploring import KINDS, contents, draw
from tir_gym.envs.sql.imported import Imported
from tir_gym.envs.sql.tasks import make_tasks


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One table of sales in four kinds of file, and a SQLite file with references."""
    duckdb = pytest.importorskip("duckdb")
    folder = tmp_path_factory.mktemp("files")
    rng = random.Random(0)
    rows = [
        (n, rng.choice(["north", "south", "it's east"]), rng.choice([None, rng.randrange(90)]), rng.randrange(999) / 10)
        for n in range(300)
    ]
    (folder / "sales.csv").write_text(
        "sale_id,region,pieces,price\n"
        + "".join(f'{n},"{r}",{"" if p is None else p},{price}\n' for n, r, p, price in rows)
    )
    with duckdb.connect(str(folder / "sales.duckdb")) as made:
        made.execute(f"CREATE TABLE sales AS SELECT * FROM read_csv('{folder}/sales.csv')")
        made.execute(f"COPY sales TO '{folder}/sales.parquet'")
    with sqlite3.connect(folder / "shelf.sqlite") as made:
        made.executescript(SHELF)
        books = [(n, n % 4 + 1, f"t{n % 9}", n / 4, None) for n in range(9, 80)]
        made.executemany("INSERT INTO book VALUES (?, ?, ?, ?, ?)", books)
        made.executemany("INSERT INTO author VALUES (?, ?, ?)", [(n, f"a{n}", 1900 + n) for n in range(4, 12)])
    made.close()
    return folder


@pytest.mark.parametrize("name", ["shelf.sqlite", "sales.csv", "sales.parquet", "sales.duckdb"])
@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_the_oracle_answers_questions_about_a_file(files, name, engine):
    with make("tir/SQL-v0", tasks=str(files / name), engine=engine, twins=2) as env:
        for seed in range(3):
            play_oracle(env, seed)


def test_every_kind_of_question_is_asked_of_a_file_that_has_what_it_needs(files):
    data = (("path", str(files / "shelf.sqlite")),)
    drawn = [draw(random.Random(n), 1 + n % 10, data) for n in range(300)]
    assert {each.family for each in drawn} == KINDS.keys()
    with connect(database_of(dict(data))) as connection:
        for each in drawn:
            rows = connection.execute(each.gold.answer).fetchall()
            assert any(cell not in (None, 0) for row in rows for cell in row)
    connection.close()
    assert len({each.prompt for each in drawn}) > 100


def test_all_kinds_of_file_hold_the_same(files):
    for name in ("sales.csv", "sales.parquet", "sales.duckdb"):
        with connect(Imported(str(files / name))) as connection:
            found = connection.execute("SELECT count(*), count(pieces), sum(price) FROM sales").fetchone()
            kinds = connection.execute("SELECT typeof(sale_id), typeof(region), typeof(price) FROM sales").fetchone()
        connection.close()
        assert found[0] == 300
        assert 0 < found[1] < 300
        assert kinds == ("integer", "text", "real")
    assert [column.name for column in contents(("file", str(files / "sales.csv"))).categories] == ["region"]


def test_a_file_with_nothing_in_it_or_that_is_none_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        make_tasks(str(tmp_path / "none.sqlite"), "train", None)
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(ValueError, match="is no SQLite file"):
        make_tasks(str(tmp_path / "empty.sqlite"), "train", None)
    with sqlite3.connect(tmp_path / "bare.sqlite") as made:
        made.execute("CREATE TABLE t (a)")
    made.close()
    with pytest.raises(ValueError, match="no table with rows"):
        make_tasks(str(tmp_path / "bare.sqlite"), "train", None)
    with pytest.raises(ValueError, match="and the path of a file"):
        make_tasks("nothing", "train", None)
