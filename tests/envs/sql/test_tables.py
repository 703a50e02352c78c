"""Questions about one table, for SQL and Python together."""

import csv
import io
from bisect import bisect_right

import pytest

from tests.play import make, play_oracle, run
from tir_gym import fork
from tir_gym.core.task import Gold, Task
from tir_gym.core.verify import Answer, Evidence
from tir_gym.envs.sql.engine import engine
from tir_gym.envs.sql.measures import STATISTICS
from tir_gym.envs.sql.onetable import one_table
from tir_gym.envs.sql.results import QueryLimits
from tir_gym.envs.sql.tables import make_tasks
from tir_gym.envs.sql.verify import NumberVerifier


def test_the_file_and_the_table_hold_the_same():
    for index in range(4):
        task = make_tasks(None, "train", 9).task(0, index)
        table = one_table(task.data["database"])
        found = engine().one(table, f"SELECT * FROM {table.table} ORDER BY id", QueryLimits(rows=10_000, bytes=1 << 22))
        head, *rows = csv.reader(io.StringIO(table.csv()))
        assert tuple(head) == found.columns
        assert len(rows) == len(found.rows) > 100
        for row, wanted in zip(rows, found.rows, strict=True):
            assert row == ["" if cell is None else str(cell) for cell in wanted]


@pytest.mark.parametrize(
    ("name", "x", "y", "value"),
    [
        ("median", [1, 9, 2, 4], [], 3),
        ("deviation", [1, 3], [], 1),
        ("trimmed_mean", [100, *range(1, 9), -100], [], 4.5),
        ("percentile", list(range(1, 11)), [], 9),
        ("percentile", list(range(1, 12)), [], 10),
        ("entropy", ["a", "a", "b", "c"], [], 1.5),
        ("weighted_mean", [1, 5], [3, 1], 2),
        ("spread_about_median", [1, 2, 6], [], 5 / 3),
        ("steps", [1, 5, 2], [], 7),
        ("correlation", [1, 2, 3], [6, 4, 2], -1),
        ("slope", [1, 3, 5], [0, 1, 2], 2),
        ("gini", [0, 0, 0, 4], [], 0.75),
        ("gini", [2, 2, 2], [], 0),
        ("fall", [3, 9, 4, 8, 1], [], 8),
        ("smoothed", [10, 20, 0], [], 9.1),
    ],
)
def test_a_statistic_is_what_its_words_say(name, x, y, value):
    assert STATISTICS[name].value(x, y) == pytest.approx(value)


def test_every_level_has_its_statistics_and_the_question_says_all_that_counts():
    families = set()
    for level in (1, 4, 7, 10):
        tasks = make_tasks(None, "train", level)
        for index in range(8):
            task = tasks.task(1, index)
            families.add(task.family)
            assert "{" not in task.prompt
            assert "  " not in task.prompt
            assert task.gold.answer not in task.prompt
            assert "GROUP BY" in task.gold.plan["sql"] or level < 4
            assert set(task.data) == {"database"}
    assert len(families) >= 8
    with pytest.raises(ValueError, match="generated tasks only"):
        make_tasks("defog:x", "train", None)


def test_the_oracle_uses_both_and_is_right():
    env = make("tir/TableQA-v0")
    for seed in range(8):
        play_oracle(env, seed)
        assert env.rewards[1] == 1.0
        assert {"query", "python"} <= {call.tool for call in env.episode.calls}
    env.close()


@pytest.mark.soak
def test_the_oracle_is_right_with_every_statistic():
    env = make("tir/TableQA-v0")
    seen = set()
    for seed in range(300):
        play_oracle(env, seed)
        assert env.rewards[1] == 1.0, env.episode.task
        seen.add(env.episode.task.family)
    assert seen == set(STATISTICS)
    env.close()


def best_guess(count):
    """The share of tasks that the best constant answer is right for."""
    tasks = make_tasks(None, "train", None)
    golds = sorted(float(tasks.task(2, index).gold.answer) for index in range(count))
    reach = [bisect_right(golds, gold + 2 * max(0.001, 1e-6 * abs(gold))) - place for place, gold in enumerate(golds)]
    return max(reach) / count


def test_no_number_is_guessed_often():
    assert best_guess(60) <= 0.07


@pytest.mark.soak
def test_the_floor_is_at_most_2_percent():
    assert best_guess(2_000) <= 0.02


def test_python_finds_the_file_in_every_session_of_the_episode():
    env = make("tir/TableQA-v0")
    env.reset(seed=1)
    table = one_table(env.episode.task.data["database"])
    count = f"n = len(open('{table.table}.csv').read().splitlines()) - 1\nprint('rows', n)"
    held = f"rows {len(table.csv().splitlines()) - 1}"
    observation, _ = run(env, count)
    assert held in observation
    (branch,) = fork(env, 1)
    assert held in run(branch, "print('rows', n)")[0]
    branch.close()
    observation, _ = run(env, "import os; os._exit(1)")
    assert "all variables are gone" in observation
    assert held in run(env, count)[0]
    env.close()


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("1234.568", 1),
        ("1,234.567", 1),
        ("'1234.5671'", 1),
        ("1234.57", 0),
        ("1234", 0),
        ("", 0),
        ("nan", 0),
        ("inf", 0),
        ("SELECT 1234.567", 0),
        ("1234.567 or 7", 0),
    ],
)
def test_a_number_is_compared_to_its_third_decimal(answer, right):
    evidence = Evidence(Task("t", "?"), Answer(answer), (), None, (), "answer")
    assert NumberVerifier().score(evidence, Gold("1234.5674")).value == right


def test_no_answer_is_wrong():
    assert NumberVerifier().score(Evidence(Task("t", "?"), None, (), None, (), "turns"), Gold("1")).value == 0.0
