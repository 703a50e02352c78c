"""Changes to a database, judged by the state they leave."""

import random

import pytest

from tests.play import make, play_oracle
from tir_gym import fork
from tir_gym.core.task import Gold, Task
from tir_gym.core.verify import Answer, Evidence
from tir_gym.envs.sql.asking import Ask, NoFit
from tir_gym.envs.sql.changing import WRITINGS
from tir_gym.envs.sql.databases import Generated, database_of
from tir_gym.envs.sql.tasks import database_for
from tir_gym.envs.sql.verify import StateVerifier
from tir_gym.envs.sql.world import SqlWorld
from tir_gym.envs.sql.writes import make_tasks, worth_doing

SHOP = {"family": "shop", "variant": 0, "rows": 1_000, "nulls": 0.1, "dirty": False}


def judged(statements, gold, free_keys=(), said="done"):
    """The score of statements, every one of which runs, against gold's."""
    world = SqlWorld(database_of(SHOP))
    for sql in statements:
        found = world.run(sql)
        assert hasattr(found, "rows"), found
    task = Task("t", "?", data={"database": SHOP})
    evidence = Evidence(task, Answer(said) if said else None, (), world, (), "answer")
    return StateVerifier().score(evidence, Gold(data={"statements": list(gold), "free_keys": list(free_keys)}))


GOLD = ("UPDATE product SET stock = stock + 5 WHERE price > 100",)


@pytest.mark.parametrize(
    ("statements", "right"),
    [
        (GOLD, 1),
        (("UPDATE product SET stock = 5 + stock WHERE id IN (SELECT id FROM product WHERE price > 100)",), 1),
        (
            (
                "UPDATE product SET stock = stock + 6 WHERE price > 100",
                "UPDATE product SET stock = stock - 1 WHERE price > 100",
            ),
            1,
        ),
        (("DELETE FROM purchase_item WHERE id = 3", "SELECT 1", *GOLD), 0),
        ((*GOLD, *GOLD), 0),
        ((), 0),
        (("UPDATE product SET stock = stock + 5",), 0),
        (("UPDATE product SET stock = stock + 5 WHERE price >= 0",), 0),
        ((*GOLD, "UPDATE customer SET credit = 1 WHERE id = 1"), 0),
        ((*GOLD, "CREATE TABLE mine (a)"), 0),
        ((*GOLD, "CREATE INDEX mine ON product (price)"), 0),
        ((*GOLD, "CREATE VIEW mine AS SELECT 1"), 0),
        (("DELETE FROM purchase_item", "DELETE FROM purchase", "DELETE FROM product", "DELETE FROM customer"), 0),
        (("DROP TABLE purchase_item", "DROP TABLE product"), 0),
    ],
)
def test_the_final_state_counts_all_of_it_and_nothing_else(statements, right):
    assert judged(statements, GOLD).value == right


def test_who_does_not_say_that_it_is_done_earns_nothing():
    assert judged(GOLD, GOLD, said="").value == 0.0


ADDED = (
    "INSERT INTO purchase (customer_id, placed_on, status) VALUES (1, '2024-01-01', 'open'), (2, '2024-01-02', 'open')",
)


def test_the_order_and_where_allowed_the_ids_of_added_rows_do_not_matter():
    other = (
        "INSERT INTO purchase (id, customer_id, placed_on, status) VALUES (9002, 2, '2024-01-02', 'open')",
        "INSERT INTO purchase (id, customer_id, placed_on, status) VALUES (9001, 1, '2024-01-01', 'open')",
    )
    assert judged(other, ADDED, ["purchase"]).value == 1.0
    assert judged(other, ADDED).value == 0.0
    assert judged(other[:1], ADDED, ["purchase"]).value == 0.0


def test_a_new_table_needs_its_columns_and_rows_and_no_types():
    gold = ("CREATE TABLE sums AS SELECT category, COUNT(*) AS n, SUM(price) AS total FROM product GROUP BY 1",)
    other = (
        "CREATE TABLE sums (category TEXT PRIMARY KEY, n INTEGER NOT NULL, total REAL)",
        "INSERT INTO sums SELECT category, COUNT(*), SUM(price) FROM product GROUP BY 1 ORDER BY 1 DESC",
    )
    assert judged(other, gold).value == 1.0
    assert judged((other[0].replace("total", "sum"), other[1]), gold).value == 0.0
    assert judged((*other, "UPDATE sums SET total = total + 0.01 WHERE n > 1"), gold).value == 0.0


def test_statements_of_gold_that_fail_are_our_fault():
    assert not judged((), ("UPDATE nothing SET a = 1",)).valid


def example(name, level=8):
    """A task of a template."""
    for seed in range(400):
        rng = random.Random(f"{name}/{seed}")
        database = database_for(rng, level)
        try:
            change = WRITINGS[name][1](Ask(rng, level, database))
        except NoFit:
            continue
        if worth_doing(change, database):
            return change, database
    raise AssertionError(f"{name} is hardly ever worth doing")


@pytest.mark.parametrize("name", WRITINGS)
def test_a_change_is_right_and_its_misreadings_are_not(name):
    change, database = example(name)
    task = Task("t", "?", data={"database": database.data})
    gold = Gold(data={"statements": list(change.statements), "free_keys": list(change.free_keys)})
    for statements in (change.statements, (), *change.readings):
        world = SqlWorld(database)
        for sql in statements:
            world.run(sql)
        found = StateVerifier().score(Evidence(task, Answer("done"), (), world, (), "answer"), gold)
        assert (found.value, found.valid) == (float(statements == change.statements), True), (statements, found)
    assert "  " not in change.text
    assert "{" not in change.text


def test_tasks_are_many_and_at_every_level():
    assert len(WRITINGS) >= 16
    for level in range(1, 11):
        tasks = make_tasks(None, "train", level)
        drawn = [tasks.task(0, index) for index in range(6)]
        assert len({task.prompt for task in drawn}) == 6
        assert len({task.family for task in drawn}) >= 2
        for task in drawn:
            assert task.gold.data["statements"][0] not in task.prompt
            assert set(task.data) == {"database"}
    with pytest.raises(ValueError, match="generated tasks only"):
        make_tasks("defog:x", "train", None)


def test_the_oracle_earns_1_and_who_does_nothing_or_everything_0():
    env = make("tir/SQLWrite-v0")
    for seed in range(6):
        play_oracle(env, seed)
        assert env.rewards[1] == 1.0
        env.reset(seed=seed)
        *_, reward, _, _, _ = env.step("<answer>done</answer>")
        assert reward == 0.0
        env.reset(seed=seed)
        for table in reversed(Generated(**env.episode.task.data["database"]).schema.tables):
            env.call("execute", {"sql": f"DELETE FROM {table.name}"})
        *_, reward, _, _, _ = env.call("submit_done", {})
        assert reward == 0.0
    env.close()


def test_a_branch_goes_its_own_way():
    env = make("tir/SQLWrite-v0")
    env.reset(seed=2)
    table = Generated(**env.episode.task.data["database"]).schema.tables[-1].name
    env.call("execute", {"sql": f"CREATE TABLE mine AS SELECT id FROM {table} LIMIT 2"})
    (branch,) = fork(env, 1)
    env.call("execute", {"sql": "DELETE FROM mine"})
    assert "mine" in str(branch.call("list_tables", {})[0])
    shown = str(branch.call("execute", {"sql": "SELECT COUNT(*) AS held FROM mine"})[0])
    assert "2" in shown.split("held")[1]
    shown = str(env.call("execute", {"sql": "SELECT COUNT(*) AS held FROM mine"})[0])
    assert "0" in shown.split("held")[1].splitlines()[2]
    branch.close()
    env.close()


def test_what_fails_changes_nothing_and_says_what_to_do():
    env = make("tir/SQLWrite-v0")
    env.reset(seed=0)
    digest = env.episode.world.digest()
    for sql, said in (
        ("UPDATE absent SET a = 1", "no such table"),
        ("ATTACH 'x' AS y", "only reading and changing tables of this database is"),
        ("PRAGMA foreign_keys=OFF", "not allowed here"),
        ("", "there is no statement"),
    ):
        assert said in str(env.call("execute", {"sql": sql})[0])
    assert env.episode.world.digest() == digest
    env.close()
