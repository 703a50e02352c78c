"""Advantages: zero-sum where they should be, and what each paper's says on cases that can be worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.rollout import advantages as adv
from tir_gym.rollout.advantages import Node

groups = st.lists(st.integers(-8, 8).map(lambda n: n / 8), min_size=2, max_size=8)
rollouts = st.lists(st.lists(st.integers(0, 4).map(float), min_size=1, max_size=4), min_size=1, max_size=5)


@given(groups)
def test_relative_advantages_sum_to_zero_and_do_not_care_for_a_common_gift(rewards):
    for function in (adv.group_relative, adv.leave_one_out, lambda r: adv.group_relative(r, normalise=False)):
        values = function(rewards)
        assert values.sum() == pytest.approx(0, abs=1e-9)
        assert function(np.array(rewards) + 3) == pytest.approx(values, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=10), st.randoms())
def test_permuting_a_batch_permutes_its_advantages(batch, rng):
    order = list(range(len(batch)))
    rng.shuffle(order)
    straight = adv.by_group([r for r, _ in batch], [g for _, g in batch])
    mixed = adv.by_group([batch[i][0] for i in order], [batch[i][1] for i in order])
    assert mixed == pytest.approx(straight[order])


def test_groups_of_one_and_episodes_that_say_nothing():
    assert adv.group_relative([0.5]) == pytest.approx([0.5], abs=1e-5)
    assert adv.leave_one_out([0.5]).tolist() == [0.0]
    with_gap = adv.group_relative([1.0, math.nan, 0.0])
    assert math.isnan(with_gap[1])
    assert with_gap[[0, 2]] == pytest.approx(adv.group_relative([1.0, 0.0]))
    assert np.isnan(adv.leave_one_out([1.0, math.nan, 0.0])).tolist() == [False, True, False]


def test_an_episode_that_says_nothing_is_no_part_of_a_checklists_or_a_states_group():
    awards = np.array([[[1.0], [0.0]], [[0.0], [0.0]], [[math.nan], [math.nan]]])
    with_gap = adv.checklist_level(awards, [1.0])
    assert with_gap[:2] == pytest.approx(adv.checklist_level(awards[:2], [1.0]))
    assert np.isnan(with_gap[2]).all()
    alone, beside = adv.anchor_groups([["s"]], [[3.0]]), adv.anchor_groups([["s"], ["s"]], [[3.0], [math.nan]])
    assert beside[0] == alone[0] == 0.0
    assert math.isnan(beside[1][0])


def test_leave_one_out_by_hand():
    assert adv.leave_one_out([1.0, 0.0, 0.5]).tolist() == [0.75, -0.75, 0.0]


def test_discounted_returns():
    (returns,) = adv.discounted([[1.0, 0.0, 2.0]], 0.5)
    assert returns.tolist() == [1.5, 1.0, 2.0]


@given(rollouts)
def test_the_baseline_of_a_turn_is_that_of_the_others(turns):
    found = adv.turn_baseline(turns)
    for i, own in enumerate(found):
        for t, value in enumerate(own):
            others = [rollout[t] for j, rollout in enumerate(turns) if j != i and len(rollout) > t]
            assert value == pytest.approx(turns[i][t] - np.mean(others) if others else 0.0)
    assert [len(own) for own in adv.turn_level(turns)] == [len(own) for own in turns]


def test_a_tree_credits_a_step_with_the_leaves_below_it():
    nodes = [Node(-1), Node(0, success=1.0), Node(0, ok=False), Node(2, success=0.0), Node(2, success=1.0)]
    assert adv.tree_values(nodes).tolist() == pytest.approx([2 / 3 + 0.1, 1.1, 0.5, 0.1, 1.1])
    relative = adv.fork_relative(nodes)
    assert relative[1] > relative[2]
    assert relative[4] > relative[3]
    assert relative[0] == pytest.approx(0.0)
    with pytest.raises(ValueError, match="before its parent"):
        adv.tree_values([Node(1, 1.0), Node(-1, 1.0)])
    with pytest.raises(ValueError, match="no leaf"):
        adv.tree_values([Node(-1)])


def test_aspo_favours_early_code_within_bounds_and_leaves_others_alone():
    values = adv.aspo([1.0, 1.0, -1.0], [100, 300, 900], [1000, 1000, 50], [True, True, False])
    assert values.tolist() == [1.2, 0.8, -1.0]
    assert adv.aspo([1.0, 1.0], [0, 100_000], [1000, 1000]).tolist() == pytest.approx([1.7, 0.3])
    assert adv.aspo([1.0], [5], [10], [False]).tolist() == [1.0]


def test_the_conditional_channel_compares_correct_rollouts_only():
    values = adv.conditional([1.0, math.nan, 0.5], [True, False, True])
    assert values.tolist() == pytest.approx([1.0, 0.0, -1.0], abs=1e-5)
    assert adv.conditional([1.0, 1.0], [True, False]).tolist() == [0.0, 0.0]


def test_checklist_advantages_by_hand():
    awards = np.zeros((2, 2, 2))
    awards[0, 0, 0] = awards[0, 1, 1] = awards[1, 1, 0] = 1
    values = adv.checklist_level(awards, [1.0, 3.0])
    assert values[0].tolist() == [(1 * 0 + 3 * -0.5) / 4, (1 * -1 + 3 * 0.5) / 4]
    assert adv.checklist_level(awards, [1.0, 1.0], np.zeros((2, 2, 2))).tolist() == [[0, 0], [0, 0]]


def test_steps_from_the_same_state_are_compared():
    values = adv.anchor_groups([["s", "a"], ["s", "b"], ["s", "a"]], [[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    assert values[1][1] == 0.0
    assert values[0][1] > 0 > values[2][1]
    assert sum(own[0] for own in values) == pytest.approx(0, abs=1e-9)


def test_a_terminal_reward_is_spread_whole():
    assert adv.spread(1.0, [1, 3]).tolist() == [0.25, 0.75]
    assert adv.spread(1.0, [0, 0]).sum() == pytest.approx(1.0)
    assert adv.spread(1.0, [1, 1], [1, 0], b=0.1).tolist() == pytest.approx([0.6, 0.5])


def test_channels_as_columns():
    found = adv.channels([{"a": 1.0, "b": math.nan}], ["b", "a"])
    assert found.shape == (1, 2)
    assert math.isnan(found[0, 0])
    assert found[0, 1] == 1.0
    assert adv.channels([], ["a"]).shape == (0, 1)
