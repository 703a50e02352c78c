"""What the components that compare calls with golds credit."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rewards.views import answer, one, search, searched, view_of
from tir_gym.core.action import ToolCall
from tir_gym.rewards import calls

WANTED = {"calls": [{"name": "search", "arguments": {"query": "a"}}, {"name": "search", "arguments": {"query": "b"}}]}


def test_calls_are_compared_with_golds():
    right, half, none = searched("a", "b", data=WANTED), searched("a", data=WANTED), searched(data=WANTED)
    assert one(calls.ToolRLCorrectness(), right) == 3.0
    assert -3.0 < one(calls.ToolRLCorrectness(), half) < 3.0
    assert one(calls.ToolRLCorrectness(), none) == -3.0
    assert one(calls.MatchTIR(), right) == pytest.approx(3.0)
    assert one(calls.MatchTIR(), none) == 1.0
    assert one(calls.MatchTIR(matching="transport"), right) == pytest.approx(2.0, abs=0.02)
    assert one(calls.TLTraining(), right) == 1.0
    assert one(calls.TLTraining(), searched("x", data=WANTED)) == -0.25
    assert (one(calls.Tau2Actions(), right), one(calls.Tau2Actions(), half)) == (1.0, 0.0)
    assert set(calls.PlanF1().evaluate(right).values()) == {1.0}
    for component in (
        calls.ToolRLCorrectness(),
        calls.MatchTIR(),
        calls.TLTraining(),
        calls.Tau2Actions(),
        calls.BFCL(),
    ):
        assert math.isnan(one(component, searched("a")))


def test_no_gold_call_is_toolrls_quirk():
    assert one(calls.ToolRLCorrectness(), searched("a", data={"calls": []})) == 0.0
    strict = calls.ToolRLCorrectness(no_call_expected=True)
    assert one(strict, searched("a", data={"calls": []})) == -3.0
    assert one(strict, searched(data={"calls": []})) == 3.0


def test_turns_of_gold_are_matched_turn_by_turn():
    data = {"call_turns": [[call] for call in WANTED["calls"]]}
    assert calls.MatchTIR().turn_rewards(searched("a", "b", data=data)) == [1.0, 1.0, 1.0]
    assert calls.MatchTIR().turn_rewards(searched("b", "a", data=data))[:2] == [pytest.approx(2 / 3)] * 2
    assert calls.MatchTIR(penalty=-0.5).turn_rewards(searched("a", "b", "c", data=data))[2] == -0.5


def test_ftrl_solves_each_hidden_answer_once():
    data = {"sub_answers": {"search": ["1,000", "7"]}}
    view = searched("a", "b", "c", data=data, said="42")
    told = view_of(
        [search("a"), search("b"), search("c"), answer("42")],
        syntax="search_r1",
        data=data,
        said={0: "1000 people", 1: "1000 people", 2: "7"},
    )
    assert one(calls.FTRL(), view) == 0.0
    assert one(calls.FTRL(), told) == pytest.approx(2 * 2 / (3 + 2))


def test_bfcl_names_the_first_fault():
    schema = {"f": {"properties": {"x": {"type": "float"}, "s": {"type": "string"}}, "required": ["x"]}}
    gold = [("f", {"x": [1.5, 2], "s": ["New York", ""]})]
    cases = [
        ([ToolCall("f", {"x": 2})], ""),
        ([ToolCall("f", {"x": 1.5, "s": "new-york"})], ""),
        ([], "simple_function_checker:wrong_count"),
        ([ToolCall("g", {"x": 2})], "simple_function_checker:wrong_func_name"),
        ([ToolCall("f", {"s": "New York"})], "simple_function_checker:missing_required"),
        ([ToolCall("f", {"x": 2, "y": 1})], "simple_function_checker:unexpected_param"),
        ([ToolCall("f", {"x": "2"})], "type_error:simple"),
        ([ToolCall("f", {"x": True})], "type_error:simple"),
        ([ToolCall("f", {"x": 3})], "value_error:others"),
        ([ToolCall("f", {"x": 2, "s": "Rome"})], "value_error:string"),
    ]
    for made, fault in cases:
        assert calls.tool_calls.bfcl_check(made, gold, schema) == fault
    two = [("f", {"x": [1]}), ("f", {"x": [2]})]
    assert calls.tool_calls.bfcl_check([ToolCall("f", {"x": 2}), ToolCall("f", {"x": 1})], two, schema) == ""
    assert calls.tool_calls.bfcl_check([ToolCall("f", {"x": 2})] * 2, two, schema).endswith("cannot_find_match")


matrices = st.integers(1, 5).flatmap(
    lambda rows: st.integers(1, 5).flatmap(
        lambda columns: st.lists(
            st.lists(st.integers(0, 8), min_size=columns, max_size=columns), min_size=rows, max_size=rows
        )
    )
)


@settings(deadline=None)
@given(matrices)
def test_the_assignment_is_one_to_one_and_the_best_there_is(rows):
    from itertools import permutations

    similarity = np.array(rows, float) / 8
    match = calls.tool_calls.best_assignment(similarity)
    taken = [column for column in match if column >= 0]
    assert len(taken) == len(set(taken)) == min(similarity.shape)
    small = similarity if similarity.shape[0] <= similarity.shape[1] else similarity.T
    best = max(
        sum(small[i, column] for i, column in enumerate(choice))
        for choice in permutations(range(small.shape[1]), small.shape[0])
    )
    reached = sum(similarity[i, column] for i, column in enumerate(match) if column >= 0)
    assert reached == pytest.approx(best)
    greedy = calls.tool_calls.greedy_assignment(similarity)
    assert sum(similarity[i, column] for i, column in enumerate(greedy) if column >= 0) <= reached + 1e-9


@settings(deadline=None)
@given(matrices)
def test_transport_moves_all_the_mass(rows):
    plan = calls.tool_calls.transport(np.array(rows, float) / 8)
    assert plan.sum() == pytest.approx(1.0)
    assert plan.sum(0) == pytest.approx(np.full(plan.shape[1], 1 / plan.shape[1]), abs=1e-6)
