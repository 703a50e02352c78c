"""The ranges in docs/rewards.md hold, on episodes drawn at random with labels of every kind."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rewards.test_docs import ROWS
from tests.rewards.views import answer, search, view_of
from tir_gym.core.transcript import CallErrorType
from tir_gym.core.view import GroupView, Progress
from tir_gym.rewards.catalogue import components
from tir_gym.rewards.checklist import Checklist, Item, Rubric
from tir_gym.rewards.cost import Overlong, ToolOrchestra

DOCUMENTED = {row[0]: row[3] for row in ROWS}
NUMBERS = {"b": 0.5, "t": 0.5, "log": math.log}
ITEMS = (Item("a", "?", "answered", weight=2.0), Item("b", "?", "called", (("tool", "search"),)))
GIVEN = {"Checklist": Checklist(ITEMS), "Rubric": Rubric((*ITEMS, Item("c", "?", "no_repeated_call", weight=-1.0)))}
GIVEN |= {"Overlong": Overlong(len), "ToolOrchestra": ToolOrchestra()}


def call(query):
    return {"name": "search", "arguments": {"query": query}}


GOLD = {
    "calls": [call("a"), call("b")],
    "sub_answers": {"search": ["42", "7"]},
    "bfcl": [{"name": "search", "allowed": {"query": ["a"]}}],
    "functions": {"search": {"properties": {"query": {"type": "string"}}, "required": ["query"]}},
    "whitelist": [["42"]],
    "geo": {"city": ["42"], "state": ["41"], "country": ["yes"]},
    "boxes": [[0, 0, 4, 4]],
    "spans": [[0, 4]],
    "sources": ["d1"],
    "steps": ["tool", "parametric"],
    "sub_goals": [call("a")],
    "mended": [{"good": call("a"), "bad": call("b")}],
    "leaderboards": [[0.2, 0.7]],
}
TURNS = st.one_of(
    st.builds(search, st.sampled_from("abx"), st.sampled_from(["Let me look.", "", "d1 " * 30])),
    st.sampled_from(["", "<think>", "words", "<search>a", "<search>a</search><search>b</search>"]),
)
LAST = st.builds(
    answer,
    st.sampled_from(["42", "41", "yes", "[0, 0, 2, 2]", "[1, 2]", "42 7 a", "4" * 1001]),
    st.sampled_from(["d1", ""]),
    st.sampled_from(["", "0", "0.3", "1", "7"]),
)


@st.composite
def episodes(draw):
    turns = draw(st.lists(TURNS, max_size=5)) + draw(st.lists(LAST, max_size=1))
    errors = draw(st.dictionaries(st.integers(0, 5), st.sampled_from(list(CallErrorType)[1:]), max_size=3))
    return view_of(
        turns,
        syntax=draw(st.sampled_from(["search_r1", "tool_star"])),
        score=draw(st.sampled_from([0.0, 0.5, 1.0])),
        data=draw(st.sampled_from([GOLD, GOLD, {}])),
        errors=errors,
        said={0: draw(st.sampled_from(["42", "7", "nothing"]))},
        price=draw(st.sampled_from([0.0, 0.5])),
        group=GroupView(
            "g",
            4,
            2,
            draw(st.integers(0, 4)),
            draw(st.integers(-1, 3)),
            ranges={"price": (0.0, 9.0), "seconds": (0.0, 9.0), "correct": (0.0, 1.0)},
            root_prices=(0.0, 2.0),
        ),
        progress=Progress(draw(st.sampled_from([0, 50, 500])), 100),
    )


def bound(text, view):
    """A bound of a documented range as a number; of those that depend on turns, for this episode."""
    names = {**NUMBERS, "turns": max(view.turns, 1)}
    return float(eval(text.replace("log .01", "log(.01)"), {"__builtins__": {}}, names))


def within(value, documented, view):
    text = documented.removesuffix(" each")
    if text.startswith("<="):
        return value <= bound(text[2:], view) + 1e-9
    if text.startswith("{"):
        return any(math.isclose(value, bound(one, view)) for one in text.strip("{}").split(","))
    low, high = (bound(one, view) for one in text.strip("[]()").split(","))
    return low - 1e-9 <= value <= high + 1e-9


def test_every_range_is_written_down():
    assert set(DOCUMENTED) == set(components())
    assert all(DOCUMENTED.values())


def test_rewards_are_in_their_ranges_or_invalid():
    rewards = {name: GIVEN.get(name) or kind() for name, kind in components().items()}
    valid = set()

    @settings(deadline=None, max_examples=120)
    @given(episodes())
    def hold(view):
        for name, component in rewards.items():
            for channel, value in component.evaluate(view).items():
                if not math.isnan(value):
                    valid.add(name)
                    assert within(value, DOCUMENTED[name], view), (name, channel, value)

    hold()
    assert valid == set(rewards)
