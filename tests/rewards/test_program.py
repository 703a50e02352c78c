"""The machinery: terms, programs, combinations, and programs as data."""

import json
import math
import pickle
from dataclasses import dataclass, fields
from itertools import permutations
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rewards.views import searched
from tir_gym.core.view import EpisodeView, Progress
from tir_gym.rewards import (
    INVALID,
    Base,
    Clip,
    Gate,
    Lexicographic,
    Product,
    RewardComponent,
    RewardProgram,
    Staged,
    Term,
    WeightedSum,
)
from tir_gym.rewards.calls import FTRL
from tir_gym.rewards.catalogue import components, program_of
from tir_gym.rewards.checklist import Checklist, Item
from tir_gym.rewards.correctness import ExactMatch, TokenF1
from tir_gym.rewards.cost import CallCost, Overlong
from tir_gym.rewards.efficiency import OTC, SPEAR, TAPO
from tir_gym.rewards.format import SearchR1, TurnFormat
from tir_gym.rewards.schedules import Cosine

numbers = st.floats(-1e6, 1e6)


@dataclass(frozen=True)
class Fixed(RewardComponent):
    """A channel with a value of its own."""

    channels: ClassVar[tuple[str, ...]] = ("fixed",)

    value: float = 0.5

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        return {"fixed": self.value}


TERMS = (
    Term(Base(), 0.5),
    Term(TurnFormat(), 0.1),
    Term(TAPO(), 0.3),
    Term(SPEAR(), 0.7, only_if_correct=True),
    Term(CallCost(), 0.01, low=-1),
)


def test_the_order_of_terms_has_no_effect():
    view = searched("a", "b", "a", score=1.0, price=0.3)
    programs = [RewardProgram(order) for order in permutations(TERMS)]
    values = {json.dumps([program.evaluate(view), program.total(program.evaluate(view))]) for program in programs}
    assert len(set(programs)) == len(values) == 1
    assert programs[0].channels[0] == "base"


@settings(deadline=None)
@given(st.permutations(["a", "b", "c", "d"]), st.lists(numbers, min_size=4, max_size=4), st.randoms())
def test_a_sum_does_not_depend_on_the_order_of_channels(names, values, rng):
    channels = dict(zip("abcd", values, strict=True))
    weights = {name: rng.uniform(-2, 2) for name in "abcd"}
    for combine in (WeightedSum(), Product(), Product(of=("b", "a"))):
        shuffled = {name: channels[name] for name in names}
        assert combine.total(shuffled, weights) == combine.total(channels, weights)


def test_two_components_cannot_share_a_channel_and_total_is_taken():
    with pytest.raises(ValueError, match="channel names must differ"):
        RewardProgram((Fixed(1.0), Fixed(2.0)))
    with pytest.raises(ValueError, match=r"names \['format'\]"):
        RewardProgram((Base(),), Gate(by="format"))


def test_a_measure_of_the_answer_takes_the_place_of_the_verifiers_score_once():
    program = RewardProgram().with_term(Term(TurnFormat(), 0.1)).with_term(Term(ExactMatch()))
    assert program == RewardProgram((ExactMatch(), Term(TurnFormat(), 0.1)))
    view = searched(said="The 42!", score=0.0)
    assert program.evaluate(view) == {"base": 1.0, "format": 1.0}
    with pytest.raises(ValueError, match="channel names must differ"):
        program.with_term(Term(TokenF1()))
    with pytest.raises(ValueError, match="nest one"):
        program.with_combine(Gate()).with_combine(Product())


def test_a_term_is_gated_and_bounded():
    wrong, right = searched(score=0.0), searched(score=1.0)
    gated = Term(Fixed(), only_if_correct=True)
    assert gated.evaluate(wrong) == {"fixed": 0.0}
    assert gated.evaluate(right) == {"fixed": 0.5}
    assert Term(Fixed(9.0), high=2.0).evaluate(wrong) == {"fixed": 2.0}
    assert Term(Fixed(-9.0), low=-1.0).evaluate(wrong) == {"fixed": -1.0}
    assert math.isnan(Term(Fixed(INVALID), low=-1.0, high=1.0).evaluate(wrong)["fixed"])
    for options in ({"low": 1.0, "high": 0.0}, {"weight": math.nan}):
        with pytest.raises(ValueError, match=r"weight|low"):
            Term(Fixed(), **options)


def test_what_a_term_pays_without_the_answer_follows_its_bounds():
    assert Term(TurnFormat()).unearned() == 1.0
    assert Term(TurnFormat(), high=0.5).unearned() == 0.5
    assert Term(TurnFormat(), only_if_correct=True).unearned() == 0.0
    assert Term(FTRL(), schedule=Cosine(10)).unearned() == math.inf
    assert Term(FTRL(), schedule=Cosine(10)).unearned(Progress(10)) == 0.0


def test_an_invalid_channel_is_not_zero_unless_it_does_not_count():
    view = searched(score=1.0)
    broken = RewardProgram((Base(), Fixed(INVALID)))
    assert math.isnan(broken.total(broken.evaluate(view)))
    silent = RewardProgram((Base(), Term(Fixed(INVALID), 0.0)))
    assert silent.total(silent.evaluate(view)) == 1.0


def test_a_component_of_the_group_waits_for_its_group():
    values = RewardProgram((Base(), OTC())).evaluate(searched("a", score=1.0))
    assert values["base"] == 1.0
    assert math.isnan(values["otc"])


def test_channels_that_say_nothing_before_the_end_are_zero_until_then():
    items = (Item("looked", "?", "called", (("tool", "search"),)),)
    program = RewardProgram((Base(), TurnFormat(), Checklist(items)))
    view = searched("a", "b", score=1.0)
    assert program.by_turn(view) == [
        {"base": 0.0, "checklist": 1.0, "format": 0.0},
        {"base": 0.0, "checklist": 1.0, "format": 0.0},
        {"base": 1.0, "checklist": 1.0, "format": 1.0},
    ]
    assert program.per_step
    assert not RewardProgram((Base(), TurnFormat())).per_step


def test_combinations():
    channels, weights = {"base": 1.0, "form": 0.5}, {"base": 2.0, "form": 1.0}
    assert WeightedSum().total(channels, weights) == 2.5
    assert Product().total({**channels, "base": 3.0}, weights) == 1.5
    assert Product(of=("form",)).total(channels, weights) == 0.5
    assert Gate().total(channels, weights) == 2.5
    assert Gate(threshold=1.5, otherwise=-1.0).total(channels, weights) == -1.0
    assert Clip(0.0, 1.0).total(channels, weights) == 1.0
    assert Clip(0.0, 1.0, Gate(threshold=2, otherwise=-5)).total(channels, weights) == 0.0


def test_stages_count_as_far_as_those_before_are_full():
    staged = Staged((("parse", 0.1), ("form", 0.1), ("quality", 0.8)))
    full = {"parse": 1.0, "form": 1.0, "quality": 1.0}
    assert staged.total(full, {}) == pytest.approx(1.0)
    assert staged.total({**full, "parse": 0.0}, {}) == 0.0
    assert staged.total({**full, "form": 0.5}, {}) == pytest.approx(0.1 + 0.05 + 0.4)
    assert staged.total({**full, "form": 7.0, "quality": -1.0}, {}) == pytest.approx(0.2)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_lexicographic_order_puts_the_first_channel_first(a, b, c, d):
    combine = Lexicographic((("base", 0, 1), ("form", 0, 1)), levels=10)
    one = combine.total({"base": a, "form": b}, {})
    other = combine.total({"base": c, "form": d}, {})
    assert 0 <= one <= 1
    if math.floor(a * 10 + 1e-9) > math.floor(c * 10 + 1e-9):
        assert one > other


# --- programs as data ------------------------------------------------------------------------------------------------
def test_every_component_of_ours_says_what_it_computes():
    assert len(components()) > 40
    for name, kind in components().items():
        doc = kind.__doc__ or ""
        assert len(doc) > 40, name
        if kind.reads_tool_text:
            assert "reads" in doc, name
    assert [name for name, kind in components().items() if kind.reads_tool_text] == [
        "FTRL",
        "FTRLTurns",
        "SearchR1",
        "ToolStarByText",
    ]


def test_every_component_can_be_written_read_and_pickled():
    for name, kind in components().items():
        needed = [field for field in fields(kind) if field.name == "count"]
        if needed:
            continue
        program = RewardProgram((Term(kind(), 0.25, only_if_correct=True, low=-2.0),))
        assert program_of(json.loads(json.dumps(program.data()))) == program, name
        assert pickle.loads(pickle.dumps(program)) == program


def test_nested_parts_of_a_program_are_written_too():
    items = (Item("a", "?", "called", (("tool", "search"),), weight=2.0), Item("b", "?", "answered", needs=("a",)))
    program = RewardProgram((Base(), Checklist(items), SearchR1(rs=0.0)), Clip(-1.0, 1.0, Gate("base", 0.5)))
    assert program_of(json.loads(json.dumps(program.data()))) == program


def test_a_program_with_a_part_that_is_none_of_ours_is_not_written():
    assert RewardProgram((Base(), Fixed())).data() == {}
    assert RewardProgram((Base(), Overlong(len))).data() == {}


@pytest.mark.parametrize(
    "data",
    [
        {"terms": [{"$": "Popen", "args": "id"}], "combine": {"$": "WeightedSum"}},
        {"terms": [{"$": "Term", "component": {"$": "Base", "colour": 1}}], "combine": {"$": "WeightedSum"}},
        {"terms": 5, "combine": {"$": "WeightedSum"}},
        {"combine": {"$": "WeightedSum"}},
    ],
)
def test_data_that_is_no_program_is_refused(data):
    with pytest.raises(ValueError, match=r"knows no reward|does not fit|damaged"):
        program_of(data)


def test_tool_text_is_given_to_those_alone_who_say_that_they_read_it():
    view = searched("a", said="?")
    assert view.tool_text(FTRL()) == {0: "result"}
    with pytest.raises(PermissionError, match="TurnFormat reads tool text"):
        view.tool_text(TurnFormat())
