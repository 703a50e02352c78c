"""The knowledge graph: who was born where and when, who founded what, who taught whom; arrays drawn from a seed.

An entity is a number; those of a kind are consecutive, persons in the order of birth, companies and schools in the
order of foundation. A relation is a column of its kind: entities, or numbers (years). Time is consistent: nobody works
for what is not founded yet, teachers are older than their pupils, terms of office follow one another.
"""

import functools
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tir_gym.core.seeding import derive
from tir_gym.envs.search_qa.world.names import Namer, namers

KINDS = ("country", "city", "person", "company", "school", "work", "event")
_SHARES = {"country": 0.006, "city": 0.12, "person": 0.38, "company": 0.15, "school": 0.05, "work": 0.22, "event": 0.08}
_LEAST = {"country": 12, "city": 24, "person": 40, "company": 16, "school": 10, "work": 24, "event": 10}
PASSAGES_PER_ARTICLE = 2.7
"""A little fewer than there are, so that a world is never smaller than asked for."""

NONE, UNKNOWN = -1, -2
"""In a column: there is no such thing; there is, and the encyclopaedia says that it is not known."""
CENSUS = (1881, 1901, 1921, 1941)
TERMS = 3

Column = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a world is made from: a seed, and how many passages it has at least."""

    seed: int
    passages: int


@dataclass(frozen=True)
class Graph:
    """The world as columns. `entity_valued` relations hold entities, the others numbers."""

    spec: Spec
    counts: dict[str, int]
    starts: dict[str, int]
    columns: dict[tuple[str, str], Column]
    style: Column = field(repr=False)
    """A random number for each entity, by which its article's wording is chosen."""
    names: dict[str, Namer] = field(repr=False)

    @functools.cached_property
    def _bounds(self) -> list[int]:
        return [self.starts[kind] for kind in KINDS]

    @property
    def size(self) -> int:
        """How many entities there are."""
        return sum(self.counts.values())

    def kind(self, entity: int) -> str:
        """What an entity is."""
        return KINDS[bisect_right(self._bounds, entity) - 1]

    def entity(self, kind: str, number: int) -> int:
        """The entity of that number among its kind."""
        return self.starts[kind] + number

    def name(self, entity: int) -> str:
        """What an entity is called."""
        kind = self.kind(entity)
        return self.names[kind].name(entity - self.starts[kind])

    def alias(self, entity: int) -> str:
        """What else it is called; "" for nothing."""
        kind = self.kind(entity)
        if (kind, "alias") not in self.columns or self.get(entity, "alias") == NONE:
            return ""
        pool = "epithet" if kind == "person" else "old name"
        return self.names[pool].name(entity - self.starts["city" if pool == "old name" else "person"])

    def has(self, kind: str, relation: str) -> bool:
        """Whether a kind has the relation at all."""
        return (kind, relation) in self.columns

    def get(self, entity: int, relation: str) -> int:
        """What a relation holds for an entity: an entity or a number, `NONE` or `UNKNOWN`."""
        kind = self.kind(entity)
        return int(self.columns[kind, relation][entity - self.starts[kind]])

    @functools.cached_property
    def unknown(self) -> dict[tuple[str, str], list[int]]:
        """The numbers, among their kind, of those of which a relation is not known."""
        return {place: np.flatnonzero(column == UNKNOWN).tolist() for place, column in self.columns.items()}

    @functools.cached_property
    def works_of(self) -> dict[int, list[int]]:
        """The works of each creator, earliest first."""
        found: dict[int, list[int]] = {}
        creators, years = self.columns["work", "creator"].tolist(), self.columns["work", "year"].tolist()
        for number in sorted(range(len(creators)), key=years.__getitem__):
            found.setdefault(creators[number], []).append(self.entity("work", number))
        return found


class _Draw:
    """Draws columns."""

    def __init__(self, seed: int, counts: dict[str, int]) -> None:
        self.rng = np.random.default_rng(seed)
        self.counts = counts
        self.starts = dict(zip(KINDS, np.cumsum([0, *counts.values()]).tolist(), strict=False))
        self.columns: dict[tuple[str, str], Column] = {}

    def put(self, kind: str, relation: str, values: Column, *, absent: float = 0.0, unknown: float = 0.0) -> None:
        """A column, with some of its values there not at all, or not known."""
        lot = self.rng.random(len(values))
        values = np.where(lot < absent, NONE, np.where(lot < absent + unknown, UNKNOWN, values))
        self.columns[kind, relation] = values.astype(np.int64)

    def whole(self, low: int, high: int, kind: str) -> Column:
        """Numbers from `low` to `high`, `high` not included, one for each of a kind."""
        return np.asarray(self.rng.integers(low, high, self.counts[kind]), np.int64)

    def any_of(self, kind: str, count: int) -> Column:
        """So many entities of a kind."""
        return np.asarray(self.rng.integers(0, self.counts[kind], count) + self.starts[kind], np.int64)

    def born_about(self, years: Column) -> Column:
        """Persons born about these years."""
        spread = max(2, self.counts["person"] // 60)
        at = np.searchsorted(self.columns["person", "born"], years)
        at = at + self.rng.integers(-spread, spread, len(years))
        at = np.clip(at, 0, self.counts["person"] - 1) + self.starts["person"]
        return np.asarray(at, np.int64)

    def founded_by(self, kind: str, years: Column) -> Column:
        """Companies or schools that were there in these years; `NONE` where there was none."""
        there = np.searchsorted(self.columns[kind, "founded"], years)
        chosen = (self.rng.random(len(years)) * there).astype(np.int64) + self.starts[kind]
        return np.asarray(np.where(there > 0, chosen, NONE), np.int64)

    def year(self, persons: Column) -> Column:
        """The years of birth of persons."""
        return np.asarray(self.columns["person", "born"][persons - self.starts["person"]], np.int64)

    def founders(self, kind: str) -> None:
        """Founders and founding years of companies or schools, which are numbered in that order."""
        persons = self.rng.integers(0, int(self.counts["person"] * 0.9), self.counts[kind]) + self.starts["person"]
        founded = self.year(persons) + self.whole(23, 45, kind)
        order = np.argsort(founded, kind="stable")
        self.put(kind, "founded", founded[order])
        self.put(kind, "founder", persons[order], unknown=0.06)

    def terms(self, kind: str, relation: str, first: Column) -> None:
        """Three terms of office from a year on: who, and from when; `relation.end` is the end of the last."""
        start = first
        for number in range(TERMS):
            self.put(kind, f"{relation}.{number}", self.born_about(start - 45))
            self.put(kind, f"{relation}.{number}.from", start)
            start = start + self.whole(5, 21, kind)
        self.put(kind, f"{relation}.end", start)

    def table(self, kind: str, relation: str, low: int, high: int) -> None:
        """Four numbers, each larger or smaller than the one before."""
        value = self.whole(low, high, kind).astype(float)
        for number in range(len(CENSUS)):
            self.put(kind, f"{relation}.{number}", value.astype(np.int64))
            value *= self.rng.uniform(0.8, 1.9, self.counts[kind])


def _persons(d: _Draw) -> None:
    count = d.counts["person"]
    born = np.sort(d.whole(1420, 1966, "person"))
    d.put("person", "born", born)
    died = born + d.whole(48, 91, "person")
    d.put("person", "died", np.where(died > 2015, NONE, died))
    pairs = np.arange(count) ^ 1
    spouse = np.where((pairs < count) & (np.repeat(d.rng.random(count // 2 + 1), 2)[:count] < 0.6), pairs, -1)
    d.put("person", "spouse", np.where(spouse >= 0, spouse + d.starts["person"], NONE))


def _lives(d: _Draw) -> None:
    """What of a person needs the places and companies."""
    count, born = d.counts["person"], d.columns["person", "born"]
    d.put("person", "birthplace", d.any_of("city", count))
    company, school = d.founded_by("company", born + 30), d.founded_by("school", born + 30)
    employer = np.where((d.rng.random(count) < 0.75) & (company != NONE), company, school)
    d.put("person", "employer", employer, absent=0.1)
    own = np.arange(count) + d.starts["person"]
    teacher = d.born_about(born - 32)
    older = d.year(teacher) <= born - 15
    d.put("person", "teacher", np.where(older & (teacher != own), teacher, NONE), absent=0.15, unknown=0.06)
    d.put("person", "school", d.founded_by("school", born + 18), absent=0.1)
    d.put("person", "alias", np.ones(count, dtype=np.int64), absent=0.6)
    d.put("person", "field", d.whole(0, 1_000, "person"))


def _places(d: _Draw) -> None:
    cities, countries = d.counts["city"], d.counts["country"]
    country = d.any_of("country", cities)
    country[:countries] = np.arange(countries) + d.starts["country"]
    d.put("city", "country", country)
    d.put("country", "capital", np.arange(countries) + d.starts["city"])
    d.put("country", "president", d.any_of("person", countries))
    d.put("city", "founded", d.whole(880, 1400, "city"))
    d.put("city", "architect", d.any_of("person", cities), absent=0.1)
    d.put("city", "river", d.whole(0, 1_000, "city"))
    d.terms("city", "mayor", d.whole(1780, 1950, "city"))
    d.table("city", "population", 800, 90_000)
    d.put("city", "alias", np.ones(cities, dtype=np.int64), absent=0.5)


def _companies(d: _Draw) -> None:
    count, founded = d.counts["company"], d.columns["company", "founded"]
    d.put("company", "office", d.any_of("city", count))
    d.put("company", "former office", d.any_of("city", count), absent=0.5)
    d.put("company", "moved", founded + d.whole(12, 40, "company"))
    d.put("company", "gazette", founded + d.whole(3, 12, "company"))
    earlier = (d.rng.random(count) * np.arange(count)).astype(np.int64) + d.starts["company"]
    earlier[:1] = NONE
    d.put("company", "parent", earlier, absent=0.5)
    d.terms("company", "head", founded + d.whole(0, 3, "company"))
    d.table("company", "staff", 20, 4_000)
    d.put("company", "last register", founded + d.whole(60, 80, "company"), absent=0.75)
    d.put("company", "first register", founded + d.whole(20, 40, "company"))
    d.put("company", "first claim", founded + d.whole(1, 9, "company"))


def _works(d: _Draw) -> None:
    count = d.counts["work"]
    many = d.rng.integers(1, 7, count)
    creators = np.repeat(d.rng.permutation(d.counts["person"]), np.resize(many, d.counts["person"]))
    creator = np.resize(creators, count) + d.starts["person"]
    year = d.year(creator) + d.whole(22, 48, "work")
    d.put("work", "creator", creator)
    d.put("work", "year", year)
    d.put("work", "publisher", d.founded_by("company", year))
    d.put("work", "setting", d.any_of("city", count))
    d.put("work", "dedicatee", d.any_of("person", count), absent=0.2, unknown=0.06)


def _events(d: _Draw) -> None:
    count = d.counts["event"]
    year = d.whole(1480, 2010, "event")
    d.put("event", "year", year)
    d.put("event", "place", d.any_of("city", count))
    d.put("event", "winner", d.born_about(year - 35))
    d.put("event", "organiser", d.founded_by("company", year))


def articles(spec: Spec) -> dict[str, int]:
    """How many entities of each kind a world has."""
    total = int(spec.passages / PASSAGES_PER_ARTICLE)
    return {kind: max(_LEAST[kind], round(total * share)) for kind, share in _SHARES.items()}


def build(spec: Spec) -> Graph:
    """The world of a seed and size; the same in every process."""
    counts = articles(spec)
    d = _Draw(derive("world", spec.seed, spec.passages), counts)
    _persons(d)
    _places(d)
    d.founders("company")
    d.founders("school")
    d.put("school", "place", d.any_of("city", counts["school"]))
    _companies(d)
    _works(d)
    _events(d)
    _lives(d)
    style = d.rng.integers(0, 1 << 60, sum(counts.values()))
    return Graph(spec, counts, d.starts, d.columns, style, namers(spec.seed, counts))


_KEPT = 4
_graphs: OrderedDict[Spec, Graph] = OrderedDict()


def graph_of(spec: Spec) -> Graph:
    """The world of a seed and size, kept for as long as it is one of the last few used."""
    if spec not in _graphs:
        _graphs[spec] = build(spec)
        while len(_graphs) > _KEPT:
            _graphs.popitem(last=False)
    else:
        _graphs.move_to_end(spec)
    return _graphs[spec]
