"""Answers to questions, against the stored scores of real trajectories and by the rules."""

import json
from datetime import date
from decimal import Decimal

import pytest

from tir_gym.scoring import qa
from tir_gym.scoring.text import contains, exact_match, f1


def test_em_f1_and_sub_em_equal_the_stored_scores_of_real_trajectories(shared_data):
    rows = [
        json.loads(line)
        for path in sorted((shared_data / "search_r1_rollouts").glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert len(rows) == 375
    for row in rows:
        said, golds, stored = row["output"]["pred"], row["golden_answers"], row["output"]["metric_score"]
        assert exact_match(said, golds) == stored["em"]
        assert f1(said, golds) == pytest.approx(stored["f1"], abs=1e-12)
        assert contains(said, golds) == stored["acc"]


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("The Beatles", "beatles"),
        ("titan iiie.", "Titan IIIE"),
        ("30,931", "30931"),
        ("30931.0", "30931"),
        ("−12", "-12"),
        ("two", "2"),
        ("June 20th, 1837", "20 June 1837"),
        ("1837-06-20", "20 June 1837"),
        ("20 Jun. 1837", "June 20, 1837"),
    ],
)
def test_the_same_written_in_another_way(answer, gold):
    assert qa.same(answer, ["something else", gold])
    assert qa.same(gold, [answer])


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("", "The"),
        ("the", "A"),
        ("Beatles or Stones", "Beatles"),
        ("21 June 1837", "20 June 1837"),
        ("06/07/1837", "6 July 1837"),
        ("30 931 people", "30931"),
        ("1837", "20 June 1837"),
        ("Berlin " * 500, "Berlin"),
        ("31 February 1900", "3 March 1900"),
        ("1" * 5_000, "1"),
    ],
)
def test_not_the_same(answer, gold):
    assert not qa.same(answer, [gold])


def test_numbers_and_days_are_read_or_not():
    assert qa.number_of("1,234.50") == Decimal("1234.5")
    assert qa.number_of("twenty") == 20
    assert [qa.number_of(text) for text in ("", "1,23", "12 km", "nan", "1e5", "inf")] == [None] * 6
    assert qa.date_of("3rd of May 901") == date(901, 5, 3)
    assert [qa.date_of(text) for text in ("", "May 1900", "2000-13-01", "0 May 1900")] == [None] * 4


def test_sub_em_is_guarded():
    names = [f"Name{number} Surname" for number in range(40)]
    assert qa.sub_em("It was Name7 Surname, I think.", names[7:8]) == 1.0
    assert qa.sub_em(" or ".join(names), names[7:8]) == 0.0
    assert qa.sub_em("anything", ["The", ""]) == 0.0
    assert qa.sub_em("x" * 10_000 + " Berlin", ["Berlin"]) == 0.0


def test_guarded_f1():
    assert qa.guarded_f1("30,931", ["30931"]) == 1.0
    assert qa.guarded_f1("James Madison Jr", ["James Madison"]) == pytest.approx(0.8)
    assert qa.guarded_f1("word " * 600, ["word"]) == 0.0
    assert qa.guarded_f1("The Tower of", ["The Silver Garden of Ulm"]) == qa.guarded_f1("of", ["of it"]) == 0.0
    assert qa.guarded_f1("Garden of Ulm", ["The Silver Garden of Ulm"]) == f1("Garden of Ulm", ["Silver Garden of Ulm"])
    assert qa.guarded_f1("It", ["It"]) == 1.0


def test_lists_are_measured_by_set_f1():
    wanted = [["Berlin"], ["Rome", "Roma"], ["Paris"]]
    assert qa.items_of("1. Berlin\n2. Rome\n- Paris") == ["Berlin", "Rome", "Paris"]
    assert qa.items_of("Berlin, Roma and Paris") == ["Berlin", "Roma and Paris"]
    assert qa.set_f1(["berlin", "Roma", "the Paris"], wanted) == 1.0
    assert qa.set_f1(["Rome", "Roma"], wanted) == pytest.approx(2 / 5)  # an item is matched once
    assert qa.set_f1(["Berlin", "Berlin"], wanted) == pytest.approx(2 / 4)  # said twice is said once
    assert qa.set_f1([], []) == 1.0
    assert qa.set_f1(["x"], []) == qa.set_f1([], wanted) == 0.0


def test_abstaining_is_saying_so_and_no_more():
    assert qa.abstains("Unknown.")
    assert qa.abstains("I don't know")
    assert not qa.abstains("unknown, perhaps Berlin")
    assert not qa.abstains("")


def test_nuggets_are_named_in_whole_words():
    nuggets = [["1871"], ["Berlin", "the capital"], ["coal"]]
    assert qa.nugget_recall("In 1871 the capital burned charcoal.", nuggets) == pytest.approx(2 / 3)
    assert qa.nugget_recall("x" * 5_000 + " 1871 Berlin coal", nuggets) == 0.0
    assert qa.nugget_recall("", []) == 1.0
