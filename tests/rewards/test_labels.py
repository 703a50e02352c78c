"""Rewards that need labels of the task: kinds of step, sub-goals, mended steps, leaderboards, hidden sub-answers."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.play import make
from tests.rewards.views import answer, search, searched, view_of
from tir_gym.core.transcript import CallErrorType
from tir_gym.core.verify import Score
from tir_gym.rewards import icrl, labels
from tir_gym.rewards.calls import FTRLTurns
from tir_gym.rewards.schedules import icrl_demonstrations
from tir_gym.rollout import metrics, record_of
from tir_gym.rollout.collect import play
from tir_gym.rollout.groups import worths
from tir_gym.rollout.policies import POLICIES
from tir_gym.scoring.tool_calls import ftrl_silent_turn


def one(component, view):
    (value,) = component.evaluate(view).values()
    return value


def call(query):
    return {"name": "search", "arguments": {"query": query}}


def test_smart_counts_calls_where_none_is_needed_and_steps_that_lack_one():
    steps = {"steps": ["parametric", "tool", "tool", "parametric"]}
    for queries, value in (("ab", 0.0), ("a", -0.5), ("", -1.0), ("abc", -0.5), ("abcd", -1.0), ("aaaa", -1.5)):
        assert one(labels.SMART(), searched(*queries, data=steps)) == value
    assert one(labels.SMART(), searched(data={"steps": ["parametric"]})) == 0.0
    assert math.isnan(one(labels.SMART(), searched()))
    with pytest.raises(ValueError, match="guess"):
        one(labels.SMART(), searched(data={"steps": ["guess"]}))


@given(st.text("abc", max_size=6), st.integers(0, 4), st.integers(0, 4))
def test_a_repeated_call_never_raises_smart(queries, tools, parametric):
    data = {"steps": ["tool"] * tools + ["parametric"] * parametric}
    if queries and data["steps"]:
        before, after = (one(labels.SMART(), searched(*calls, data=data)) for calls in (queries, queries + queries[0]))
        assert -2.0 <= after <= before <= 0.0


def test_astra_balances_useful_calls_and_sub_goals():
    goals = {"sub_goals": [call("a"), call("b")]}
    assert one(labels.ASTRA(), searched("a", "b", data=goals)) == 1.0
    assert one(labels.ASTRA(), searched("a", "a", "b", data=goals)) == pytest.approx(4 / 5)
    assert one(labels.ASTRA(), searched("x", data=goals)) == one(labels.ASTRA(), searched(data=goals)) == 0.0
    failed = searched("a", "b", data=goals, errors={1: CallErrorType.TIMEOUT})
    assert one(labels.ASTRA(), failed) == pytest.approx(2 / 4)
    assert math.isnan(one(labels.ASTRA(), searched("a")))


def test_toolcomp_wants_the_mend_and_not_what_was_mended():
    steps = {"mended": [{"good": call("a"), "bad": call("x")}, {"good": call("b"), "bad": call("y")}]}
    for queries, value in (("ab", 1.0), ("a", 0.5), ("ax", 0.0), ("axb", 0.5), ("", 0.0)):
        assert one(labels.ToolComp(), searched(*queries, data=steps)) == value
    assert math.isnan(one(labels.ToolComp(), searched("a")))


def test_a_rank_is_the_mean_over_leaderboards():
    boards = {"leaderboards": [[0.9, 0.5, 0.1], [0.3, 0.2]]}
    assert one(labels.HumanRank(), searched(score=0.5, data=boards)) == pytest.approx((2 / 3 + 1.0) / 2)
    assert one(labels.HumanRank(), searched(score=0.0, data=boards)) == 0.0
    lower = {**boards, "lower_is_better": True}
    view = searched(data=lower)
    object.__setattr__(view, "score", Score(0.5, evidence={"metric": 0.05}))
    assert one(labels.HumanRank(), view) == 1.0
    assert one(labels.HumanRank(), view_of([search("a")], syntax="search_r1", data=boards)) == 0.0
    assert math.isnan(one(labels.HumanRank(), searched(score=1.0)))


def test_icrl_is_four_fifths_answer():
    assert one(icrl.ICRL(), searched("a")) == pytest.approx(1.0)
    assert one(icrl.ICRL(), searched("a", said="41")) == pytest.approx(0.2)
    silent = view_of([search("a", thought="")], syntax="search_r1")
    assert one(icrl.ICRL(), silent) == pytest.approx(0.2 * (1 - 0.5 - 0.2))
    assert one(icrl.ICRL(), view_of(["nothing"], syntax="search_r1")) == pytest.approx(0.2 * (1 - 0.5 - 0.2 - 0.15))
    assert icrl.icrl_format(icrl.PENALTIES) == 0.0
    assert [icrl_demonstrations(step, 50) for step in (0, 49, 50, 100, 999)] == [3, 3, 2, 0, 0]


def test_ftrl_in_training_pays_turn_by_turn():
    data = {"sub_answers": {"search": ["7", "1,000"]}}
    turns = [search("a"), search("b"), "<think>hm</think>", answer("42")]
    view = view_of(turns, syntax="search_r1", data=data, said={0: "it is 7", 1: "no"})
    assert FTRLTurns().turn_rewards(view) == [2 / 2, 0.0, 0.0, 1 / 2]
    assert one(FTRLTurns(), view) == 1.5
    solved = view_of(
        [search("a"), search("b"), "", answer("41")], syntax="search_r1", data=data, said={0: "7", 1: "1000"}
    )
    assert FTRLTurns(shape="square").turn_rewards(solved) == [1.0, 1.0, -0.5, 0.5]
    assert one(FTRLTurns(), view.until(1)) == 1.0
    assert math.isnan(one(FTRLTurns(), searched("a")))
    assert ftrl_silent_turn(empty=False, stray_tags=True, answered=True, unsolved=0) == -0.3


# --- over many episodes -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def records():
    env = make("toy/Archive-v0")
    found = []
    for policy in ("oracle", "oracle", "constant", "null"):
        play(env, POLICIES[policy], 3)
        found.append(record_of(env))
    env.close()
    return found


def test_a_task_on_which_rollouts_disagree_is_worth_most(records):
    (value,) = worths(records).values()
    assert value == pytest.approx((1 - 0.5) * (1 / 3) ** 0.5)
    assert set(worths(records[:2]).values()) == set(worths(records[:1]).values()) == {0.0}
    assert worths([records[0].model_copy(update={"valid": False})]) == {}


def test_smarts_report(records):
    report = metrics.smart_report([(record, ["tool", "tool", "parametric"]) for record in records])
    assert report["underuse"] == 0.5
    assert report["overuse"] == 0.0
    assert 0 < report["tool_use"] < 1
    assert all(map(math.isnan, metrics.smart_report([]).values()))


def test_judges_of_steps():
    assert metrics.pairwise_accuracy([3, 1, 2], [1, 2, 2]) == pytest.approx(0.5)
    assert metrics.rank_at_1([([1, 3], [True, False]), ([2, 2], [True, False])]) == pytest.approx(0.25)
    assert math.isnan(metrics.pairwise_accuracy([], []))
    assert math.isnan(metrics.rank_at_1([]))


def test_gtas_categories():
    f1 = metrics.gta_categories([(["OCR", "Calculator", "Calculator"], ["OCR", "Calculator"]), (["Plot"], ["Solver"])])
    assert f1["perception"] == 1.0
    assert f1["logic"] == pytest.approx(2 * 1 / 5)
    assert math.isnan(f1["creativity"])
    assert sum(map(len, metrics.GTA_TOOLS.values())) == 14


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=6), st.randoms())
def test_no_order_of_rollouts_changes_rank_at_1(rollouts, rng):
    mixed = list(rollouts)
    rng.shuffle(mixed)
    first, second = (metrics.rank_at_1([tuple(zip(*each, strict=True))]) for each in (rollouts, mixed))
    assert first == second
