"""The token buffer: append only, what was sampled is what is trained on."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tir_gym.rollout.tokens import NO_VERSION, ImageRef, Role, TokenRollout

IDS = st.lists(st.integers(0, 70_000), min_size=1, max_size=12)
CONTEXT = st.sampled_from([Role.TOOL, Role.USER, Role.SCAFFOLD, Role.BOUNDARY])
STEPS = st.lists(st.tuples(IDS, st.integers(0, 9), st.floats(-1, 1, width=32), CONTEXT, IDS), min_size=1, max_size=6)


def filled(prompt, steps, **names):
    rollout = TokenRollout(**names)
    rollout.append_prompt(prompt)
    go_on(rollout, steps)
    return rollout


def go_on(rollout, steps):
    for sampled, version, reward, role, told in steps:
        rollout.append_sampled(sampled, [-0.5] * len(sampled), version)
        rollout.add_reward(reward)
        rollout.append_context(told, role)


@settings(deadline=None, max_examples=30)
@given(IDS, STEPS)
def test_a_row_is_prompt_turns_and_context_in_order_and_its_mask_is_what_was_sampled(prompt, steps):
    (row,) = filled(prompt, steps).rows()
    assert row.ids.tolist() == prompt + [i for step in steps for i in step[0] + step[4]]
    assert row.ids[row.loss_mask()].tolist() == [i for step in steps for i in step[0]]
    assert [row.ids[a:b].tolist() for a, b in zip(row.turn_start, row.turn_end, strict=True)] == [s[0] for s in steps]
    assert row.turn_reward.tolist() == [step[2] for step in steps]
    assert row.versions[row.loss_mask()].tolist() == [v for sampled, v, *_ in steps for _ in sampled]
    assert set(row.versions[~row.loss_mask()].tolist()) == {NO_VERSION}
    assert set(row.logprobs[~row.loss_mask()].tolist()) == {0.0}
    assert (row.roles[: len(prompt)] == Role.PROMPT).all()


@settings(deadline=None, max_examples=30)
@given(IDS, STEPS, STEPS, STEPS)
def test_a_fork_goes_on_alone_and_its_shared_tokens_can_be_left_to_the_parent(prompt, before, ours, theirs):
    parent = filled(prompt, before, episode="a", group="g")
    child = parent.fork("b")
    at = len(parent)
    go_on(parent, ours)
    go_on(child, theirs)
    (row,), (twin,) = parent.rows(), child.rows()
    assert (twin.parent, twin.shared, twin.group, row.parent, row.shared) == ("a", at, "g", "", 0)
    assert twin.ids[:at].tolist() == row.ids[:at].tolist()
    once = row.loss_mask(once=True).sum() + twin.loss_mask(once=True).sum()
    assert once == sum(len(step[0]) for step in (*before, *ours, *theirs))
    assert twin.loss_mask().sum() == sum(len(step[0]) for step in (*before, *theirs))


@settings(deadline=None, max_examples=30)
@given(IDS, STEPS, IDS, STEPS)
def test_a_rewritten_history_is_another_row_of_the_same_episode(prompt, before, anew, after):
    rollout = filled(prompt, before, episode="a")
    rollout.append_prompt(anew)
    go_on(rollout, after)
    first, second = rollout.rows()
    assert (first.segment, second.segment, second.episode) == (0, 1, "a")
    assert second.ids[: len(anew)].tolist() == anew
    assert first.reward == second.reward == pytest.approx(sum(s[2] for s in (*before, *after)), abs=1e-5)
    assert rollout.ids == second.ids.tolist()


@settings(deadline=None, max_examples=30)
@given(IDS, STEPS, st.integers(1, 80))
def test_a_cut_row_keeps_its_first_tokens_and_rewards_only_turns_that_are_whole(prompt, steps, limit):
    (row,) = filled(prompt, steps).rows()
    cut = row.cut(limit)
    assert cut.ids.tolist() == row.ids[:limit].tolist()
    assert cut.loss_mask().tolist() == row.loss_mask()[:limit].tolist()
    assert cut.truncated == (len(row) > limit)
    whole = row.turn_end <= limit
    assert cut.turn_reward[whole[: len(cut.turn_reward)]].tolist() == row.turn_reward[whole].tolist()
    assert not cut.turn_reward[~whole[: len(cut.turn_reward)]].any()
    spans = zip(cut.turn_start, cut.turn_end, strict=True)
    assert sum(b - a for a, b in spans) == cut.loss_mask().sum()


@pytest.mark.parametrize(
    "carried", [lambda r: pickle.loads(pickle.dumps(r)), lambda r: TokenRollout.of(json.loads(json.dumps(r.data())))]
)
@settings(deadline=None, max_examples=30)
@given(prompt=IDS, before=STEPS, anew=IDS, between=STEPS, after=STEPS)
def test_a_rollout_goes_on_elsewhere_from_what_was_written_down(carried, prompt, before, anew, between, after):
    here = filled(prompt, before, episode="a", group="g").fork("b")
    here.append_prompt(anew, [ImageRef("dark", 0)])
    go_on(here, between)
    here.add_reward(float("nan"))
    there = carried(here)
    go_on(here, after)
    go_on(there, after)
    assert there.data() == here.data()
    for row, twin in zip(here.rows(), there.rows(), strict=True):
        for name in vars(row):
            assert np.array_equal(getattr(row, name), getattr(twin, name), equal_nan=name in NAN), name


NAN = ("reward", "turn_reward")


def test_the_weights_may_change_in_the_middle_of_a_turn():
    rollout = TokenRollout()
    rollout.append_prompt([1])
    assert rollout.versions == (NO_VERSION, NO_VERSION)
    rollout.append_sampled([2, 3, 4], version=[5, 5, 6])
    rollout.append_context([9], Role.TOOL)
    rollout.append_sampled([7], version=8)
    (row,) = rollout.rows()
    assert row.versions.tolist() == [NO_VERSION, 5, 5, 6, NO_VERSION, 8]
    assert rollout.versions == rollout.fork("b").versions == (5, 8)


def test_rows_do_not_change_when_the_rollout_goes_on():
    rollout = filled([1], [([2], 0, 1.0, Role.TOOL, [3])])
    (before,) = rollout.rows()
    rollout.append_sampled([4])
    rollout.append_prompt([9])
    assert before.ids.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        before.ids[0] = 7


def test_nothing_of_an_invalid_episode_is_learned_from():
    rollout = filled([1], [([2, 3], 0, 0.0, Role.TOOL, [4])])
    rollout.add_reward(float("nan"))
    rollout.valid = False
    (row,) = rollout.rows()
    assert not row.loss_mask().any()
    assert np.isnan(row.reward)


def test_no_part_of_an_invalid_episode_has_a_reward_that_a_group_could_count():
    """Not the turns before its last, nor what is left when that is cut, nor where nobody told the last one's nan."""
    rollout = filled([1], [([2, 3], 0, 0.5, Role.TOOL, [4]), ([5, 6], 0, 0.0, Role.TOOL, [7])])
    rollout.valid = False
    (row,) = rollout.rows()
    assert np.isnan(row.reward)
    assert np.isnan(row.turn_reward).all()
    for limit in (2, 4, 5):
        assert np.isnan(row.cut(limit).reward)
        assert np.isnan(row.cut(limit).turn_reward).all()


def test_a_segment_in_which_nothing_was_sampled_is_no_row():
    rollout = TokenRollout()
    rollout.append_prompt([1, 2])
    assert rollout.rows() == []


def test_images_are_referred_to_by_the_token_that_stands_for_them():
    rollout = TokenRollout()
    rollout.append_prompt([1, 2, 3], [ImageRef("dark", 1)])
    rollout.append_sampled([4, 5])
    rollout.append_context([6, 7], Role.TOOL, [ImageRef("light", 1)])
    (row,) = rollout.rows()
    assert row.images == (ImageRef("dark", 1), ImageRef("light", 6))
    assert row.cut(6).images == (ImageRef("dark", 1),)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda r: r.append_sampled([1, 2], [0.0]), "1 logprobs for 2 sampled tokens"),
        (lambda r: r.append_sampled([1], version=-2), "version -2 must be at least 0"),
        (lambda r: r.append_sampled([1, 2], version=[0]), "1 versions for 2 sampled tokens"),
        (lambda r: r.append_context([1], Role.SAMPLED), "append_sampled"),
        (lambda r: r.append_context([1, 2], [Role.TOOL]), "1 roles for 2 tokens"),
        (lambda r: r.append_context([1], Role.TOOL, [ImageRef("dark", 1)]), "image 'dark' at 1 is outside"),
        (lambda r: r.add_reward(1.0), "no turn yet"),
        (lambda r: TokenRollout().append_sampled([1]), "begin with append_prompt"),
        (lambda r: r.append_sampled([2]) or r.rows()[0].cut(0), "limit=0"),
    ],
)
def test_misuse_is_refused_by_name(misuse, message):
    rollout = TokenRollout()
    rollout.append_prompt([1])
    with pytest.raises(ValueError, match=message):
        misuse(rollout)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda r: r.append_sampled([1, 2], [-0.5, None]),
        lambda r: r.append_sampled([1, 2**40]),
        lambda r: r.append_context([1, 2], [Role.TOOL, 300]),
        lambda r: r.append_context([1], Role.TOOL, [ImageRef("dark", 0), ImageRef("light", 1)]),
        lambda r: r.append_prompt([1], [ImageRef("dark", 1)]),
    ],
)
def test_what_is_refused_leaves_nothing_behind(misuse):
    rollout = filled([1], [([2], 0, 1.0, Role.TOOL, [3])])
    before = rollout.data()
    with pytest.raises((ValueError, TypeError, OverflowError)):
        misuse(rollout)
    assert rollout.data() == before


def test_log_probabilities_may_be_an_array():
    rollout = TokenRollout()
    rollout.append_prompt(np.array([1]))
    rollout.append_sampled(np.array([2, 3]), np.array([-0.5, -1.0]))
    assert rollout.rows()[0].logprobs.tolist() == [0.0, -0.5, -1.0]


def test_log_probabilities_that_are_no_numbers_survive_being_written_down():
    rollout = TokenRollout()
    rollout.append_prompt([1])
    rollout.append_sampled([2, 3, 4], [float("nan"), float("-inf"), -0.1])
    text = json.dumps(rollout.data(), allow_nan=False)
    assert np.array_equal(
        TokenRollout.of(json.loads(text)).rows()[0].logprobs, rollout.rows()[0].logprobs, equal_nan=True
    )


def test_data_of_another_length_describes_no_rollout():
    data = filled([1], [([2], 0, 1.0, Role.TOOL, [3])]).data()
    data["segments"][0]["roles"].pop()
    with pytest.raises(ValueError, match="one of each for each token"):
        TokenRollout.of(data)
