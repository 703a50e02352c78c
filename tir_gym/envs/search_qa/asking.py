"""Making a question: a walk over the graph, worded; each maker returns a `Question` or raises `Unanswerable`."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tir_gym.envs.search_qa.phrases import NOUN, OFFERED, OFFICE, QUESTION, TABLE, wordings
from tir_gym.envs.search_qa.proof import (
    Before,
    Best,
    Both,
    Cell,
    Count,
    Form,
    Get,
    Known,
    Later,
    Latest,
    Minus,
    Named,
    Term,
    Truth,
    Unanswerable,
    Value,
    Works,
    answer,
)
from tir_gym.envs.search_qa.world.graph import KINDS, NONE, UNKNOWN, Graph
from tir_gym.envs.search_qa.world.prose import ENTITIES, Prose, table, terms


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what it asks for, part by part.

    `lead` stands before the parts in the answer ("false premise"). `score`: "" wants all parts in order, "nuggets" a
    text that names them, "list" the items of the only part in any order.
    """

    text: str
    parts: tuple[Form, ...]
    lead: str = ""
    score: str = ""


class Ask:
    """An encyclopaedia to ask about, with random choices."""

    def __init__(self, rng: random.Random, level: int, prose: Prose) -> None:
        self.rng = rng
        self.level = level
        self.prose = prose
        self.graph: Graph = prose.graph
        self._truth = Truth(prose)
        self._seen: set[int] = set()

    def say(self, wordings: Sequence[str], x: str = "") -> str:
        """One of several wordings, about `x`."""
        return wordings[self.rng.randrange(len(wordings))].format(x=x)

    def any(self, *kinds: str) -> int:
        """A random entity of one of these kinds that no other part of the question is about."""
        kind = kinds[self.rng.randrange(len(kinds))]
        return self.fresh(self.graph.entity(kind, self.rng.randrange(self.graph.counts[kind])))

    def fresh(self, entity: int) -> int:
        """The entity, if it is new to the question. Raises `Unanswerable`."""
        if entity in self._seen:
            raise Unanswerable("it comes back to where it was")
        self._seen.add(entity)
        return entity

    def value(self, form: Form) -> Value:
        """What a form comes to."""
        return answer(form, self._truth)

    def entity(self, form: Form) -> int:
        """The entity that a form comes to, new to the question. Raises `Unanswerable`."""
        value = self.value(form)
        if not isinstance(value, int) or value < 0:
            raise Unanswerable
        return self.fresh(value)

    def start(self, *kinds: str, alias: bool = False) -> tuple[Form, str, int]:
        """An entity as a form, what the question calls it, and which it is; by another name with `alias`."""
        if not alias:
            entity = self.any(*kinds)
            return Named(entity), self.graph.name(entity), entity
        entity = self.any("person", "city")
        name = self.graph.alias(entity)
        if not name:
            raise Unanswerable("it has no other name")
        return Known(name, entity), name, entity

    def hops(self, start: tuple[Form, str, int], count: int) -> tuple[Form, str, int]:
        """`count` entities further along relations."""
        form, phrase, entity = start
        for _ in range(count):
            offered = [relation for relation in OFFERED[self.graph.kind(entity)] if relation in ENTITIES]
            relation = offered[self.rng.randrange(len(offered))]
            noun = wordings(NOUN, self.graph.kind(entity), relation)
            form = Get(form, relation)
            entity = self.entity(Get(Named(entity), relation))
            phrase = self.say(noun, phrase)
        return form, phrase, entity

    def way_to(self, entity: int, hops: int) -> tuple[Form, str]:
        """A form and a phrase for an entity, so many relations away from what the phrase names."""
        self.fresh(entity)
        if not hops:
            return Named(entity), self.graph.name(entity)
        columns = [
            (kind, relation) for kind, offered in OFFERED.items() for relation in offered if relation in ENTITIES
        ]
        held = [(place, np.flatnonzero(self.graph.columns[place] == entity).tolist()) for place in columns]
        held = [(place, holders) for place, holders in held if holders]
        if not held:
            raise Unanswerable("nothing leads to it")
        (kind, relation), holders = self.rng.choice(held)
        form, phrase = self.way_to(self.graph.entity(kind, self.rng.choice(holders)), hops - 1)
        return Get(form, relation), self.say(wordings(NOUN, kind, relation), phrase)

    def last(self, reached: tuple[Form, str, int]) -> Question:
        """The question for a relation of what has been reached."""
        form, phrase, entity = reached
        kind = self.graph.kind(entity)
        relation = OFFERED[kind][self.rng.randrange(len(OFFERED[kind]))]
        if self.value(Get(Named(entity), relation)) == UNKNOWN:
            raise Unanswerable
        return Question(self.say(wordings(QUESTION, kind, relation), phrase), (Get(form, relation),))

    def works(self, least: int, most: int) -> tuple[int, list[int]]:
        """A person with so many works."""
        creator = self.graph.get(self.any("work"), "creator")
        works = self.graph.works_of[creator]
        if not least <= len(works) <= most:
            raise Unanswerable
        return self.fresh(creator), works


Maker = Callable[[Ask], Question]
_STARTS = tuple(KINDS)


def chain(a: Ask, hops: int, alias: bool = False) -> Question:
    """A relation of a relation of ...: `hops` in all."""
    return a.last(a.hops(a.start(*_STARTS, alias=alias), hops - 1))


def outdated(a: Ask, hops: int = 1) -> Question:
    """Where a company has its head office now, or what there is in that city, though a Gazette says otherwise."""
    company = a.any("company")
    if a.graph.get(company, "former office") in (NONE, a.graph.get(company, "office")):
        raise Unanswerable
    name = a.graph.name(company)
    if hops == 1 and a.rng.random() < 0.4:
        year = a.graph.get(company, "gazette")
        return Question(
            f"In which city did {name} have its head office according to the Gazette of {year}?",
            (Get(Named(company), f"office in {year}"),),
        )
    form = Get(Named(company), "office")
    if hops == 1:
        return Question(a.say(QUESTION["office"], name), (form,))
    return a.last(a.hops((form, a.say(NOUN["office"], name), a.entity(form)), hops - 2))


def conflicting(a: Ask) -> Question:
    """The founding year that the most recent of several registers gives."""
    company = a.any("company")
    if a.graph.get(company, "last register") == NONE:
        raise Unanswerable
    name = a.graph.name(company)
    text = a.say(
        (
            "Registers differ on when {x} was founded. Which year does the most recent one give?",
            "According to the latest register, in which year was {x} founded?",
        ),
        name,
    )
    return Question(text, (Latest(Named(company)),))


def office(a: Ask, hops: int) -> Question:
    """Who held an office in a year, which for more hops is that of an event or work."""
    relation, kind = a.rng.choice((("head", "company"), ("mayor", "city")))
    entity = a.any(kind)
    form: Form = Named(entity)
    phrase = a.graph.name(entity)
    _, start, end = a.rng.choice(terms(a.graph, entity, relation))
    year = a.rng.randrange(start + 1, end)
    if hops > 2:
        form, phrase, entity = a.hops((form, phrase, entity), hops - 2)
        if a.graph.kind(entity) not in ("company", "city"):
            raise Unanswerable
        relation = "head" if a.graph.kind(entity) == "company" else "mayor"
        _, start, end = a.rng.choice(terms(a.graph, entity, relation))
        year = a.rng.randrange(start + 1, end)
    if hops == 1:
        return Question(f"Who {OFFICE[relation].format(x=phrase)} in {year}?", (Term(form, relation, year),))
    dated = a.any("work", "event")
    when, word = Get(Named(dated), "year"), "appeared" if a.graph.kind(dated) == "work" else "was held"
    text = f"Who {OFFICE[relation].format(x=phrase)} in the year in which {a.graph.name(dated)} {word}?"
    asked = Term(form, relation, when)
    a.value(asked)
    return Question(text, (asked,))


def figures(a: Ask, hops: int, change: bool) -> Question:
    """A number of a table, or by how much it changed between two years."""
    form, phrase, entity = a.hops(a.start("city", "company", "school", "event"), hops - 1)
    kind = a.graph.kind(entity)
    relation = {"city": "population", "company": "staff"}.get(kind)
    if relation is None:
        raise Unanswerable
    (first, low), (second, high) = a.rng.sample(table(a.graph, entity, relation), 2)
    if change:
        (first, low), (second, high) = sorted([(first, low), (second, high)])
        if high <= low:
            raise Unanswerable
        what = "inhabitants of {x}" if relation == "population" else "employees of {x}"
        text = f"By how much did the number of {what.format(x=phrase)} grow from {first} to {second}?"
        return Question(text, (Minus(Cell(form, relation, second), Cell(form, relation, first)),))
    return Question(f"How many {TABLE[relation].format(x=phrase)} in {first}?", (Cell(form, relation, first),))


def compared(a: Ask, hops: int) -> Question:
    """Something about the earlier (or later) of two, each reached by so many hops."""
    kind, relation, verb = a.rng.choice(
        (("company", "founded", "founded"), ("school", "founded", "founded"), ("person", "born", "born"))
    )
    reached = [a.hops(a.start(*((kind,) if hops == 1 else _STARTS)), hops - 1) for _ in range(2)]
    if any(a.graph.kind(entity) != kind for _, _, entity in reached):
        raise Unanswerable
    last = a.rng.random() < 0.5
    best = Best((reached[0][0], reached[1][0]), relation, last)
    entity = int(a.value(best))
    a.rng.shuffle(reached)
    which = f"whichever of {reached[0][1]} and {reached[1][1]} was {verb} {'later' if last else 'earlier'}"
    return a.last((best, which, entity))


def yes_no(a: Ask, hops: int) -> Question:
    """Whether one was founded or born before the other, and the two years."""
    kind, relation, verb = a.rng.choice(
        (("company", "founded", "founded"), ("city", "founded", "founded"), ("person", "born", "born"))
    )
    (one, first, left), (other, second, right) = (a.hops(a.start(kind), 0), a.hops(a.start(*_STARTS), hops - 1))
    if a.graph.kind(right) != kind or a.graph.get(left, relation) == a.graph.get(right, relation):
        raise Unanswerable
    forms = Get(one, relation), Get(other, relation)
    text = (
        f"Was {first} {verb} before {second}? Answer with yes or no and the two years in the order of the question, "
        "separated by semicolons."
    )
    return Question(text, (Before(*forms), *forms))


def intersection(a: Ask, hops: int) -> Question:
    """Something about the one of whom two things hold."""
    kind, first, second, words = a.rng.choice(
        (
            ("person", "teacher", "school", "the person who studied at {1} and was taught by {0}"),
            ("person", "teacher", "employer", "the person taught by {0} who later worked for {1}"),
            ("work", "setting", "publisher", "the work set in {0} that {1} published"),
            ("work", "setting", "dedicatee", "the work set in {0} and dedicated to {1}"),
        )
    )
    entity = a.any(kind)
    one, other = a.graph.get(entity, first), a.graph.get(entity, second)
    if min(one, other) < 0:
        raise Unanswerable
    columns = a.graph.columns
    if int(np.sum((columns[kind, first] == one) & (columns[kind, second] == other))) != 1:
        raise Unanswerable("there are several")
    phrase = words.format(a.graph.name(a.fresh(one)), a.graph.name(a.fresh(other)))
    return a.last(a.hops((Both(first, one, second, other, entity), phrase, entity), hops - 1))


def superlative(a: Ask, hops: int) -> Question:
    """Something about the earliest or latest work of a person."""
    creator, _ = a.works(2, 5)
    last = a.rng.random() < 0.5
    best = Best(Works(Named(creator)), "year", last)
    phrase = f"the {'latest' if last else 'earliest'} work of {a.graph.name(creator)}"
    entity = a.entity(best)
    if hops == 2:
        return Question(f"What is the title of {phrase}?", (best,))
    return a.last(a.hops((best, phrase, entity), hops - 3))


def counting(a: Ask) -> Question:
    """How many works of a person came after a year, and which was the first of them."""
    creator, works = a.works(3, 6)
    years = sorted(a.graph.get(work, "year") for work in works)
    limit = a.rng.randrange(years[0], years[-1])
    later = Later(Works(Named(creator)), "year", limit)
    text = (
        f"How many works of {a.graph.name(creator)} appeared after {limit}, and which was the first of these? Answer "
        "with the number and the title, separated by a semicolon."
    )
    return Question(text, (Count(later), Best(later, "year", False)))


def unanswerable(a: Ask) -> Question:
    """The same of two things, of which one is not recorded."""
    kind, relation, words = a.rng.choice(
        (
            ("company", "founder", "Who founded {0}, and who founded {1}?"),
            ("person", "teacher", "Who taught {0}, and who taught {1}?"),
            ("work", "dedicatee", "To whom is {0} dedicated, and to whom is {1}?"),
        )
    )
    unknown = a.graph.entity(kind, a.rng.choice(a.graph.unknown[kind, relation] or [0]))
    known = a.any(kind)
    if a.graph.get(unknown, relation) != UNKNOWN or a.graph.get(known, relation) < 0:
        raise Unanswerable
    pair = a.rng.sample([known, unknown], 2)
    text = words.format(*map(a.graph.name, pair)) + " Answer in this order, separated by a semicolon."
    return Question(text, tuple(Get(Named(one), relation) for one in pair))


def premise(a: Ask) -> Question:
    """A question that takes for granted who founded or created something: falsely, or, as often, rightly."""
    kind, relation, word = a.rng.choice(
        (
            ("company", "founder", "the founder of"),
            ("work", "creator", "the creator of"),
            ("event", "winner", "who won"),
        )
    )
    subject = a.any(kind)
    true = a.graph.get(subject, relation)
    if true < 0:
        raise Unanswerable
    said = true if a.rng.random() < 0.5 else a.any("person")
    name = a.graph.name(said)
    phrase = f"{name}, {word} {a.graph.name(subject)},"
    if said == true:
        return a.last((Named(said), phrase, said))
    asked = a.last((Named(said), phrase, said))
    return Question(asked.text, (Get(Named(subject), relation),), "false premise")
