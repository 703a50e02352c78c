"""Whether two results are the same."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.envs.sql.match import contains, differ, is_ordered, same_cell
from tir_gym.envs.sql.scan import literals, names, tokens

cells = st.one_of(st.none(), st.integers(-5, 5), st.floats(-5, 5), st.sampled_from(["a", "b", "1", "NULL", ""]))
rows = st.integers(1, 3).flatmap(lambda width: st.lists(st.tuples(*[cells] * width), min_size=1, max_size=8))


@pytest.mark.parametrize(
    ("gold", "found", "ordered", "told"),
    [
        # seen in a peer: frozenset(rows) took all of these for the same
        ([(1,), (1,)], [(1,)], False, "1 rows instead of 2"),
        ([(1,), (1,), (2,)], [(1,), (2,), (2,)], False, "other rows"),
        ([(1,), (2,)], [(2,), (1,)], True, "the right rows in a wrong order"),
        ([(1,), (2,)], [(2,), (1,)], False, ""),
        ([(1, 2)], [(2, 1)], False, "other rows"),
        ([(1, 2)], [(1,)], False, "1 columns instead of 2"),
        ([(None,)], [(0,)], False, "other rows"),
        ([(None,)], [("NULL",)], False, "other rows"),
        ([(None,)], [(None,)], False, ""),
        ([("5",)], [(5,)], False, "other rows"),
        ([(5.0,)], [(5,)], False, ""),
        ([(1 / 3,)], [(0.33333334,)], False, ""),
        ([(1 / 3,)], [(0.33,)], False, "other rows"),
        ([(10**15,)], [(10**15 + 1,)], False, "other rows"),
        ([("a",)], [("A",)], False, "other rows"),
        ([({"hex": "00"},)], [({"hex": "00"},)], False, ""),
        ([({"hex": "00"},)], [({"hex": "01"},)], False, "other rows"),
        ([(float("inf"),)], [(1e308,)], False, "other rows"),
        ([], [], True, ""),
        ([], [(1,)], False, "1 rows instead of 0"),
    ],
)
def test_what_counts(gold, found, ordered, told):
    assert differ(gold, found, ordered=ordered) == told


@given(rows, st.randoms())
def test_a_bag_is_the_same_in_any_order_and_a_list_is_not(gold, rng):
    found = list(gold)
    rng.shuffle(found)
    assert differ(gold, found, ordered=False) == ""
    exact = all(all(map(same_cell, a, b)) for a, b in zip(gold, found, strict=True))
    assert (differ(gold, found, ordered=True) == "") == exact


@given(rows, st.randoms())
def test_rounding_below_the_tolerance_does_not_matter_in_any_order(gold, rng):
    found = [tuple(c * (1 + 1e-9) if isinstance(c, float) else c for c in row) for row in gold]
    rng.shuffle(found)
    assert differ(gold, found, ordered=False) == ""


@given(rows, st.randoms())
def test_columns_may_stand_in_another_order_only_where_allowed(gold, rng):
    order = list(range(len(gold[0])))
    rng.shuffle(order)
    found = [tuple(row[i] for i in order) for row in gold]
    assert differ(gold, found, ordered=True, permute=True) == ""
    moved = not all(all(map(same_cell, a, b)) for a, b in zip(gold, found, strict=True))
    assert bool(differ(gold, found, ordered=True)) == moved


@given(rows, st.data())
def test_one_row_less_more_or_twice_is_seen(gold, data):
    at = data.draw(st.integers(0, len(gold) - 1))
    for found in (gold[:at] + gold[at + 1 :], [*gold, gold[at]], [gold[at] for _ in gold]):
        different = sorted(map(repr, found)) != sorted(map(repr, gold))
        if len(found) != len(gold):
            assert differ(gold, found, ordered=False)
        elif not different:
            assert differ(gold, found, ordered=False) == ""


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("select a from t order  by a limit 3", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", False),
        ("SELECT row_number() OVER (ORDER BY a) FROM t", False),
        ("SELECT 'x ORDER BY y' FROM t", False),
        ("SELECT a FROM t -- ORDER BY a", False),
        ("SELECT a FROM t /* ( */ ORDER /* by */ BY a", True),
        ("WITH c AS (SELECT 1 ORDER BY 1) SELECT a FROM t UNION SELECT b FROM u ORDER BY 1", True),
        ('SELECT "order" FROM t', False),
        ("", False),
    ],
)
def test_a_result_is_ordered_where_the_query_itself_says_so(sql, ordered):
    assert is_ordered(sql) is ordered


def test_literals_and_names():
    sql = "SELECT \"a b\", c FROM [t] WHERE x = 'it''s' AND y > 1.5 AND z = 1.5 LIMIT 3 -- 'no' 7"
    assert literals(sql) == ("it's", 1.5, 3)
    assert {"a b", "c", "t", "x"} <= names(sql)


@given(st.text())
def test_any_text_has_tokens_that_cover_it(text):
    found = tokens(text)
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert all(text[token.start : token.end] == token.text for token in found)


@given(rows)
def test_a_part_of_a_group_is_found_in_it(group):
    part = [tuple(c + 1e-9 if isinstance(c, float) else c for c in row) for row in group[::2]]
    assert contains(group, part)
    assert not contains(group[:1], [*group[:1], *group[:1]])
    assert not contains(group, [*part, ("no such row",)])


def test_a_large_tie_is_judged_at_once():
    """Every row used to be held against every other one."""
    group = [(n % 7, n * 1.001, "a") for n in range(20_000)]
    near = [(a, b + 1e-8, c) for a, b, c in reversed(group[:10_000])]
    assert contains(group, near)
    assert not contains(group, [*near, (8, 1.0, "a")])
