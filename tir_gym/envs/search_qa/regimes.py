"""Other things to ask of the same world: KARL's six regimes, MaskSearch's masked spans (definitions by this project).

`entities` finds the one that fits several constraints; `report` wants the nuggets of several documents; `numbers`
reads and reckons with tables; `exhaustive` wants all that there are; `procedures` puts together the steps of a manual
that may refer to other manuals; `notes` adds up what is scattered over documents; `masked` fills the gaps of a
sentence of the encyclopaedia.
"""

from collections.abc import Callable
from string import Formatter
from typing import Literal

import numpy as np

from tir_gym.envs.search_qa import asking
from tir_gym.envs.search_qa.asking import Ask, Question
from tir_gym.envs.search_qa.phrases import OFFERED, TABLE
from tir_gym.envs.search_qa.proof import Both, Cell, Get, Holders, Named, Steps, Sum, Unanswerable
from tir_gym.envs.search_qa.world.graph import CENSUS, NONE, UNKNOWN
from tir_gym.envs.search_qa.world.prose import ENTITIES, fields_of, manual

Regime = Literal["questions", "entities", "report", "numbers", "exhaustive", "procedures", "notes", "masked"]

_FITTING = (
    ("person", "teacher", "school", "Which person studied at {1} and learned the trade under {0}?"),
    ("person", "teacher", "employer", "Which pupil of {0} later worked for {1}?"),
    ("work", "setting", "publisher", "Which work is set in {0} and was published by {1}?"),
    ("work", "setting", "dedicatee", "Which work is set in {0} and dedicated to {1}?"),
)
_HELD = (
    ("person", "teacher", "List every person who was taught by {0}."),
    ("company", "parent", "List every company that {0} owns."),
    ("work", "publisher", "List every work that {0} published."),
    ("event", "organiser", "List every event that {0} organised."),
)
_OTHERS = ((0,), (1,), (2, 3))
"""How many manuals a manual leads on to: for difficulty 1 and 2, up to 5, and beyond."""
_STARTS = ("person", "city", "company", "school", "work", "event")


def entities(a: Ask) -> Question:
    """The one entity that fits two constraints, and something about it at higher levels."""
    if a.level > 5:
        return asking.intersection(a, a.level - 4)
    kind, first, second, words = a.rng.choice(_FITTING)
    entity = a.any(kind)
    one, other = a.graph.get(entity, first), a.graph.get(entity, second)
    columns = a.graph.columns
    if min(one, other) < 0 or int(np.sum((columns[kind, first] == one) & (columns[kind, second] == other))) != 1:
        raise Unanswerable
    return Question(words.format(a.graph.name(one), a.graph.name(other)), (Both(first, one, second, other, entity),))


def report(a: Ask) -> Question:
    """What several articles say of a person, a company or a work, its nuggets."""
    form, phrase, entity = a.hops(a.start("person", "company", "work"), (a.level - 1) // 4)
    offered = OFFERED[a.graph.kind(entity)]
    parts = []
    for relation in offered:
        try:
            if a.value(Get(Named(entity), relation)) != UNKNOWN:
                parts.append(Get(form, relation))
        except Unanswerable:
            continue
    parts = parts[: 2 + a.level // 2]
    if len(parts) < 2:
        raise Unanswerable
    wanted = ", ".join(part.relation for part in parts)
    longest = report_chars(len(parts))
    text = f"Write a report on {phrase} in at most {longest} characters. It must say at least this: {wanted}."
    return Question(text, tuple(parts), score="nuggets")


def report_chars(nuggets: int) -> int:
    """How long a report may be: what was read does not fit into it unchanged."""
    return 100 + 100 * nuggets


def numbers(a: Ask) -> Question:
    """A figure of a table, or by how much it grew, of what several hops lead to."""
    return asking.figures(a, 1 + (a.level - 1) // 3, a.level % 2 == 0)


def exhaustive(a: Ask) -> Question:
    """All entities for which a relation holds the same: two to four of them, more with difficulty."""
    kind, relation, words = a.rng.choice(_HELD)
    entity = a.any(kind)
    value = a.graph.get(entity, relation)
    count = int(np.sum(a.graph.columns[kind, relation] == value))
    if value < 0 or not 2 <= count <= 2 + a.level // 4:
        raise Unanswerable
    text = words.format(a.graph.name(a.fresh(value))) + " Separate them by semicolons."
    return Question(text, (Holders(kind, relation, value),), score="list")


def procedures(a: Ask) -> Question:
    """The steps of a company's manual, which keeps to another's but for a step; more such manuals with difficulty."""
    company = a.graph.entity("company", a.rng.randrange(a.graph.counts["company"]))
    others, base = 0, manual(a.graph, company)[0]
    while base != NONE:
        others, base = others + 1, manual(a.graph, base)[0]
    steps = str(a.value(Steps(Named(company)))).split("; ")
    if others not in _OTHERS[min(a.level // 3, 2)] or len(set(steps)) < len(steps):
        raise Unanswerable
    form, phrase = a.way_to(company, (a.level - 1) // 4)
    text = f"What are the steps, in order, by which the plant of {phrase} is started? Separate them by semicolons."
    return Question(text, (Steps(form),))


def notes(a: Ask) -> Question:
    """The sum of figures that stand in several documents."""
    cities = [Named(a.any("city")) for _ in range(2 + a.level // 4)]
    year = a.rng.choice(CENSUS)
    names = ", ".join(a.graph.name(one.entity) for one in cities)
    text = f"How many {TABLE['population'].format(x=f'the cities {names} together')} in {year}?"
    return Question(text, (Sum(tuple(Cell(one, "population", year) for one in cities)),))


def masked(a: Ask) -> Question:
    """A sentence of an article with one or two of its facts masked."""
    entity = a.any(*_STARTS)
    pages = [page for page in a.prose.article(entity) if page.wording]
    if not pages:
        raise Unanswerable
    page = a.rng.choice(pages)
    stated = [fact.relation for fact in page.facts if fact.relation in ENTITIES and fact.relation in page.wording]
    if not stated:
        raise Unanswerable
    wording = page.wording[a.rng.choice(stated)]
    masks = list(fields_of(wording))
    if a.level <= 5:
        masks = [a.rng.choice(masks)]
    filled = dict.fromkeys(masks, "[MASK]")
    values = a.prose.fields(entity)
    shown = wording.format_map(
        {name: filled.get(name) or values[name] for _, name, _, _ in Formatter().parse(wording) if name}
    )
    if a.graph.name(entity) not in shown:
        raise Unanswerable("it would not be known what it is about")
    text = f"What is masked in this sentence of the encyclopaedia (of several masks, all, in order)? {shown}"
    return Question(text, tuple(Get(Named(entity), name) for name in masks))


REGIMES: dict[str, Callable[[Ask], Question]] = {
    "entities": entities,
    "report": report,
    "numbers": numbers,
    "exhaustive": exhaustive,
    "procedures": procedures,
    "notes": notes,
    "masked": masked,
}
