"""A real database: 41 questions with answers checked by hand, each with another right query and a near miss."""

import pytest

from tests.envs.sql.chinook import ANSWERS, QUESTIONS
from tests.envs.sql.test_verify import judged
from tir_gym.envs.sql.databases import File
from tir_gym.envs.sql.engine import engine
from tir_gym.envs.sql.match import differ, is_ordered

LUCKY = {
    "How many tracks cost more than the average?",
    "The artist of the album 'Big Ones'",
    "Which media types have tracks that were never sold? Names, alphabetically",
}
"""The near misses of these are right on the database shown."""


@pytest.fixture
def chinook(shared_data):
    return str(shared_data / "chinook" / "Chinook_Sqlite.sqlite")


@pytest.mark.parametrize("number", range(len(QUESTIONS)), ids=lambda n: QUESTIONS[n][0])
def test_a_question_is_judged_rightly(chinook, number):
    question, gold, other, near = QUESTIONS[number]
    shown = {"path": chinook}
    found = engine().one(File(chinook), gold)
    assert differ(ANSWERS[number], found.rows, ordered=is_ordered(gold)) == ""
    assert judged(gold, gold, database=shown).value == 1.0
    assert judged(other, gold, database=shown).value == 1.0, judged(other, gold, database=shown)
    assert judged(near, gold, "exec", database=shown).value == float(question in LUCKY)
    assert judged(near, gold, database=shown).value == 0.0


def test_there_are_more_than_40():
    assert len(QUESTIONS) == len(ANSWERS) == len({question for question, *_ in QUESTIONS}) > 40
