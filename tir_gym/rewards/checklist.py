"""Checklists and rubrics: items as data, each judged by a registered predicate over the call log and policy text.

An item that cannot be judged makes the channel invalid, not false.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

from tir_gym.core.view import EpisodeView
from tir_gym.rewards.program import INVALID, RewardComponent
from tir_gym.rewards.reading import answered, duplicates, well_formed

Predicate = Callable[..., "bool | None"]
"""(view, **parameters) -> whether it holds for the episode so far; None where that cannot be said. Pure."""

_PREDICATES: dict[str, Predicate] = {}


def predicate(name: str) -> Callable[[Predicate], Predicate]:
    """Register a predicate under a name, by which items refer to it. Raises `ValueError` for a name that is taken."""

    def register(function: Predicate) -> Predicate:
        if _PREDICATES.get(name, function) is not function:
            raise ValueError(f"there is a predicate {name!r} already")
        _PREDICATES[name] = function
        return function

    return register


def predicates() -> list[str]:
    """Names of all predicates, sorted."""
    return sorted(_PREDICATES)


@predicate("called")
def called(
    view: EpisodeView, tool: str, times: int = 1, ok: bool = True, arguments: Mapping[str, Any] | None = None
) -> bool:
    """At least `times` calls of a tool (that succeeded), with these values among their arguments."""
    found = 0
    for call in view.tool_calls:
        if call.tool == tool and not (ok and call.error) and _has(call.arguments, arguments):
            found += 1
            if found >= times:
                return True
    return times < 1


def _has(given: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    return not wanted or all(name in given and given[name] == value for name, value in wanted.items())


@predicate("called_before")
def called_before(view: EpisodeView, first: str, second: str) -> bool:
    """Both tools were called, and the first call of `first` came before the first of `second`."""
    order = [call.tool for call in view.tool_calls if not call.error]
    return first in order and second in order and order.index(first) < order.index(second)


@predicate("at_most_calls")
def at_most_calls(view: EpisodeView, calls: int) -> bool:
    """The episode is over and had at most so many calls."""
    return view.ended and len(view.tool_calls) <= calls


@predicate("no_failed_call")
def no_failed_call(view: EpisodeView) -> bool:
    """The episode is over, and no call failed."""
    return view.ended and not any(call.error for call in view.tool_calls)


@predicate("no_repeated_call")
def no_repeated_call(view: EpisodeView) -> bool:
    """The episode is over, and no call was made twice."""
    return view.ended and not duplicates(view)


@predicate("well_formed")
def every_turn_well_formed(view: EpisodeView) -> bool:
    """The episode is over, and every turn was well formed."""
    return view.ended and all(map(well_formed, view.actions))


@predicate("answered")
def gave_an_answer(view: EpisodeView) -> bool:
    """The policy gave an answer."""
    return answered(view)


@predicate("solved")
def is_solved(view: EpisodeView) -> bool:
    """The verifier's score is 1."""
    return view.solved


@predicate("said")
def said(view: EpisodeView, text: str) -> bool:
    """The policy wrote this literally (in any letter case, thoughts included) before a turn's first terminal action."""
    return any(text.casefold() in turn.casefold() for turn in view.evidence.policy_text)


@predicate("recovered")
def recovered(view: EpisodeView) -> bool | None:
    """After the last failed call a call of the same tool succeeded; None where no call failed."""
    failed = [i for i, call in enumerate(view.tool_calls) if call.error]
    if not failed:
        return None
    last = view.tool_calls[failed[-1]]
    return any(call.tool == last.tool and not call.error for call in view.tool_calls[failed[-1] + 1 :])


@dataclass(frozen=True)
class Item:
    """One thing to check. `rule` is a predicate's name, `parameters` are pairs (name, value) for it; "" for a judge.

    `needs` are ids of items that must hold before; `weight` is the item's share; a `must_pass` item that fails makes
    the whole checklist 0. The other fields are for people and model judges, as CM2 has them.
    """

    id: str
    question: str
    rule: str = ""
    parameters: tuple[tuple[str, Any], ...] = ()
    needs: tuple[str, ...] = ()
    weight: float = 1.0
    must_pass: bool = False
    evidence: str = ""
    focus: str = ""
    pass_condition: str = ""

    def holds(self, view: EpisodeView) -> bool | None:
        """Whether the item holds for the episode so far; None where that cannot be said.

        What a judge must say holds at the end at the earliest, and cannot be said before it has. Raises `ValueError`
        for a rule that is not registered.
        """
        return self.test()(view)

    def test(self) -> Callable[[EpisodeView], bool | None]:
        """`holds` as a function, for many views. Raises `ValueError` for a rule that is not registered."""
        if not self.rule:
            return lambda view: view.judgements.get(self.id) if view.ended else False
        return partial(self.predicate, **dict(self.parameters)) if self.parameters else self.predicate

    @property
    def predicate(self) -> Predicate:
        """The rule's. Raises `ValueError` for one that is not registered."""
        if self.rule not in _PREDICATES:
            raise ValueError(f"item {self.id!r}: no predicate {self.rule!r}; there are {', '.join(predicates())}")
        return _PREDICATES[self.rule]

    @classmethod
    def of(cls, data: "Item | Mapping[str, Any]") -> "Item":
        """An item from JSON data. Raises `ValueError` that names what does not fit."""
        if isinstance(data, Item):
            return data
        known = dict(data)
        parameters = known.pop("parameters", {})
        known["needs"] = tuple(known.get("needs", ()))
        try:
            return cls(**known, parameters=tuple(sorted(dict(parameters).items())))
        except (TypeError, ValueError) as error:
            raise ValueError(f"checklist item {data!r}: {error}") from None


def check_items(items: Sequence[Item]) -> None:
    """Hold items against the registered predicates (register your own first) and against each other.

    Raises `ValueError` that names the item: for an unknown rule, for parameters that the rule does not take, for a need
    that is not in the list, for an id that occurs twice.
    """
    known = [item.id for item in items]
    for item in items:
        if known.count(item.id) > 1:
            raise ValueError(f"two items are called {item.id!r}")
        if missing := set(item.needs) - set(known):
            raise ValueError(f"item {item.id!r} needs {sorted(missing)}, which are not in its checklist")
        if item.rule:
            try:
                inspect.signature(item.predicate).bind(None, **dict(item.parameters))
            except TypeError as error:
                raise ValueError(f"item {item.id!r}: rule {item.rule!r}: {error}") from None


def items_of(view: EpisodeView) -> tuple[Item, ...]:
    """The checklist of the task (`gold.data["checklist"]`), or that of its domain."""
    return tuple(map(Item.of, view.gold.data.get("checklist") or view.checklist))


def cm2_awards(
    states: Sequence[Mapping[str, bool]],
    needs: Mapping[str, Sequence[str]],
    *,
    mode: Literal["paper", "repo"] = "paper",
) -> list[tuple[int, str]]:
    """(step, item) for each item's first step at which it earns, in order.

    `states` holds whether each item is satisfied, before the first step (0) and after each. In "paper" mode an item
    earns when it flips to satisfied at a step before which all that it needs was satisfied; after that it is latched.
    In "repo" mode needs are not looked at. Source: CM2, text and code.
    """
    awards: list[tuple[int, str]] = []
    earned: set[str] = set()
    for step in range(1, len(states)):
        before, now = states[step - 1], states[step]
        for name, satisfied in now.items():
            if not satisfied or name in earned or before.get(name, False):
                continue
            if mode == "repo" or all(before.get(other, False) for other in needs.get(name, ())):
                earned.add(name)
                awards.append((step, name))
    return awards


def cm2_turn(
    states: Sequence[Mapping[str, bool]],
    needs: Mapping[str, Sequence[str]],
    weights: Mapping[str, float],
    *,
    mode: Literal["paper", "repo"] = "paper",
) -> tuple[float, list[tuple[int, str]]]:
    """The turn's reward, the sum of the weights of its awards (in [0, 1] for weights that sum to 1), and the awards."""
    awards = cm2_awards(states, needs, mode=mode)
    return math.fsum(weights[name] for _, name in awards), awards


@dataclass(frozen=True)
class Checklist(RewardComponent):
    """CM2's checklist over the turns of an episode: the weights of the items awarded so far, of all; in [0, 1].

    Items are `items`, or those of the task or its domain (`items_of`); without any the channel is invalid. In "paper"
    mode an item whose needs are met in the same turn earns nothing; in "repo" mode needs are not looked at. A
    `must_pass` item that does not hold at the end makes it 0. An item that cannot be judged makes it invalid.
    """

    channels: ClassVar[tuple[str, ...]] = ("checklist",)
    per_step: ClassVar[bool] = True

    items: tuple[Item, ...] = ()
    mode: Literal["paper", "repo"] = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_items(self.items)

    def unearned(self) -> float:
        """It does not ask how right the answer is."""
        return math.inf

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"checklist": share}."""
        items = self.items or items_of(view)
        total = math.fsum(item.weight for item in items)
        if not items or total <= 0:
            return {"checklist": INVALID}
        tests = [(item.id, item.test()) for item in items]
        states: list[dict[str, bool]] = [dict.fromkeys((item.id for item in items), False)]
        for turn in range(1, view.turns + 1):
            then = view.until(turn)
            state = {}
            for name, test in tests:
                holds = test(then)
                if holds is None:
                    return {"checklist": INVALID}
                state[name] = holds
            states.append(state)
        if view.ended and any(item.must_pass and not states[-1][item.id] for item in items):
            return {"checklist": 0.0}
        weights = {item.id: item.weight / total for item in items}
        reward, _ = cm2_turn(states, {item.id: item.needs for item in items}, weights, mode=self.mode)
        return {"checklist": reward}


def rubric_score(points: Sequence[float], met: Sequence[bool]) -> float:
    """clip(sum of points met / sum of positive points, 0, 1). Raises `ValueError` without positive points.

    Source: RuscaRL, README; the clip is from general knowledge.
    """
    most = math.fsum(p for p in points if p > 0)
    if most <= 0:
        raise ValueError("a rubric needs an item with positive points")
    return min(max(math.fsum(p for p, m in zip(points, met, strict=True) if m) / most, 0.0), 1.0)


@dataclass(frozen=True)
class Rubric(RewardComponent):
    """`rubric_score` of items at the end, in [0, 1]; an item's weight is its points and may be negative.

    Items are `items`, or the task's own (`gold.data["rubric"]`); without any, or with one that cannot be judged, the
    channel is invalid.
    """

    channels: ClassVar[tuple[str, ...]] = ("rubric",)

    items: tuple[Item, ...] = field(default=())

    def __post_init__(self) -> None:
        super().__post_init__()
        check_items(self.items)

    def unearned(self) -> float:
        """It does not ask how right the answer is."""
        return math.inf

    def evaluate(self, view: EpisodeView) -> dict[str, float]:
        """{"rubric": score}."""
        items = self.items or tuple(map(Item.of, view.gold.data.get("rubric", ())))
        met = [item.holds(view) for item in items]
        judged = [holds for holds in met if holds is not None]
        if not items or len(judged) < len(met):
            return {"rubric": INVALID}
        return {"rubric": rubric_score([item.weight for item in items], judged)}
