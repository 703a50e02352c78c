"""What a question asks, as a form over facts: it has an answer where the facts it needs are stated, and only there.

`answer(form, source)` works it out. Over `Truth`, the whole encyclopaedia, it says which passages state what was
needed; over `Stated`, a few passages, it tells whether they are enough. `support` puts the two together: it accepts a
form only if its passages answer it and none of them can be left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tir_gym.envs.search_qa.world.graph import UNKNOWN
from tir_gym.envs.search_qa.world.prose import Fact, Page, Prose
from tir_gym.envs.search_qa.world.wording import SECTIONS

Value = int | str
"""An entity or a number, or the text of a name."""


class Unanswerable(Exception):  # noqa: N818
    """The facts at hand do not settle it."""


# --- forms -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Named:
    """An entity that the question calls by its name."""

    entity: int


@dataclass(frozen=True, slots=True)
class Known:
    """The entity that is also known by another name; which it is (`entity`), the passages must say."""

    alias: str
    entity: int


@dataclass(frozen=True, slots=True)
class Get:
    """What a relation holds for an entity."""

    of: "Form"
    relation: str


@dataclass(frozen=True, slots=True)
class Term:
    """Who held an office in a year."""

    of: "Form"
    relation: str
    year: "int | Form"


@dataclass(frozen=True, slots=True)
class Cell:
    """The number that a table has for a year."""

    of: "Form"
    relation: str
    year: int


@dataclass(frozen=True, slots=True)
class Minus:
    """The difference of two numbers."""

    one: "Form"
    other: "Form"


@dataclass(frozen=True, slots=True)
class Latest:
    """The founding year of a company according to the most recent of the registers that differ on it."""

    of: "Form"


@dataclass(frozen=True, slots=True)
class Works:
    """All works of a person."""

    of: "Form"


@dataclass(frozen=True, slots=True)
class Later:
    """Those of several entities whose number is above a limit."""

    among: "Works"
    relation: str
    limit: int


@dataclass(frozen=True, slots=True)
class Best:
    """The one of several entities with the smallest number, or the largest (`last`)."""

    among: "Works | Later | tuple[Form, ...]"
    relation: str
    last: bool


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are."""

    among: "Works | Later"


@dataclass(frozen=True, slots=True)
class Both:
    """The one entity for which two relations hold these entities; which it is (`entity`), the passages must say."""

    first: str
    one: int
    second: str
    other: int
    entity: int


@dataclass(frozen=True, slots=True)
class Before:
    """ "yes" if the first number is the smaller one, else "no"."""

    one: "Form"
    other: "Form"


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of several numbers."""

    of: "tuple[Form, ...]"


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a company's manual in their order, with semicolons between; one may refer to another's manual."""

    of: "Form"


@dataclass(frozen=True, slots=True)
class Holders:
    """All entities of a kind for which a relation holds a value; as their numbers with semicolons between."""

    kind: str
    relation: str
    value: int


Form = (
    Named
    | Known
    | Get
    | Term
    | Cell
    | Minus
    | Latest
    | Works
    | Later
    | Best
    | Count
    | Both
    | Before
    | Sum
    | Steps
    | Holders
)
"""What is asked for: an entity, a number, a text, or (`Works`, `Later`) several entities."""


# --- sources of facts ------------------------------------------------------------------------------------------------
class Source(Protocol):
    """Where facts come from."""

    def facts(self, subject: int, relation: str) -> list[Fact]:
        """What is stated of an entity in a relation."""

    def holding(self, relation: str, value: Value, hint: int) -> set[int]:
        """The entities for which a relation holds a value; the whole truth is only asked about `hint`."""

    def holders(self, kind: str, relation: str, value: Value) -> set[int]:
        """All entities of a kind for which a relation holds a value."""


class Stated:
    """The facts of a few passages; those of `hidden`, which is one of them, count as not stated."""

    def __init__(self, pages: Iterable[Page]) -> None:
        self.hidden: Page | None = None
        self._facts = [(page, fact) for page in pages for fact in page.facts]
        self._of: dict[tuple[int, str], list[tuple[Page, Fact]]] = {}
        for page, fact in self._facts:
            self._of.setdefault((fact.subject, fact.relation), []).append((page, fact))

    def facts(self, subject: int, relation: str) -> list[Fact]:
        """What they state."""
        return [fact for page, fact in self._of.get((subject, relation), ()) if page is not self.hidden]

    def holding(self, relation: str, value: Value, hint: int) -> set[int]:
        """Every entity of which they state it."""
        return {
            fact.subject
            for page, fact in self._facts
            if fact.relation == relation and fact.value == value and page is not self.hidden
        }

    def holders(self, kind: str, relation: str, value: Value) -> set[int]:
        """Every entity of which they state it."""
        return self.holding(relation, value, -1)


_PLACES = {
    (kind, relation): number
    for kind, sections in SECTIONS.items()
    for number, (_, slots) in enumerate(sections)
    for slot in slots
    for relation in (
        [slot[0][1:]] if slot[0].startswith("@") else [part.partition("}")[0] for part in slot[0].split("{")[1:]]
    )
}
"""In which section of a kind's articles a relation stands."""


class Truth:
    """The whole encyclopaedia; remembers in `used` the passages that were needed."""

    def __init__(self, prose: Prose) -> None:
        self.prose = prose
        self.used: dict[str, Page] = {}

    def page(self, subject: int, relation: str) -> Page:
        """The passage that states a relation of an entity. Raises `Unanswerable`."""
        place = _PLACES.get((self.prose.graph.kind(subject), relation))
        pages = [self.prose.section(subject, place)] if place is not None else self.prose.notices(subject)
        for page in pages:
            if page is not None and relation in page.relations:
                return page
        raise Unanswerable(relation)

    def facts(self, subject: int, relation: str) -> list[Fact]:
        """What the passage states that says it."""
        page = self.page(subject, relation)
        self.used[page.id] = page
        return [fact for fact in page.facts if fact.relation == relation]

    def holding(self, relation: str, value: Value, hint: int) -> set[int]:
        """The entity itself, where it holds."""
        return {hint} if any(fact.value == value for fact in self.facts(hint, relation)) else set()

    def holders(self, kind: str, relation: str, value: Value) -> set[int]:
        """Every entity of that kind in the world."""
        graph = self.prose.graph
        column = graph.columns[kind, relation]
        found = {graph.entity(kind, number) for number in np.flatnonzero(column == value).tolist()}
        return {one for one in found if self.holding(relation, value, one)}


# --- working it out --------------------------------------------------------------------------------------------------
def answer(form: Form, source: Source) -> Value:
    """The value of a form. Raises `Unanswerable` where the source does not settle it."""
    match form:
        case Named(entity):
            return entity
        case Known(alias, entity):
            return _only(source.holding("alias", alias, entity))
        case Get(of, relation):
            return _only({fact.value for fact in source.facts(_entity(of, source), relation)})
        case Term(of, relation, year):
            at = year if isinstance(year, int) else answer(year, source)
            held = source.facts(_entity(of, source), relation)
            return _only({fact.value for fact in held if fact.span[0] < int(at) < fact.span[1]})
        case Cell(of, relation, year):
            return _only({fact.value for fact in source.facts(_entity(of, source), relation) if fact.at == year})
        case Minus(one, other):
            return int(answer(one, source)) - int(answer(other, source))
        case Latest(of):
            entity = _entity(of, source)
            latest = _only({fact.value for fact in source.facts(entity, "last register")})
            return _only({fact.value for fact in source.facts(entity, f"founded in the Register of {latest}")})
        case Best(among, relation, last):
            entities = [_entity(one, source) for one in among] if isinstance(among, tuple) else _several(among, source)
            return _extreme(entities, relation, last, source)
        case Count(among):
            return len(_several(among, source))
        case Both(first, one, second, other, entity):
            return _only(source.holding(first, one, entity) & source.holding(second, other, entity))
        case Sum(of):
            return sum(int(answer(one, source)) for one in of)
        case Steps(of):
            steps = _steps(_entity(of, source), source)
            return "; ".join(steps[at] for at in sorted(steps))
        case Holders(kind, relation, value):
            holders = source.holders(kind, relation, value)
            if not holders:
                raise Unanswerable
            return ";".join(map(str, sorted(holders)))
        case Before(one, other):
            return "yes" if int(answer(one, source)) < int(answer(other, source)) else "no"
    raise TypeError(f"{type(form).__name__} is several things")


def _only(values: "set[Value] | set[int]") -> Value:
    if len(values) != 1:
        raise Unanswerable
    return next(iter(values))


def _entity(form: Form, source: Source) -> int:
    value = answer(form, source)
    if not isinstance(value, int) or value == UNKNOWN:
        raise Unanswerable
    return value


def _several(form: "Works | Later", source: Source) -> list[int]:
    if isinstance(form, Works):
        found = [int(fact.value) for fact in source.facts(_entity(form.of, source), "works")]
    else:
        numbers = {one: _number(one, form.relation, source) for one in _several(form.among, source)}
        found = [one for one, number in numbers.items() if number > form.limit]
    if not found:
        raise Unanswerable
    return found


def _number(entity: int, relation: str, source: Source) -> int:
    return int(_only({fact.value for fact in source.facts(entity, relation)}))


def _steps(company: int, source: Source) -> dict[int, str]:
    """The steps of a manual by their places."""
    facts = source.facts(company, "manual")
    if not facts:
        raise Unanswerable
    own = {fact.at: str(fact.value) for fact in facts if fact.at}
    base = next((int(fact.value) for fact in facts if not fact.at), None)
    return own if base is None else _steps(base, source) | own


def _extreme(entities: list[int], relation: str, last: bool, source: Source) -> int:
    numbers = {one: _number(one, relation, source) for one in entities}
    best = max(numbers.values()) if last else min(numbers.values())
    return int(_only({one for one, number in numbers.items() if number == best}))


def support(forms: tuple[Form, ...], prose: Prose) -> tuple[tuple[Value, ...], list[Page]]:
    """The answers to the parts of a question, and the passages that state what they need, in the order of need.

    Raises `Unanswerable` unless the passages alone give these answers, and without any one of them do not.
    """
    truth = Truth(prose)
    values = tuple(answer(form, truth) for form in forms)
    pages = list(truth.used.values())
    stated = Stated(pages)
    if _answers(forms, stated) != values:
        raise Unanswerable("the passages do not say it")
    for left_out in pages:
        stated.hidden = left_out
        if _answers(forms, stated) == values:
            raise Unanswerable("it can be answered from less")
    return values, pages


def _answers(forms: tuple[Form, ...], source: Source) -> tuple[Value, ...] | None:
    try:
        return tuple(answer(form, source) for form in forms)
    except Unanswerable:
        return None
