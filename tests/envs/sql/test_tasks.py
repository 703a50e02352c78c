"""Generated databases and questions."""

import random
from collections import Counter
from statistics import median

import pytest

from tests.play import make, play_oracle
from tir_gym.core.task import GeneratedTasks
from tir_gym.envs.sql.asking import TEMPLATES, Ask, NoFit, opened
from tir_gym.envs.sql.build import build
from tir_gym.envs.sql.databases import Generated, connect
from tir_gym.envs.sql.families import FAMILIES
from tir_gym.envs.sql.match import differ, is_ordered
from tir_gym.envs.sql.scan import names, tokens
from tir_gym.envs.sql.schemas import family, ref, table
from tir_gym.envs.sql.tasks import GENERATED, database_for, draw, fitting, make_tasks, misnamed, results, worth_asking

LEVELS = range(1, 11)


def test_there_are_25_families_of_3_to_15_tables():
    assert len(FAMILIES) >= 25
    assert all(3 <= len(each.tables) <= 15 for each in FAMILIES.values())
    assert len({tuple(t.name for t in each.tables) for each in FAMILIES.values()}) == len(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_database_is_as_its_family_says(name):
    made = Generated(name, 0, 2_500, 0.15, True)
    connection = connect(made)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    total = 0
    for one in made.schema.tables:
        info = connection.execute(f"PRAGMA table_info({one.name})").fetchall()
        assert [column[1] for column in info] == [column.name for column in one.columns]
        (count,) = connection.execute(f"SELECT COUNT(*) FROM {one.name}").fetchone()
        total += count
        for column in one.columns:
            (missing,) = connection.execute(f"SELECT COUNT(*) FROM {one.name} WHERE {column.name} IS NULL").fetchone()
            assert (missing > 0) <= column.nullable
            if column.dirty:
                spelled = (
                    f"SELECT COUNT(DISTINCT {column.name}), COUNT(DISTINCT lower(trim({column.name}))) FROM {one.name}"
                )
                raw, clean = connection.execute(spelled).fetchone()
                assert raw >= clean
        for link in made.schema.links:
            if link.child is one and one.share > 0.2 and link.parent is not one:
                often = f"SELECT COUNT(*) c FROM {one.name} GROUP BY {link.column.name} ORDER BY c DESC"
                counts = [c for (c,) in connection.execute(often)]
                assert counts[0] > 2 * sum(counts) / len(counts) or len(counts) < 20
    assert 0.8 * 2_500 <= total <= 1.3 * 2_500
    connection.close()


def test_equal_arguments_give_equal_bytes_and_others_do_not():
    shop = FAMILIES["shop"]
    made = build(shop, 1, 1_000, 0.1)
    assert made == build(shop, 1, 1_000, 0.1)
    assert len({made, build(shop, 2, 1_000, 0.1), build(shop, 1, 1_100, 0.1), build(shop, 1, 1_000, 0.2)}) == 4


def test_sizes_reach_far():
    made = build(FAMILIES["taxi"], 0, 60_000, 0.1)
    assert len(made) > 3_000_000


@pytest.mark.soak
def test_a_million_rows():
    assert len(build(FAMILIES["telemetry"], 0, 1_000_000, 0.1)) > 30_000_000


def test_a_reference_to_a_later_table_is_an_error():
    with pytest.raises(ValueError, match="point to no earlier table"):
        family("x", "x", table("a", "a", "as", 0.5, ref("b")), table("b", "b", "bs", 0.5))


def questions(name, count, level=8):
    """Questions of a template that are worth asking, with their databases."""
    listed = TEMPLATES[name]
    for seed in range(40 * count):
        rng = random.Random(f"{name}{seed}")
        rows, nulls, dirty = ((1_000, 0.0, False), (2_500, 0.15, True))[seed % 2]
        database = Generated(rng.choice(list(FAMILIES)), 0, rows, nulls, dirty)
        try:
            question = listed.make(Ask(rng, level, database))
        except NoFit:
            continue
        if worth_asking(question, database):
            count -= 1
            yield question, database
        if not count:
            return
    raise AssertionError(f"{name} is hardly ever worth asking")


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_question_has_one_answer_in_one_order_that_its_misreadings_do_not_give(name):
    for question, database in questions(name, 3):
        gold = results(question.sql, database)
        assert gold == results(question.sql, database)
        assert len(question.returns) == len(gold[0])
        assert bool(question.order) == is_ordered(question.sql) or len(gold) == 1
        assert question.readings
        for reading in question.readings:
            other = results(reading, database)
            assert other is None or differ(gold, other, ordered=is_ordered(question.sql))
        assert all(len(line) < 1_000 for line in question.text.splitlines())
        assert "{" not in question.text + question.sql
        assert "  " not in question.text


@pytest.mark.parametrize("name", list(TEMPLATES)[::6])
def test_a_template_makes_many_different_prompts(name):
    assert len(prompts_of(name, stop=200)) >= 200


@pytest.mark.soak
def test_every_template_makes_200_different_prompts_in_1000_draws():
    assert len(TEMPLATES) >= 60
    counts = {name: len(prompts_of(name)) for name in TEMPLATES}
    assert {name: count for name, count in counts.items() if count < 200} == {}


def prompts_of(name, stop=1_000):
    """The different prompts that are worth asking in 1,000 draws that fit their database, up to `stop` of them."""
    listed = TEMPLATES[name]
    seen, draws, seed = set(), 0, 0
    while draws < 1_000 and len(seen) < stop:
        rng = random.Random(seed)
        seed += 1
        database = database_for(rng, 5)
        try:
            question = listed.make(Ask(rng, 5, database))
        except NoFit:
            continue
        draws += 1
        if worth_asking(question, database):
            seen.add(question.text)
    return seen


def shape(sql):
    """The structure of a query: its keywords and functions in order, without names, values and plain conditions."""
    return " ".join(token.word for token in tokens(sql) if token.word in KEYWORDS)


_KEYWORDS = (
    "SELECT NOT IN EXISTS BETWEEN IS NULL GROUP HAVING ORDER LIMIT OFFSET DISTINCT JOIN LEFT CASE WHEN THEN ELSE "
    "UNION ALL INTERSECT EXCEPT WITH RECURSIVE OVER PARTITION COUNT SUM AVG MIN MAX COALESCE LAG ROW_NUMBER STRFTIME "
    "JULIANDAY DATE SUBSTR DESC"
)
KEYWORDS = frozenset(_KEYWORDS.split())


def test_no_two_templates_ask_with_the_same_structure():
    shapes = {name: {shape(question.sql) for question, _ in questions(name, 3, level=3)} for name in TEMPLATES}
    for name, own in shapes.items():
        for other, theirs in shapes.items():
            assert name == other or own != theirs, f"{name} and {other}: {own}"


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_has_many_templates(level):
    assert len(fitting(level)) >= 8
    generated = GeneratedTasks(GENERATED, draw, difficulty=level)
    drawn = [generated.task(0, index) for index in range(20)]
    assert len({task.prompt for task in drawn}) == 20
    assert len({task.family for task in drawn}) >= 6
    assert all(task.difficulty == level for task in drawn)


def instructions(sql, database):
    """What a query costs: instructions of SQLite's machine, counted in steps of 50."""
    connection = opened(database)
    count = 0

    def progress():
        nonlocal count
        count += 50
        return False

    connection.set_progress_handler(progress, 50)
    connection.execute(sql).fetchall()
    connection.set_progress_handler(None, 0)
    return count


def work(name, level, count):
    """The median work of a template's gold queries at a level."""
    found = []
    for seed in range(100 * count):
        rng = random.Random(f"{name}/{seed}")
        database = database_for(rng, level)
        try:
            question = TEMPLATES[name].make(Ask(rng, level, database))
        except NoFit:
            continue
        if worth_asking(question, database):
            found.append(instructions(question.sql, database))
        if len(found) == count:
            return median(found)
    raise AssertionError(f"{name} is hardly ever worth asking at level {level}")


def raises_the_work(name, count):
    return work(name, 4, count) < work(name, 10, count)


@pytest.mark.parametrize("name", list(TEMPLATES)[::10])
def test_difficulty_raises_the_measured_work(name):
    assert raises_the_work(name, 9)


@pytest.mark.soak
def test_difficulty_raises_the_measured_work_of_every_template():
    """From level 4, the first with NULLs, which some templates need, to 10."""
    assert [name for name in TEMPLATES if not raises_the_work(name, 31)] == []


def test_harder_tasks_have_longer_golds_and_more_rows():
    shown = []
    for level in (1, 4, 7, 10):
        generated = GeneratedTasks(GENERATED, draw, difficulty=level)
        drawn = [generated.task(1, index) for index in range(25)]
        lengths = [len(tokens(task.gold.answer)) for task in drawn]
        shown.append((sum(lengths) / len(lengths), drawn[0].data["database"]["rows"]))
    assert [length for length, _ in shown] == sorted(length for length, _ in shown)
    assert [rows for _, rows in shown] == sorted(rows for _, rows in shown)


def test_the_size_of_databases_can_be_asked_for():
    tasks = make_tasks(None, "train", 9, 20_000)
    task = tasks.task(0, 0)
    assert task.data["database"]["rows"] == 20_000
    assert task.id.startswith("sql-20000/train/9/")
    assert tasks.find(task.id) == task
    connection = connect(Generated(**task.data["database"]))
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    total = sum(connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in tables)
    assert 16_000 < total < 26_000
    connection.close()
    with pytest.raises(ValueError, match="leave it out"):
        make_tasks("defog:x", "train", None, 20_000)
    with pytest.raises(ValueError, match="size"):
        make("tir/SQL-v0", size=10)


@pytest.mark.soak
def test_questions_about_a_million_rows_are_asked_answered_and_judged():
    env = make("tir/SQL-v0", size=1_000_000, query_timeout_s=60)
    for seed in range(3):
        play_oracle(env, seed)
        assert env.rewards[1] == 1.0
    env.close()


def test_at_high_levels_a_column_has_one_beside_it_with_a_similar_name_that_gives_another_answer():
    generated = GeneratedTasks(GENERATED, draw, difficulty=8)
    decoyed = 0
    for index in range(20):
        task = generated.task(4, index)
        database = Generated(**task.data["database"])
        assert any(table.of("decoy") for table in database.schema.tables)
        gold = results(task.gold.answer, database)
        for reading in misnamed(task.gold.answer, database):
            decoyed += 1
            assert reading != task.gold.answer
            assert differ(gold, results(reading, database), ordered=is_ordered(task.gold.answer))
    assert decoyed >= 3


def share_of_the_best_guess(count):
    """How many of so many tasks the best answer has that does not depend on the task, where a value is asked for."""
    tasks = make("tir/SQL-v0", mode="value").setting.tasks
    held = Counter()
    for index in range(count):
        task = tasks.task(6, index)
        ((value,),) = results(task.gold.answer, Generated(**task.data["database"]))
        held[value] += 1
    return held.most_common(1)[0][1] / count


@pytest.mark.soak
def test_the_floor_of_guessed_values_is_at_most_2_percent():
    assert share_of_the_best_guess(1_500) <= 0.02


def test_no_value_is_guessed_often():
    assert share_of_the_best_guess(100) <= 0.05


def test_no_answer_is_more_than_2_percent_and_gold_is_nowhere_to_be_read():
    generated = GeneratedTasks(GENERATED, draw)
    drawn = [generated.task(0, index) for index in range(150)]
    assert Counter(task.gold.answer for task in drawn).most_common(1)[0][1] <= 3
    for task in drawn:
        assert task.gold.answer not in task.prompt
        assert task.gold.answer not in repr(task.public)
        assert set(task.data) == {"database"}
        assert task.family in TEMPLATES
        assert set(task.gold.plan["tables"]) <= {t.name for t in FAMILIES[task.data["database"]["family"]].tables}
        assert names(task.gold.answer) & set(task.gold.plan["tables"])
