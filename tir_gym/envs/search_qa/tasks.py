"""Where tasks come from: questions about the invented world, or the files of known benchmarks."""

import functools
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tir_gym.core.seeding import derive
from tir_gym.core.task import Draft, GeneratedTasks, Gold, TaskSet, split_of
from tir_gym.envs.search_qa import asking, benchmarks
from tir_gym.envs.search_qa.asking import Ask, Question
from tir_gym.envs.search_qa.phrases import LEADS
from tir_gym.envs.search_qa.plans import compile_plan
from tir_gym.envs.search_qa.proof import (
    Best,
    Both,
    Form,
    Get,
    Holders,
    Known,
    Named,
    Term,
    Truth,
    Unanswerable,
    Value,
    answer,
    support,
)
from tir_gym.envs.search_qa.regimes import REGIMES, Regime, report_chars
from tir_gym.envs.search_qa.world.graph import UNKNOWN, Graph, Spec, graph_of
from tir_gym.envs.search_qa.world.prose import ENTITIES, Prose

GENERATED = "searchqa"
PASSAGES = 20_000
"""Passages of the default encyclopaedia, at least."""

_TRIES = 2_000
Kind = tuple[str, Callable[[Ask], Question]]

LEVELS: dict[int, tuple[Kind, ...]] = {
    1: (("fact", lambda a: asking.chain(a, 1)),),
    2: (
        ("fact", lambda a: asking.chain(a, 1)),
        ("alias", lambda a: asking.chain(a, 1, alias=True)),
        ("outdated", asking.outdated),
        ("table", lambda a: asking.figures(a, 1, False)),
        ("office", lambda a: asking.office(a, 1)),
    ),
    3: (
        ("chain", lambda a: asking.chain(a, 2)),
        ("conflicting", asking.conflicting),
        ("table", lambda a: asking.figures(a, 1, True)),
        ("unanswerable", asking.unanswerable),
        ("yes-no", lambda a: asking.yes_no(a, 1)),
    ),
    4: (
        ("chain", lambda a: asking.chain(a, 2)),
        ("alias", lambda a: asking.chain(a, 2, alias=True)),
        ("comparison", lambda a: asking.compared(a, 1)),
        ("false-premise", asking.premise),
        ("office", lambda a: asking.office(a, 2)),
        ("table", lambda a: asking.figures(a, 2, False)),
    ),
    5: (
        ("chain", lambda a: asking.chain(a, 3)),
        ("outdated", lambda a: asking.outdated(a, 2)),
        ("intersection", lambda a: asking.intersection(a, 1)),
        ("unanswerable", asking.unanswerable),
        ("yes-no", lambda a: asking.yes_no(a, 2)),
        ("superlative", lambda a: asking.superlative(a, 2)),
    ),
    6: (
        ("chain", lambda a: asking.chain(a, 3)),
        ("alias", lambda a: asking.chain(a, 3, alias=True)),
        ("intersection", lambda a: asking.intersection(a, 2)),
        ("false-premise", asking.premise),
        ("office", lambda a: asking.office(a, 3)),
        ("counting", asking.counting),
        ("table", lambda a: asking.figures(a, 2, True)),
    ),
    7: (
        ("chain", lambda a: asking.chain(a, 4)),
        ("comparison", lambda a: asking.compared(a, 2)),
        ("superlative", lambda a: asking.superlative(a, 3)),
        ("outdated", lambda a: asking.outdated(a, 3)),
        ("yes-no", lambda a: asking.yes_no(a, 3)),
    ),
    8: (
        ("chain", lambda a: asking.chain(a, 4)),
        ("alias", lambda a: asking.chain(a, 4, alias=True)),
        ("comparison", lambda a: asking.compared(a, 2)),
        ("superlative", lambda a: asking.superlative(a, 4)),
        ("intersection", lambda a: asking.intersection(a, 3)),
        ("counting", asking.counting),
    ),
    9: (
        ("chain", lambda a: asking.chain(a, 5)),
        ("superlative", lambda a: asking.superlative(a, 5)),
        ("office", lambda a: asking.office(a, 4)),
        ("table", lambda a: asking.figures(a, 4, True)),
    ),
    10: (
        ("chain", lambda a: asking.chain(a, 6)),
        ("alias", lambda a: asking.chain(a, 5, alias=True)),
        ("intersection", lambda a: asking.intersection(a, 5)),
        ("comparison", lambda a: asking.compared(a, 3)),
    ),
}
"""The kinds of question of each difficulty."""


@functools.lru_cache(4)
def prose_of(spec: Spec) -> Prose:
    """The encyclopaedia of a world."""
    return Prose(graph_of(spec))


def draw(spec: Spec, split: str, cite: bool, regime: Regime, rng: random.Random, level: int) -> Draft:
    """A question of that difficulty about the world, answerable from its supporting passages and from nothing less."""
    prose = prose_of(spec)
    for attempt in range(_TRIES):
        if attempt % 40 == 0:  # a kind may have nothing to ask of a small world
            offered = LEVELS[level] if regime == "questions" else ((regime, REGIMES[regime]),)
            family, make = offered[rng.randrange(len(offered))]
        ask = Ask(rng, level, prose)
        try:
            question = _led(make(ask), split, rng)
            values, pages = support(question.parts, prose)
        except Unanswerable:
            continue
        shown = [text_of(prose.graph, form, value) for form, value in zip(question.parts, values, strict=True)]
        listed = isinstance(question.parts[0], Best)  # the best of a list stands in the list
        elsewhere = [question.text, *(page.text for page in pages[:-1] if not listed)]
        if len(shown) == 1 and any(shown[0] in text for text in elsewhere):
            continue  # it would be found by chance
        return _draft(question, values, shown, [page.id for page in pages], family, prose, cite)
    raise RuntimeError(f"the world of {spec} is too small for questions of difficulty {level}; ask for more passages")


def _led(question: Question, split: str, rng: random.Random) -> Question:
    """The question with words before it that put it into the split. Raises `Unanswerable` where none do."""
    for lead in rng.sample(LEADS, len(LEADS)):
        if split_of(lead + question.text) == split:
            return replace(question, text=lead + question.text)
    raise Unanswerable("no wording belongs to the split")


def text_of(graph: Graph, form: Form, value: Value) -> str:
    """The value of a form as the answer has it."""
    if isinstance(form, Holders):
        return "; ".join(graph.name(int(one)) for one in str(value).split(";"))
    if isinstance(value, str):
        return value
    if value == UNKNOWN:
        return "unknown"
    named = isinstance(form, Named | Known | Term | Best | Both)
    if named or (isinstance(form, Get) and (form.relation in ENTITIES or form.relation.startswith("office in"))):
        return graph.name(value)
    return str(value)


def _draft(
    question: Question,
    values: tuple[Value, ...],
    shown: list[str],
    sources: list[str],
    family: str,
    prose: Prose,
    cite: bool,
) -> Draft:
    spec = prose.graph.spec
    text = "; ".join(filter(None, [question.lead, *shown]))
    answer: str | list[str] = text
    (form, value), *more = zip(question.parts, values, strict=True)
    entity = text_of(prose.graph, form, value) != str(value) and isinstance(value, int) and value >= 0
    if entity and not more and not question.lead and (alias := prose.graph.alias(int(value))):
        answer = [text, alias]
    plan = compile_plan(question.parts, question.lead, prose, cite)
    data: dict[str, Any] = {"sources": sources, "hops": len(sources)}
    if question.score == "nuggets":
        stated = [_stating(part, prose) for part in question.parts]
        data |= {"nuggets": [[one] for one in shown], "longest": report_chars(len(shown)), "stated_in": stated}
    elif question.score == "list":
        data["list"] = [[one] for one in shown[0].split("; ")]
    return Draft(question.text, Gold(answer, plan, data), family, {"world": [spec.seed, spec.passages]})


def _stating(nugget: Form, prose: Prose) -> str:
    """The id of the passage that states a nugget."""
    assert isinstance(nugget, Get)
    truth = Truth(prose)
    return truth.page(int(answer(nugget.of, truth)), nugget.relation).id


def make_tasks(
    source: str | None,
    split: str,
    difficulty: int | None,
    passages: int = PASSAGES,
    world_seed: int = 0,
    cite: bool = False,
    regime: Regime = "questions",
) -> TaskSet:
    """Generated questions (None), or a benchmark's file ("NAME:PATH"). Each split has an encyclopaedia of its own.

    Raises `ValueError` that names the sources there are.
    """
    if source is None:
        spec = Spec(derive("encyclopaedia", world_seed, split) % 2**31, passages)
        name = GENERATED if (passages, world_seed) == (PASSAGES, 0) else f"{GENERATED}-{passages}-{world_seed}"
        name += "-cited" * cite + f"-{regime}" * (regime != "questions")
        return GeneratedTasks(
            name, functools.partial(draw, spec, split, cite, regime), split=split, difficulty=difficulty
        )
    return benchmarks.load(source, split, difficulty)


def catalogue(regime: Regime) -> list[dict[str, object]]:
    """The kinds of question, with the difficulties that have them; a regime is one kind."""
    kinds: dict[str, list[int]] = {}
    for level, offered in LEVELS.items():
        for kind in [name for name, _ in offered] if regime == "questions" else [regime]:
            kinds.setdefault(kind, []).append(level)
    return [{"kind": kind, "difficulties": ", ".join(map(str, levels))} for kind, levels in kinds.items()]
