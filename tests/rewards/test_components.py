"""What the components credit, on episodes made by hand; and what no policy can earn by printing it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rewards.views import answer, one, search, searched, view_of
from tir_gym.core.action import Action, ToolCall
from tir_gym.core.transcript import CallErrorType
from tir_gym.core.view import GroupView, Progress
from tir_gym.rewards import calibration, checklist, correctness, cost, efficiency, process
from tir_gym.rewards import format as form
from tir_gym.rewards.catalogue import components

KNOWN = GroupView("g", rollouts=4, correct=2, with_calls=1, least_calls=1)


# --- format ----------------------------------------------------------------------------------------------------------
def test_the_form_of_search_r1_is_a_sequence_of_turns():
    good = searched("a", "b", score=1.0)
    assert form.search_sequence(good)
    assert one(form.SearchR1(), good) == 1.0
    assert not form.search_sequence(view_of([answer("42", thought="")], syntax="search_r1"))
    assert not form.search_sequence(view_of([search("a")], syntax="search_r1"))
    mended = view_of(["so what <answer>42</answer>"], syntax="search_r1")
    assert one(form.SearchR1(), mended) == 0.8
    found = searched("a", said="43", gold="42")
    assert one(form.SearchR1(), found) == 0.2
    told = view_of([search("a"), answer("43")], syntax="search_r1", said={0: "it is 42"})
    assert one(form.SearchR1(), told) == pytest.approx(0.3)
    assert one(form.SearchR1(rs=0.0), told) == 0.2


def test_gates_are_minus_one_for_bad_form():
    good, bad = searched("a"), view_of(["hm <answer>42</answer>"], syntax="search_r1")
    for gate in (form.RouterR1Format(), form.IKEAFormat(), form.ToolStarFormat(boxed=False)):
        assert (one(gate, good), one(gate, bad)) == (0.0, -1.0)
    assert one(form.ToolStarFormat(), good) == -1.0
    boxed = view_of(["<think>t</think><answer>\\boxed{42}</answer>"], syntax="tool_star")
    assert one(form.ToolStarFormat(), boxed) == 0.0
    assert (one(form.SkyRLSQLFormat(), good), one(form.DeepEyesFormat(), good)) == (0.0, 0.0)
    assert one(form.DeepEyesFormat(), searched("a", said="4" * 1000)) == -0.2
    endless = view_of([search("a")], syntax="search_r1")
    assert one(form.SkyRLSQLFormat(), endless) == -1.0
    for empty in ("", " ", "..."):
        assert one(form.RouterR1Format(), view_of([answer("42", thought=empty)], syntax="search_r1")) == -1.0


def test_routes_name_a_model_and_one_question():
    gate = form.RouterR1Format(models=("small", "large"))
    for query, value in (
        ("small:Who?", 0.0),
        ("tiny:Who?", -1.0),
        ("small:Who: he?", -1.0),
        ("small:", -1.0),
        ("q", -1),
    ):
        assert one(gate, searched(query)) == value


def test_toolrl_wants_the_parts_that_gold_has():
    wanted = {"calls": [{"name": "search", "arguments": {"query": "a"}}]}
    assert one(form.ToolRLFormat(), searched("a", data=wanted)) == 1.0
    assert one(form.ToolRLFormat(), searched("a")) == 0.0
    assert one(form.ToolRLFormat(), searched()) == 1.0
    for step, schedule, value in (
        (0, "linear", 2.0),
        (75, "linear", 1.5),
        (999, "linear", 1.0),
        (30, "max1_step30_max3", 0.5),
    ):
        view = searched("a", data=wanted, progress=Progress(step))
        assert one(form.ToolRLFormat(schedule=schedule), view) == value


def test_graded_format_rises_with_form():
    good = one(form.RexRag(), searched("a", "b"))
    loose = one(
        form.RexRag(), view_of(["<answer>42</answer> and more words that nobody asked for"], syntax="search_r1")
    )
    assert good == form.rex_rag((1.0, 1.0, 1.0, 1.0)) <= 1.22
    assert 0 <= loose < good
    assert one(form.RexRag(), view_of([])) == 0.0
    stages = form.ProgressiveFormat()
    assert one(stages, searched("a", score=1.0)) == pytest.approx(1.0)
    assert one(stages, searched("a", score=0.0)) == pytest.approx(0.2)
    assert one(stages, view_of(["nothing at all"], score=1.0)) == 0.0


# --- correctness -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("component", "said", "gold", "value"),
    [
        (correctness.ExactMatch(), "The Eiffel tower.", ("eiffel tower", "x"), 1.0),
        (correctness.ExactMatch(), "Eiffel", "eiffel tower", 0.0),
        (correctness.SubstringMatch(), "It is the Eiffel Tower!", "eiffel tower", 1.0),
        (correctness.SubstringMatch(), "anything", "the", 0.0),
        (correctness.TokenF1(), "eiffel tower paris", "eiffel tower", 0.8),
        (correctness.TokenF1(), "yes it is", "yes", 0.0),
        (correctness.TokenF1(), "yes", "yes", 1.0),
        (correctness.SetF1(), "paris paris", "paris", 1.0),
        (correctness.LengthAwareBleu(), "paris", "paris", 1.0),
        (correctness.Signed(boxed_wrong=-0.5), "41", "42", -0.5),
    ],
)
def test_measures_of_the_answer(component, said, gold, value):
    assert component.evaluate(searched(said=said, gold=gold))["base"] == pytest.approx(value)


def test_no_answer_is_wrong_and_missing_gold_is_invalid():
    silent = view_of([search("a")], syntax="search_r1")
    assert one(correctness.ExactMatch(), silent) == 0.0
    for component in (
        correctness.WhiteBlackList(),
        correctness.GeoLevels(),
        correctness.BoxIoU(),
        correctness.SpanIoU(),
    ):
        assert math.isnan(one(component, searched()))


def test_lists_places_and_boxes():
    lists = {"whitelist": [["nine", "9"], ["cats"]], "blacklist": [["dogs"]]}
    for said, value in (("9 cats", 1.0), ("99 cats", 0.0), ("nine CATS", 1.0), ("9 cats and dogs", 0.0)):
        assert one(correctness.WhiteBlackList(), searched(said=said, data=lists)) == value
    place = {"geo": {"city": ["Zürich"], "state": ["Canton of Zurich"], "country": ["Switzerland"]}}
    for said, value in (("in zurich", 1.0), ("Canton of Zürich", 1.0), ("Switzerland!", 0.25), ("Zurichberg", 0.0)):
        assert one(correctness.GeoLevels(), searched(said=said, data=place)) == value
    box = {"boxes": [[0, 0, 10, 10]]}
    cases = (
        ("[0, 0, 10, 10]", 1.0),
        ("[5, 0, 15, 10]", 1 / 3),
        ("[0,0,1e999,1]", 0.0),
        ("[true,0,1,1]", 0.0),
        ("x", 0.0),
    )
    for said, value in cases:
        assert one(correctness.BoxIoU(), searched(said=said, data=box)) == pytest.approx(value)
    assert one(correctness.BoxIoU(least_area=0.5), searched(said="[0,0,1,1]", data=box)) == 0.0
    assert one(correctness.SpanIoU(), searched(said="[1, 3]", data={"spans": [[2, 4]]})) == pytest.approx(1 / 3)


def test_retool_softens_the_blame_for_trying():
    wrong = [one(correctness.ReTool(), searched(*"abcdefgh"[:n], score=0.0)) for n in range(8)]
    assert wrong == sorted(wrong)
    assert (wrong[0], max(wrong)) == (-1.0, -0.6)
    assert one(correctness.ReTool(), searched(score=1.0)) == 1.0


# --- efficiency and cost ---------------------------------------------------------------------------------------------
EFFICIENCY = (
    efficiency.OTC(),
    efficiency.OTCPPO(),
    efficiency.LightSearcher(measure="score"),
    efficiency.HDPOTools(),
    efficiency.TAPO(),
    efficiency.TGRL(),
    cost.CallCost(),
)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=6), st.data())
def test_one_more_redundant_call_never_raises_an_efficiency_reward(queries, data):
    if not queries:
        queries = ["a"]
    again = data.draw(st.sampled_from(queries))
    place = data.draw(st.integers(0, len(queries)))
    more = [*queries[:place], again, *queries[place:]]
    for component in EFFICIENCY:
        least = GroupView("g", 2, 1, 2, least_calls=1)
        before = one(component, searched(*queries, score=1.0, group=least, price=0.1))
        after = one(component, searched(*more, score=1.0, group=least, price=0.1))
        assert after <= before + 1e-12, component


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_otc_is_in_range_and_best_at_the_least(m, n):
    assert 0 <= efficiency.otc_grpo(m, n) <= 1
    assert efficiency.otc_grpo(n, n) == pytest.approx(1.0)


def test_wrong_answers_earn_no_efficiency():
    for component in (efficiency.OTC(), efficiency.OTCPPO(), efficiency.TGRL(), cost.ToolOrchestra()):
        assert one(component, searched("a", score=0.0, group=KNOWN)) == 0.0
    assert math.isnan(one(efficiency.HDPOTools(), searched(score=0.0)))
    assert one(process.THOR(), searched(score=0.0)) == 0.0


def test_rewards_with_the_answer_in_them():
    view = searched("a", "a", score=1.0, group=KNOWN)
    assert one(efficiency.IKEA(), view) == 1.2
    assert one(efficiency.IKEA(tool="other"), view) == 1.6
    assert one(efficiency.IKEA(), searched("a", said="no")) == 0.05
    assert one(efficiency.LightSearcher(), view) == pytest.approx(0.5 + 0.5 * math.exp(-0.75))
    assert one(efficiency.DeepEyes(), view) == 2.0
    assert one(efficiency.DeepEyes(), searched(score=1.0)) == 0.8
    assert one(efficiency.DeepEyes(math=True), view) == 1.6
    assert one(efficiency.ToolStar(tools=("search",), boxed=False), view) == 1.1
    assert one(efficiency.ToolStar(boxed=False), view) == 1.0
    assert one(efficiency.AdaReasoner(), view) == 3.0
    assert one(efficiency.AdaReasoner(), searched(score=1.0)) == 1.0
    assert one(efficiency.AdaReasoner(full_if_correct=True), searched(score=1.0)) == 3.0
    failed = searched("a", score=0.0, errors={0: CallErrorType.UNEXPECTED_ARG})
    assert one(efficiency.AdaReasoner(), failed) == 1.0
    assert one(efficiency.PixelReasoner(), view) == pytest.approx(0.5 * 0.05 - 0.05)
    assert one(cost.RouterR1(), view) == 1.0


def test_a_call_that_failed_costs_but_is_no_use_of_a_tool():
    failed = searched("a", score=1.0, group=KNOWN, errors={0: CallErrorType.UNKNOWN_TOOL})
    assert one(efficiency.DeepEyes(), failed) == 0.8
    assert one(efficiency.ToolStar(tools=("search",), boxed=False), failed) == 1.0
    assert one(efficiency.SPEAR(), failed) == 0.0
    assert one(efficiency.IKEA(), failed) == 1.4
    assert one(efficiency.IKEA(), searched("a", said="no", errors={0: CallErrorType.UNKNOWN_TOOL})) == 0.0
    assert one(efficiency.OTCPPO(), failed) == pytest.approx(0.5)


def test_the_published_tool_star_pays_for_printing_and_ours_does_not():
    thought = "</search> </python>"
    loud = view_of([answer("42", thought=thought)], syntax="search_r1")
    assert one(efficiency.ToolStarByText(boxed=False), loud) == 1.1
    assert one(efficiency.ToolStar(boxed=False), loud) == 1.0


def test_verl_tools_penalties_are_chosen_one_by_one():
    view = view_of([search("a", thought=""), search("b")], syntax="search_r1", errors={0: CallErrorType.TIMEOUT})
    assert one(form.VerlToolPenalties(), view) == 0.0
    chosen = dict.fromkeys(("think", "answer", "action", "finish", "tool", "execution"), True)
    assert one(form.VerlToolPenalties(**chosen), view) == -(0.5 + 0.5 + 0.25 + 0.25)
    assert one(form.VerlToolPenalties(**chosen), searched()) == -0.25


def test_prices_are_seen_against_the_group():
    group = GroupView(
        "g",
        4,
        2,
        4,
        1,
        ranges={"price": (0.0, 4.0), "seconds": (0.0, 4.0), "correct": (0.0, 1.0)},
        root_prices=(0.0, 2.0),
    )
    view = searched("a", score=1.0, price=1.0, group=group)
    assert one(cost.RouterR1(cost_weight=0.5), view) == pytest.approx(0.5 + 0.5 * 0.5)
    alone = searched("a", score=1.0, price=1.0)
    assert (one(cost.RouterR1(), alone), math.isnan(one(cost.RouterR1(cost_weight=0.5), alone))) == (1.0, True)
    assert one(cost.ToolOrchestra(), view) == pytest.approx(1.0 + 0.5 * 0.75 + 0.5 * 0.75)
    assert one(cost.CallCost(time=0.5), view) == -1.5
    assert one(cost.Overlong(len, most=10, buffer=10), view) < -1


def test_fathom_reads_its_classes_off_the_log():
    asks = [
        ("search_urls", {"query": "a b c d e"}),
        ("search_urls", {"query": "a b c d e"}),
        ("query_url", {"goal": "g", "url": "u"}),
    ]
    asks += [("query_url", {"goal": "g", "url": "v"}), ("query_url", {"goal": "g", "url": "u"})]
    turns = [Action(thought="t", calls=(ToolCall(name, arguments),), raw="x") for name, arguments in asks]
    view = view_of([*turns, answer("42")], score=1.0)
    expected = efficiency.fathom(
        format_ok=True, correct=True, unique=1, repeated=1, explored=1, verified=1, requeried=1
    )
    assert one(efficiency.Fathom(), view) == pytest.approx(expected) == pytest.approx(0.7)


def test_control_is_no_use_of_a_tool():
    turns = [Action(thought="t", calls=(ToolCall("submit", {}),), raw="x")]
    view = view_of(turns, score=1.0, kinds={"submit": "control"}, group=GroupView("g", 1, 1, 0, 0))
    assert one(efficiency.OTC(), view) == 1.0
    assert one(efficiency.SPEAR(), view) == 0.0


# --- calibration -----------------------------------------------------------------------------------------------------
@settings(deadline=None)
@given(st.floats(0.02, 0.98))
def test_proper_scores_are_best_at_the_true_probability(p):
    grid = np.linspace(0.0, 1.0, 401)
    for component in (
        calibration.Brier(),
        calibration.Margin(b=0.3),
        calibration.Margin(b=1.0),
        calibration.LogScore(),
    ):
        expected = [p * component.score(True, c) + (1 - p) * component.score(False, c) for c in grid]
        assert grid[int(np.argmax(expected))] == pytest.approx(p, abs=0.0026)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 0.99))
def test_with_a_margin_right_is_always_above_wrong(c, d, b):
    assert calibration.Margin(b).score(True, c) >= calibration.Margin(b).score(False, d) + (1 - b) - 1e-12


def test_saying_nothing_of_ones_confidence_never_pays():
    for component in (calibration.Brier(), calibration.Margin(), calibration.LogScore()):
        for score in (0.0, 1.0):
            silent = one(component, view_of([answer("42")], syntax="search_r1", score=score))
            for stated in ("0", "0.5", "1"):
                view = view_of([answer("42", confidence=stated)], syntax="search_r1", score=score)
                assert view.evidence.answer.confidence == float(stated)
                assert silent <= one(component, view)


@pytest.mark.parametrize("stated", ["nan", "inf", "-inf", "1e400", "-1", "101%", "999", "high", "0.5 0.6", ""])
def test_a_confidence_that_is_none_earns_what_silence_earns(stated):
    view = view_of([answer("42", confidence=stated)], syntax="search_r1", score=1.0)
    assert one(calibration.Margin(), view) == one(
        calibration.Margin(), view_of([answer("42")], syntax="search_r1", score=1)
    )


def test_abstaining_is_better_than_being_wrong():
    component = calibration.Abstention(threshold=0.75)
    assert [
        one(component, searched(said=said, score=score)) for said, score in (("42", 1), ("I don't know.", 0), ("41", 0))
    ] == [
        1.0,
        0.0,
        -3.0,
    ]


# --- checklists ------------------------------------------------------------------------------------------------------
def test_a_checklist_is_latched_and_waits_for_what_an_item_needs():
    first = checklist.Item("a", "?", "called", (("tool", "search"),))
    second = checklist.Item("b", "?", "called", (("times", 2), ("tool", "search")), needs=("a",), weight=3.0)
    together = checklist.Item("c", "?", "called", (("tool", "search"),), needs=("a",))
    view = searched("x", "y")
    assert one(checklist.Checklist((first, second)), view) == 1.0
    assert one(checklist.Checklist((first, together)), view) == 0.5
    assert one(checklist.Checklist((first, together), mode="repo"), view) == 1.0
    must = checklist.Item("m", "?", "solved", must_pass=True)
    assert one(checklist.Checklist((first, must)), view) == 0.0
    assert math.isnan(one(checklist.Checklist(), view))
    assert math.isnan(one(checklist.Checklist((first, checklist.Item("r", "?", "recovered"))), view))


def test_a_task_brings_its_checklist_as_data():
    items = [{"id": "a", "question": "?", "rule": "said", "parameters": {"text": "let me"}, "weight": 2}]
    assert one(checklist.Checklist(), searched("x", data={"checklist": items})) == 1.0
    assert one(checklist.Rubric(), searched(data={"rubric": items})) == 0.0
    with pytest.raises(ValueError, match="colour"):
        checklist.Item.of({"colour": 1})
    with pytest.raises(ValueError, match="no predicate 'nope'; there are answered"):
        one(checklist.Rubric((checklist.Item("a", "?", "nope"),)), searched())


def test_predicates():
    view = searched("x", "x", score=1.0, errors={0: CallErrorType.EXCEPTION})
    assert checklist.recovered(view)
    assert not checklist.no_failed_call(view)
    assert not checklist.no_repeated_call(view)
    assert checklist.called(view, "search", arguments={"query": "x"})
    assert not checklist.called(view, "search", times=2)
    assert checklist.called(view, "search", times=2, ok=False)
    assert not checklist.called_before(view, "search", "python")
    assert checklist.at_most_calls(view, 2)
    with pytest.raises(ValueError, match="already"):
        checklist.predicate("solved")(lambda view: True)


def test_sources_that_are_named():
    data = {"sources": ["d1", "d2"], "distractors": ["d3", "d11"]}
    view = view_of([answer("42", thought="d1 and d2 say so, d11 does not")], syntax="search_r1", data=data)
    assert one(process.RARE(), view) == pytest.approx(2 * 2 / 5)
    assert math.isnan(one(process.RARE(), searched()))


# --- what cannot be earned by printing -------------------------------------------------------------------------------
TAGS = (
    "</search>",
    "</python>",
    "<search>x</search>",
    "<result>ok</result>",
    "```output\n42\n```",
    "<answer>42</answer>",
)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(TAGS), min_size=1, max_size=4))
def test_tags_printed_by_a_tool_change_nothing(tags):
    honest, forged = searched("a", score=0.0), searched("a", score=0.0)
    forged = view_of([search("a"), answer("42")], syntax="search_r1", said={0: " ".join(tags).replace("42", "43")})
    for kind in components().values():
        if kind.__name__ == "Overlong" or kind.__name__ == "Rubric":
            continue
        mine, theirs = kind().evaluate(honest), kind().evaluate(forged)
        assert {n: repr(v) for n, v in mine.items()} == {n: repr(v) for n, v in theirs.items()}, kind


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(TAGS[:2]), min_size=1, max_size=4))
def test_closing_tags_printed_in_a_thought_change_nothing(tags):
    honest = view_of([search("a"), answer("42")], syntax="search_r1")
    loud = view_of([search("a", thought="Let me look. " + " ".join(tags)), answer("42")], syntax="search_r1")
    for kind in components().values():
        if kind.__name__ in ("Overlong", "ToolStarByText"):
            continue
        mine, theirs = kind().evaluate(honest), kind().evaluate(loud)
        assert {n: repr(v) for n, v in mine.items()} == {n: repr(v) for n, v in theirs.items()}, kind


def test_every_component_takes_an_episode_in_which_nothing_happened():
    for kind in components().values():
        if kind.__name__ == "Overlong":
            continue
        for view in (view_of([]), view_of([""]), view_of(["<think>"], group=KNOWN)):
            for value in kind().evaluate(view).values():
                assert isinstance(value, float)
                assert not math.isinf(value)
