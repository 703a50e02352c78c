"""What the policy sees of a database and of its mistakes."""

import copy

import pytest

from tests.envs.sql.samples import SHELF, Sample, ran, sample
from tir_gym.core.tool import EnvError, Submit, ToolError
from tir_gym.core.transcript import CallErrorType
from tir_gym.envs.sql.desks import Desk
from tir_gym.envs.sql.engine import NOW
from tir_gym.envs.sql.results import QueryLimits, Table
from tir_gym.envs.sql.show import as_text
from tir_gym.envs.sql.tools import SqlToolkit


@pytest.fixture
def kit():
    return SqlToolkit(Desk(sample(), QueryLimits(rows=50, bytes=16_000), NOW))


def text(output):
    return output.content[0].text


def test_tables_are_listed_with_their_size(kit):
    assert text(ran(kit.list_tables())).splitlines() == [
        "table  | columns | rows",
        "-------+---------+-----",
        "author |       3 |    3",
        "book   |       5 |    4",
        "cheap  |       2 |    3",
        "(3 rows)",
    ]


def test_a_table_is_described_with_types_keys_rows_and_a_sample(kit):
    shown = text(ran(kit.describe_table("BOOK")))
    assert shown.startswith("book: 4 rows\n")
    for line in ("id        | INTEGER | primary key", "author_id | INTEGER | references author(id)", "(3 rows)"):
        assert line in shown
    assert "name   | TEXT    | not null" in text(ran(kit.describe_table("author")))
    with pytest.raises(ToolError, match=r"no table 'boook'; the nearest are: book"):
        ran(kit.describe_table("boook"))


def test_a_result_is_shown_in_order_with_names_types_duplicates_and_null(kit):
    shown = text(ran(kit.query("SELECT price, title, sold FROM book ORDER BY price DESC, title")))
    assert shown.splitlines() == [
        "price REAL | title TEXT | sold TEXT",
        "-----------+------------+-----------",
        "      12.5 | Notes      | 2024-01-05",
        "       8.0 | Engines    | 2024-02-29",
        "       8.0 | Rain       | NULL",
        "      3.25 | 'NULL'     | 2025-06-01",
        "(4 rows)",
    ]


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        (((1,), ("1",)), ["1", "'1'"]),
        (((None,), ("",)), ["NULL", "''"]),
        (((" a",), ("a",)), ["' a'", "a"]),
        ((("a\nb",),), ["a\\nb"]),
        (({"hex": "00ff"},), ["x'00ff'"]),
        ((("x" * 300,),), ["x" * 200 + "[... 100 characters]"]),
        (((0.1 + 0.2,),), ["0.30000000000000004"]),
        (((float("inf"),),), ["inf"]),
    ],
)
def test_values_can_be_told_apart(rows, shown):
    rows = tuple(row if isinstance(row, tuple) else (row,) for row in rows)
    lines = as_text(Table(("c",), rows, len(rows))).splitlines()[2:-1]
    assert [line.strip() for line in lines] == shown


def test_what_is_left_out_is_said():
    many = SqlToolkit(Desk(sample(key="big", many=9_000), QueryLimits(rows=5), NOW))
    assert text(ran(many.query("SELECT n FROM big"))).endswith("(first 5 of 9000 rows; the others are left out)")
    assert "of more than 10000 rows" in text(ran(many.query("SELECT 1 FROM big a, big b")))
    assert text(ran(many.query("SELECT n FROM big WHERE n < 0"))).splitlines()[-1] == "(0 rows)"


@pytest.mark.parametrize(
    ("sql", "told", "kind"),
    [
        ("SELEC 1", "syntax error", CallErrorType.EXCEPTION),
        ("SELECT * FROM boks", "no such table: boks; the nearest are: book", CallErrorType.EXCEPTION),
        ("SELECT titel FROM book", "no such column: titel; the nearest are: book.title", CallErrorType.EXCEPTION),
        ("SELECT b.titel FROM book b", "the nearest are: book.title", CallErrorType.EXCEPTION),
        ("SELECT zzz FROM author", "there are: author.id, author.name, author.born", CallErrorType.EXCEPTION),
        ("DELETE FROM book", "not allowed here: DELETE; only reading is", CallErrorType.REFUSED),
        ("SELECT random()", "not allowed here: the function random", CallErrorType.REFUSED),
        ("", "there is no statement", CallErrorType.EXCEPTION),
        (
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
            "too long",
            CallErrorType.TIMEOUT,
        ),
    ],
)
def test_mistakes_come_back_with_the_mend(kit, sql, told, kind):
    with pytest.raises(ToolError, match="(?s)" + told.replace("(", r"\(")) as caught:
        ran(kit.query(sql))
    assert caught.value.error is kind


def test_a_plan_is_shown_as_a_tree_and_nothing_is_run(kit):
    assert text(ran(kit.explain("SELECT * FROM book WHERE id = 3"))).startswith("SEARCH book")
    with pytest.raises(ToolError, match="not allowed"):
        ran(kit.explain("DELETE FROM book"))
    assert text(ran(kit.query("SELECT COUNT(*) FROM book"))).splitlines()[2].strip() == "4"


def test_facts_are_for_verifiers(kit):
    assert ran(kit.query("SELECT id, title FROM book")).facts == {"rows": 4, "columns": 2}
    assert ran(kit.describe_table("book")).facts == {"table": "book", "columns": 5}


def test_a_submission_is_the_query(kit):
    assert kit.submit_sql("SELECT 1") == Submit("SELECT 1")


def test_a_database_that_cannot_be_opened_is_our_fault(tmp_path):
    lost = SqlToolkit(Desk(Sample("lost", path=str(tmp_path / "lost.sqlite")), QueryLimits(), NOW))
    with pytest.raises(EnvError, match="cannot open the database"):
        ran(lost.query("SELECT 1"))


def test_hostile_names_are_only_names():
    odd = SqlToolkit(
        Desk(sample('CREATE TABLE "a\'b""c; DROP" ("x\'y""z" TEXT); ' + SHELF, key="odd"), QueryLimits(), NOW)
    )
    assert "a'b\"c; DROP" in text(ran(odd.list_tables()))
    assert "x'y\"z" in text(ran(odd.describe_table("a'b\"c; DROP")))


def test_a_copy_reads_the_same_database(kit):
    twin = copy.deepcopy(kit)
    assert twin._desk is kit._desk
    assert [t.name for t in twin.tools] == ["list_tables", "describe_table", "explain", "query", "submit_sql"]
