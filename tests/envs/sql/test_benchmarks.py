"""Questions from files: defog's real ones, the others by their published formats."""

import json
import sqlite3

import pytest

from tests.envs.sql.mutation import OPERATORS
from tests.play import make, play_oracle
from tir_gym.core.task import Gold
from tir_gym.core.verify import Answer, Evidence
from tir_gym.envs.sql.benchmarks import load, wikisql_query
from tir_gym.envs.sql.databases import database_of
from tir_gym.envs.sql.engine import NOW, engine
from tir_gym.envs.sql.match import differ, is_ordered
from tir_gym.envs.sql.results import Table
from tir_gym.envs.sql.verify import LIMITS, SqlVerifier


def judged(task, answer, mode="test_suite"):
    return SqlVerifier(mode, 8).score(Evidence(task.public, Answer(answer), (), None, (), "answer"), task.gold)


def accepted(task):
    return [task.gold.answer] if isinstance(task.gold.answer, str) else task.gold.answer


def test_every_accepted_gold_query_of_defog_scores_1(shared_data):
    tasks = load(f"defog:{shared_data / 'defog'}", "all", None)
    assert tasks.size == 167
    wrong = [
        (task.id, sql, found.reason)
        for task in tasks
        for sql in accepted(task)
        if (found := judged(task, sql)).value != 1.0 or not found.valid
    ]
    assert not wrong


def test_defogs_recorded_rows_are_what_its_queries_return_here(shared_data):
    rows = [json.loads(line) for line in (shared_data / "defog" / "tasks.jsonl").read_text().splitlines()]
    for row in rows:
        base = database_of({"path": str(shared_data / "defog" / "sqlite" / f"{row['db']}.sqlite")})
        for sql, recorded in zip(row["gold_sql"], row["gold_rows"], strict=True):
            found = engine().one(base, sql, LIMITS, row["now"] or NOW)
            assert isinstance(found, Table), (row["id"], found)
            assert differ([tuple(r) for r in recorded], found.rows, ordered=False) == "", (row["id"], sql)


def test_mutated_golds_of_defog_score_0_wherever_their_result_differs(shared_data):
    """A mutant earns nothing where its result differs from that of every accepted query, nor often where it does not:
    what is left is mostly equivalent (see docs/sql.md)."""
    tasks = load(f"defog:{shared_data / 'defog'}", "all", None)
    counts = {"different": 0, "same here": 0, "told by a twin": 0}
    for task in tasks:
        golds = accepted(task)
        now = task.data.get("now") or NOW
        base = database_of(task.data["database"])
        wanted = [(sql, engine().one(base, sql, LIMITS, now)) for sql in golds]
        for operator in OPERATORS.values():
            for mutant in list(dict.fromkeys(operator(golds[0])))[:2]:
                found = engine().one(base, mutant, LIMITS, now)
                if not isinstance(found, Table):
                    continue
                same = any(not differ(t.rows, found.rows, ordered=is_ordered(sql)) for sql, t in wanted)
                score = judged(task, mutant).value
                if not same:
                    counts["different"] += 1
                    assert score == 0.0, (task.id, mutant)
                else:
                    counts["same here" if score else "told by a twin"] += 1
    assert counts["different"] > 200
    assert counts["told by a twin"] > 100


@pytest.fixture
def files(tmp_path):
    """Spider, BIRD and WikiSQL as published, with one question each."""

    def database(path, script):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path)
        connection.executescript(script)
        connection.close()

    pets = "CREATE TABLE pets (id INTEGER PRIMARY KEY, kind TEXT, age REAL);"
    pets += "INSERT INTO pets VALUES (1, 'cat', 3), (2, 'dog', 5)"
    spider, bird, wikisql = (tmp_path / name for name in ("spider", "bird", "wikisql"))
    database(spider / "database" / "pets_1" / "pets_1.sqlite", pets)
    asked = {"db_id": "pets_1", "question": "How many pets?", "query": "SELECT count(*) FROM pets;"}
    (spider / "dev.json").write_text(json.dumps([asked]))
    database(bird / "dev_databases" / "pets" / "pets.sqlite", pets)
    asked = {
        "question_id": 7,
        "db_id": "pets",
        "question": "How old is the cat?",
        "evidence": "cat refers to kind = 'cat'",
    }
    asked |= {"SQL": "SELECT age FROM pets WHERE kind = 'cat'", "difficulty": "moderate"}
    (bird / "dev.json").write_text(json.dumps([asked]))
    database(
        wikisql / "dev.db", "CREATE TABLE table_1_2 (col0 TEXT, col1 REAL); INSERT INTO table_1_2 VALUES ('a''b', 3)"
    )
    asked = {"table_id": "1-2", "question": "How many?"}
    asked |= {"sql": {"sel": 1, "agg": 4, "conds": [[0, 0, "A'B"], [1, 1, "1,0"]]}}
    (wikisql / "dev.jsonl").write_text(json.dumps(asked) + "\n")
    (wikisql / "dev.tables.jsonl").write_text(
        json.dumps({"id": "1-2", "header": ["x", "y"], "types": ["text", "real"]})
    )
    return tmp_path


def test_published_formats_are_read(files):
    (spider,) = load(f"spider:{files / 'spider'}", "all", None)
    assert (spider.gold.answer, judged(spider, "SELECT COUNT(id) FROM pets").value) == (
        "SELECT count(*) FROM pets",
        1.0,
    )
    (bird,) = load(f"bird:{files / 'bird'}", "all", None)
    assert (bird.id, bird.difficulty, bird.family) == ("bird/7", 6, "moderate")
    assert "Note: cat refers to kind = 'cat'" in bird.prompt
    assert judged(bird, "SELECT age FROM pets WHERE kind LIKE 'cat'", "bird").value == 1.0
    (wikisql,) = load(f"wikisql:{files / 'wikisql'}", "all", None)
    assert wikisql.gold.answer == "SELECT SUM(col1) FROM table_1_2 WHERE col0 = 'a''b' AND col1 > 10.0"
    assert "The table is table_1_2." in wikisql.prompt
    assert wikisql_query({"sel": 0, "agg": 0, "conds": []}, {"id": "9", "types": []}) == "SELECT col0 FROM table_9"


def test_what_cannot_be_read_is_named(files, tmp_path):
    with pytest.raises(ValueError, match="spider:FOLDER"):
        load("spyder:x", "all", None)
    with pytest.raises(ValueError, match="leave it out"):
        load(f"spider:{files / 'spider'}", "all", 3)
    with pytest.raises(ValueError, match="split 'dev'"):
        load(f"spider:{files / 'spider'}", "dev", None)
    with pytest.raises(FileNotFoundError, match="none of"):
        load(f"bird:{tmp_path}", "all", None)
    (files / "spider" / "database" / "pets_1" / "pets_1.sqlite").unlink()
    with pytest.raises(FileNotFoundError, match="there is no database"):
        load(f"spider:{files / 'spider'}", "all", None)


def test_a_benchmark_is_found_again_by_id(files):
    tasks = load(f"bird:{files / 'bird'}", "all", None)
    assert tasks.find("bird/7") == tasks.task(0, 0)
    assert isinstance(tasks.task(0, 0).gold, Gold)
    with pytest.raises(KeyError, match="bird/7"):
        tasks.find("bird/8")
    with pytest.raises(IndexError):
        tasks.task(0, 1)


def test_the_oracle_solves_defog(shared_data):
    env = make("tir/SQL-v0", tasks=f"defog:{shared_data / 'defog'}", split="all")
    for seed in range(12):
        play_oracle(env, seed)
        assert env.rewards[1] == 1.0
    env.close()
