"""Regressions: what a peer (SkyRL-Gym's text2sql) gets wrong, end to end in this environment."""

import pytest

from tests.play import make
from tir_gym.core.task import Gold, Task, TaskSet

SHOP = {"family": "shop", "variant": 0, "rows": 1_000, "nulls": 0.0, "dirty": False}
CATEGORIES = "SELECT category FROM product WHERE price > 100"
ORDERED = "SELECT name, price FROM product WHERE price > 100 ORDER BY price DESC"


class One(TaskSet):
    """A single question about the shop."""

    name, size, fingerprint = "one", 1, "one"

    def __init__(self, gold):
        self._task = Task("one", "?", data={"database": SHOP}, gold=Gold(gold, {"tables": [], "sql": gold}))

    def task(self, seed, index):
        return self._task

    def find(self, task_id):
        return self._task

    def __repr__(self):
        return "One()"


def reward(gold, answer):
    env = make("tir/SQL-v0", tasks=One(gold))
    env.reset(seed=0)
    *_, earned, _, _, _ = env.step(f"<answer>{answer}</answer>")
    env.close()
    return earned


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (CATEGORIES, CATEGORIES.replace("SELECT", "SELECT DISTINCT")),
        (CATEGORIES.replace("SELECT", "SELECT DISTINCT"), CATEGORIES),
    ],
)
def test_select_distinct_is_not_select(gold, answer):
    assert (reward(gold, gold), reward(gold, answer)) == (1.0, 0.0)


def test_asc_is_not_desc():
    assert reward(ORDERED, ORDERED.replace("DESC", "ASC")) == 0.0
    assert reward(ORDERED, ORDERED.replace(" DESC", "")) == 0.0


def test_results_are_not_compared_as_frozensets():
    """Duplicates count, and so does which column is which."""
    assert reward(CATEGORIES, f"{CATEGORIES} UNION {CATEGORIES}") == 0.0
    assert reward(CATEGORIES, f"{CATEGORIES} UNION ALL {CATEGORIES}") == 0.0
    assert reward("SELECT id, stock FROM product", "SELECT stock, id FROM product") == 0.0


def test_a_result_shows_column_names_order_and_duplicates():
    env = make("tir/SQL-v0", tasks=One(ORDERED))
    env.reset(seed=0)
    shown, *_ = env.call("query", {"sql": "SELECT id % 2 AS odd, id FROM product WHERE id < 5 ORDER BY id DESC"})
    lines = shown.splitlines()
    start = next(number for number, line in enumerate(lines) if "odd INTEGER" in line)
    assert "id INTEGER" in lines[start]
    assert [line.split() for line in lines[start + 2 : start + 6]] == [
        ["0", "|", "4"],
        ["1", "|", "3"],
        ["0", "|", "2"],
        ["1", "|", "1"],
    ]
    assert "(4 rows)" in shown
    env.close()


@pytest.mark.parametrize("env_id", ["tir/SQL-v0", "tir/SQLWrite-v0", "tir/TableQA-v0"])
def test_attach_creates_no_file(env_id, tmp_path):
    env = make(env_id)
    env.reset(seed=0)
    tool = "execute" if env_id == "tir/SQLWrite-v0" else "query"
    for sql in (f"ATTACH DATABASE '{tmp_path}/evil.db' AS evil", f"VACUUM INTO '{tmp_path}/evil.db'"):
        shown, *_ = env.call(tool, {"sql": sql})
        assert "not allowed here" in shown or "cannot VACUUM" in shown
    assert list(tmp_path.iterdir()) == []
    env.close()
