"""Query results compared as bags, in order, and up to a permutation of columns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.scoring.tables import same_rows

tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 2), min_size=width, max_size=width), min_size=1, max_size=6)
)


@pytest.mark.parametrize(
    ("rows", "gold", "bag", "ordered"),
    [
        ([(1, "a"), (2, "b")], [(1, "a"), (2, "b")], True, True),
        ([(2, "b"), (1, "a")], [(1, "a"), (2, "b")], True, False),
        ([("a", 1), ("b", 2)], [(1, "a"), (2, "b")], True, True),
        ([(1,), (1,), (2,)], [(1,), (2,), (2,)], False, False),
        ([(1,), (1,)], [(1,)], False, False),
        ([("1",)], [(1,)], False, False),
        ([(1.0,)], [(1,)], True, True),
        ([(None,)], [("None",)], False, False),
        ([], [], True, True),
        ([(1, 2)], [(1,)], False, False),
        ([(1, 2), (2, 1)], [(1, 1), (2, 2)], False, False),
    ],
)
def test_results(rows, gold, bag, ordered):
    assert same_rows(rows, gold) is bag
    assert same_rows(rows, gold, ordered=True) is ordered


def test_columns_in_another_order_are_other_results_where_that_matters():
    assert not same_rows([("a", 1)], [(1, "a")], permute=False)


@given(tables, st.randoms())
def test_shuffling_rows_and_columns_changes_nothing(rows, rng):
    columns = list(range(len(rows[0])))
    rng.shuffle(columns)
    moved = [[row[i] for i in columns] for row in rows]
    assert same_rows(moved, rows, ordered=True)
    rng.shuffle(moved)
    assert same_rows(moved, rows)


@given(tables, tables)
def test_it_is_symmetric(one, other):
    assert same_rows(one, other) == same_rows(other, one)


def test_many_equal_columns_are_given_up_in_bounded_time():
    import itertools

    rows = list(itertools.islice(itertools.permutations(range(9)), 200))
    assert not same_rows(rows, [(*row[:0:-1], row[1]) for row in rows])
