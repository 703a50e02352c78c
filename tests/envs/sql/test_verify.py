"""The verdict: by result, on the database shown and on its twins."""

import sqlite3

import pytest

from tests.play import make
from tir_gym.core.task import GeneratedTasks, Gold, Task
from tir_gym.core.verify import Answer, Evidence
from tir_gym.envs.sql import verify
from tir_gym.envs.sql.asking import quote
from tir_gym.envs.sql.databases import database_of
from tir_gym.envs.sql.engine import engine
from tir_gym.envs.sql.habits import statement
from tir_gym.envs.sql.kept import Kept
from tir_gym.envs.sql.results import QueryLimits
from tir_gym.envs.sql.tasks import GENERATED, draw
from tir_gym.envs.sql.verify import LIMITS, SqlVerifier
from tir_gym.rewards.checklist import Item

SHOP = {"family": "shop", "variant": 0, "rows": 1_000, "nulls": 0.1, "dirty": False}


def judged(answer, gold, mode="test_suite", database=SHOP, now=None):
    task = Task("t", "?", data={"database": database, **({"now": now} if now else {})})
    given = None if answer is None else Answer(answer)
    return SqlVerifier(mode, 8).score(Evidence(task, given, (), None, (), "answer"), Gold(gold))


def scores(answer, gold, **options):
    return [judged(answer, gold, mode, **options).value for mode in ("test_suite", "exec", "spider", "bird")]


NAMES = "SELECT name FROM product WHERE price > 100 ORDER BY price DESC"
KINDS = "SELECT category FROM product WHERE price > 100"


def test_the_same_result_by_another_way_is_right():
    other = "SELECT p.name FROM product AS p WHERE NOT p.price <= 100 ORDER BY -p.price"
    assert scores(other, NAMES) == [1.0] * 4
    assert scores(f"```sql\n{other};\n```", NAMES) == [1.0] * 4
    assert scores("SELECT category FROM product WHERE price > 100.0 ORDER BY id", KINDS) == [1.0] * 4


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        # SkyRL-Gym compared frozensets: both of these passed there
        ("SELECT DISTINCT category FROM product WHERE price > 100", KINDS, [0, 0, 0, 0]),
        ("SELECT name FROM product WHERE price > 100 ORDER BY price ASC", NAMES, [0, 0, 0, 1]),
        ("SELECT name FROM product WHERE price > 100", NAMES, [0, 0, 0, 1]),
        ("SELECT category, name FROM product", "SELECT name, category FROM product", [0, 0, 1, 1]),
        ("SELECT name, category, id FROM product", "SELECT name, category FROM product", [0, 0, 0, 0]),
        ("SELECT COUNT(credit) FROM customer", "SELECT COUNT(*) FROM customer", [0, 0, 0, 0]),
        ("SELECT 1.0 * COUNT(*) FROM customer", "SELECT COUNT(*) FROM customer", [1, 1, 1, 1]),
        ("SELECT CAST(COUNT(*) AS TEXT) FROM customer", "SELECT COUNT(*) FROM customer", [0, 0, 0, 0]),
        ("SELECT 100", "SELECT COUNT(*) FROM customer", [0, 1, 1, 1]),
        ("SELECT MAX(id) FROM customer", "SELECT COUNT(*) FROM customer", [0, 1, 1, 1]),
        ("SELECT name FROM product WHERE price > 99.5 LIMIT 1", NAMES, [0, 0, 0, 0]),
    ],
)
def test_what_each_mode_takes_for_right(answer, gold, right):
    assert scores(answer, gold) == right


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "42",
        "no idea",
        "DELETE FROM customer",
        "SELECT * FROM gold",
        "SELECT 1; SELECT 2",
        "ATTACH 'x' AS y",
        "\0",
        "\ud800",
    ],
)
def test_what_is_no_query_is_wrong_and_no_fault_of_ours(answer):
    found = judged(answer, "SELECT COUNT(*) FROM customer")
    assert (found.value, found.valid) == (0.0, True)
    assert found.reason


def test_no_answer_is_wrong():
    assert judged(None, "SELECT 1").value == 0.0


def test_a_gold_query_that_fails_is_our_fault():
    found = judged("SELECT 1", "SELECT nope")
    assert not found.valid
    with pytest.raises(FileNotFoundError):
        judged("SELECT 1", "SELECT 1", database={"path": "/nowhere.sqlite"}, mode="exec")


def test_one_of_several_golds_must_agree_everywhere():
    golds = ["SELECT name FROM customer", "SELECT id FROM customer"]
    assert judged("SELECT id FROM customer", golds).value == 1.0
    assert judged("SELECT name FROM customer", golds).value == 1.0
    assert judged("SELECT name, id FROM customer", golds).value == 0.0


def test_a_result_too_large_is_wrong():
    found = judged("SELECT 1 FROM purchase a, purchase b", "SELECT 1 FROM customer")
    assert (found.value, found.valid, found.reason) == (0.0, True, "too large a result")


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("100", 1),
        ("100.0", 1),
        (" 100 ", 1),
        ("'100'", 1),
        ("101", 0),
        ("", 0),
        ("nan", 0),
        ("SELECT 100", 0),
        ("1e999", 0),
    ],
)
def test_a_value_is_compared_as_a_value(answer, right):
    assert judged(answer, "SELECT COUNT(*) FROM customer", "value").value == right


def test_a_value_may_be_text():
    gold = "SELECT name FROM customer ORDER BY name LIMIT 1"
    (name,) = engine().one(database_of(SHOP), gold).rows[0]
    assert judged(name.upper(), gold, "value").value == 1.0
    assert judged("Nobody", gold, "value").value == 0.0


def test_the_clock_of_a_task_is_that_of_its_verdict():
    gold = "SELECT date('now')"
    assert judged("SELECT '2025-01-30'", gold, "exec", now="2025-01-30 12:00:00").value == 1.0
    assert judged("SELECT '2025-01-31'", gold, "exec", now="2025-01-30 12:00:00").value == 0.0


def literal(rows):
    """A query that returns these rows whatever is in the database."""
    return "VALUES " + ", ".join(f"({', '.join(map(cell, row))})" for row in rows)


def cell(value):
    return "NULL" if value is None else quote(value)


def test_what_the_database_shown_alone_makes_right_earns_nothing():
    """The result of gold, written down, is right on the database shown, and on no twin."""
    generated = GeneratedTasks(GENERATED, draw)
    for index in range(25):
        task = generated.task(5, index)
        found = engine().one(database_of(task.data["database"]), task.gold.answer, LIMITS)
        evidence = Evidence(task.public, Answer(literal(found.rows)), (), None, (), "answer")
        assert SqlVerifier("exec", 8).score(evidence, task.gold).value == 1.0
        found = SqlVerifier("test_suite", 8).score(evidence, task.gold)
        assert found.value == 0.0, task
        assert "by luck" in found.reason
        right = Evidence(task.public, Answer(task.gold.answer), (), None, (), "answer")
        assert SqlVerifier("test_suite", 8).score(right, task.gold).value == 1.0


def test_gold_is_in_no_database_that_can_be_queried():
    task = GeneratedTasks(GENERATED, draw).task(0, 0)
    base = database_of(task.data["database"])
    connection = sqlite3.connect(":memory:")
    connection.deserialize(base.content())
    assert task.gold.answer not in "\n".join(connection.iterdump())
    connection.close()


def test_fences_are_taken_off():
    assert statement(" ```sql\nSELECT 1\n``` ") == "SELECT 1"
    assert statement("```\nSELECT 1;\n```") == "SELECT 1;"
    assert statement("SELECT '```'") == "SELECT '```'"


TIES = "SELECT name, category FROM product ORDER BY category"
FEW = "SELECT category, name FROM product ORDER BY category DESC LIMIT 5"


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("SELECT name, category FROM product ORDER BY category, price", TIES, 1),
        ("SELECT name, category FROM product ORDER BY category, name DESC", TIES, 1),
        ("SELECT name, category FROM product ORDER BY name", TIES, 0),
        ("SELECT name, category FROM product ORDER BY category DESC", TIES, 0),
        ("SELECT category, name FROM product ORDER BY category DESC, price LIMIT 5", FEW, 1),
        ("SELECT category, name FROM product ORDER BY category, price LIMIT 5", FEW, 0),
        ("SELECT category, name FROM product ORDER BY category DESC, price LIMIT 4", FEW, 0),
        ("SELECT category, 'x' FROM product ORDER BY category DESC LIMIT 5", FEW, 0),
        ("SELECT category, MIN(name) FROM product GROUP BY 1, price > 50 ORDER BY 1 DESC LIMIT 5", FEW, 0),
        (FEW.replace("LIMIT 5", ", price LIMIT 3, 5"), FEW.replace("LIMIT 5", "LIMIT 5 OFFSET 3"), 1),
        (FEW.replace("LIMIT 5", ", price LIMIT 5 OFFSET 60"), FEW.replace("LIMIT 5", "LIMIT 5 OFFSET 3"), 0),
        (TIES + ", price", TIES + " LIMIT (SELECT COUNT(*) FROM product)", 0),
    ],
)
def test_where_the_order_leaves_rows_equal_any_order_of_these_is_right(answer, gold, right):
    assert judged(answer, gold).value == right
    assert judged(answer, gold, "exec").value == right


def test_how_the_policy_worked_is_evidence_beside_the_verdict():
    def habits(*calls, answer="SELECT 1;"):
        env.reset(seed=0)
        for name, arguments in calls:
            env.call(name, arguments)
        env.step(f"<answer>{answer}</answer>")
        return tuple(dict(env.episode.score.evidence).values())

    env = make("tir/SQL-v0")
    look, good, bad = ("list_tables", {}), ("query", {"sql": "SELECT  1"}), ("query", {"sql": "SELEC 1"})
    assert habits(look, good) == (True, True, True)
    assert habits(good, look) == (False, True, True)
    assert habits(look, bad, bad) == (True, False, False)
    assert habits(look, bad, good, answer="SELECT 2") == (True, False, True)
    assert habits() == (False, False, True)
    env.close()


def test_questions_for_a_value_have_one_and_say_so():
    env = make("tir/SQL-v0", mode="value")
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        assert observation.endswith("Answer with the value itself, not with a query.")
        task = env.episode.task
        value = engine().one(database_of(task.data["database"]), task.gold.answer).rows[0][0]
        *_, reward, _, _, _ = env.step(f"<answer>{value}</answer>")
        assert reward == 1.0
    env.close()


def test_an_answer_has_one_budget_for_all_databases(monkeypatch):
    """A heavy query took its full time on the database shown and on each of the twins."""
    gold = "SELECT COUNT(*) FROM customer"
    heavy = "SELECT COUNT(*) FROM customer WHERE (SELECT COUNT(*) FROM product a, product b, product c) >= 0"
    base = database_of(SHOP)
    alone = engine().one(base, heavy, QueryLimits(ops=10**9, seconds=600.0)).ops
    assert alone >= 100_000
    monkeypatch.setattr(verify, "LIMITS", QueryLimits(ops=alone + 20_000, seconds=600.0))
    found = judged(heavy, gold)
    assert (found.value, found.valid) == (0.0, True)
    assert "on twin" in found.reason
    assert "interrupted" in found.reason
    assert judged(heavy, gold, "exec").value == 1.0
    assert judged(gold, gold).value == 1.0


def test_what_is_remembered_of_gold_is_bounded_in_bytes():
    kept = Kept(100, len)
    for letter in "abcdef":
        assert kept.get(letter, lambda letter=letter: letter * 40) == letter * 40
    assert kept.bytes == 80
    assert kept.get("f", lambda: "made anew") == "f" * 40
    assert kept.get("a", lambda: "made anew") == "made anew"
    assert kept.get("large", lambda: "x" * 1_000) == "x" * 1_000
    assert kept.bytes == 1_000
    assert verify._results.bytes <= verify.KEPT


def test_the_checklist_asks_whether_the_final_query_was_run():
    with make("tir/SQL-v0", protocol="xml") as env:
        env.reset(seed=1)
        sql = env.unwrapped.episode.task.gold.answer
        for calls, held in (([], False), ([sql], True), (["SELECT 1"], False)):
            env.reset(seed=1)
            for each in calls:
                env.step(f'<call name="query"><arg name="sql">{each} ;</arg></call>')
            env.step(f"<answer>{sql}</answer>")
            (item,) = (i for i in env.unwrapped.setting.domain.checklist if i["id"] == "tried")
            assert Item.of(item).holds(env.unwrapped.episode.view()) is held
