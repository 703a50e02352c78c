"""Articles: passages of text, each with the facts that it states and nothing else.

Passage ids are `LETTER NUMBER . SECTION`: `a17.2` is section 2 of the article on entity 17; `g17.0` is the notice on
it in a Gazette, which may be out of date, `r17.0` and `r17.1` are its entries in an older and a newer Register.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import NamedTuple

from tir_gym.envs.search_qa.world.graph import CENSUS, NONE, TERMS, UNKNOWN, Graph
from tir_gym.envs.search_qa.world.wording import (
    ASIDES,
    GAZETTE,
    GENRES,
    HOSTILE,
    JOBS,
    MANUAL_CHANGES,
    MANUAL_LINES,
    REGISTER,
    SECTIONS,
    STEPS,
    TABLE_LINES,
    TERM_LINES,
    TRAITS,
    UNKNOWN_LINES,
    WORKS_LINES,
)

ENTITIES = frozenset(
    "birthplace teacher school employer spouse country architect capital president founder office parent place creator "
    "setting publisher dedicatee winner organiser".split()
)
"""Relations that hold entities."""
_NUMBERS = frozenset(("born", "died", "founded", "year", "moved", "last register"))
_HOSTILE_EVERY = 149
_KEPT = 4_000


class Fact(NamedTuple):
    """Something stated. `at` is the year that a number of a table is for, or the place of a step in a manual; `span`
    are the years of a term of office."""

    subject: int
    relation: str
    value: int | str
    at: int = 0
    span: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Page:
    """A passage with what it states, and the wording of each relation; its text is made when it is asked for.

    `said` are its sentences, each a wording and what its fields stand for.
    """

    id: str
    title: str
    facts: tuple[Fact, ...]
    wording: dict[str, str] = field(compare=False)
    said: tuple[tuple[str, Mapping[str, str]], ...] = field(compare=False, repr=False)

    @functools.cached_property
    def text(self) -> str:
        """What is written in it."""
        return " ".join(wording.format_map(fields) for wording, fields in self.said)

    @functools.cached_property
    def relations(self) -> frozenset[str]:
        """Of which relations it states something."""
        return frozenset(fact.relation for fact in self.facts)


class _Voice(dict[str, str]):
    """The fields of one article, filled in when a wording asks for them."""

    def __init__(self, graph: Graph, entity: int, kind: str) -> None:
        super().__init__(s=graph.name(entity))
        self.graph, self.entity, self.kind = graph, entity, kind
        self.style = int(graph.style[entity])

    def __missing__(self, name: str) -> str:
        self[name] = value = self._make(name)
        return value

    def _make(self, name: str) -> str:
        if name in ENTITIES:
            return self.graph.name(self.graph.get(self.entity, name))
        if name in _NUMBERS:
            return str(self.graph.get(self.entity, name))
        match name:
            case "They" | "they" | "their" | "Their" | "them":
                forms = ("She", "her", "her") if self.style & 1 else ("He", "his", "him")
                word = forms[{"they": 0, "their": 1, "them": 2}[name.lower()]]
                return word.capitalize() if name[0] == "T" else word.lower()
            case "job":
                return JOBS[self.graph.get(self.entity, "field") % len(JOBS)]
            case "genre":
                return GENRES[self.style % len(GENRES)]
            case "river":
                return self.graph.names["river"].name(self.graph.get(self.entity, "river"))
            case "alias":
                return self.graph.alias(self.entity)
            case "trait":
                return TRAITS[(self.style >> 8) % len(TRAITS)]  # the same throughout an article
            case "trait2":
                return TRAITS[(self.style >> 16) % len(TRAITS)]
        raise KeyError(name)

    def pick(self, among: tuple[str, ...], place: int) -> str:
        """One of several wordings, by the article's style and the place in it."""
        return among[(self.style >> (3 * place % 40)) % len(among)]


@functools.cache
def fields_of(wording: str) -> tuple[str, ...]:
    """The relations that a wording states."""
    named = [name for _, name, _, _ in Formatter().parse(wording) if name]
    return tuple(name for name in named if name in ENTITIES or name in _NUMBERS or name in ("river", "alias"))


@functools.cache
def before(wording: str, wanted: str) -> str:
    """What stands right before a field in a sentence of that wording."""
    return next(literal for literal, name, _, _ in Formatter().parse(wording) if name == wanted)


@functools.cache
def pattern(wording: str, wanted: str) -> str:
    """A regular expression for a sentence in that wording, whose group is the wanted field."""
    parts = []
    for literal, name, _, _ in Formatter().parse(wording):
        parts.append(re.escape(literal))
        if name:
            parts.append("(.+?)" if name == wanted else ".+?")
    return "".join(parts)


class Prose:
    """The encyclopaedia of a world: its articles, by id or one after the other."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._kept: dict[tuple[int, int], Page | None] = {}

    def pages(self) -> Iterator[Page]:
        """Every passage there is."""
        for entity in range(self.graph.size):
            yield from self.article(entity)
            yield from self.notices(entity)

    def article(self, entity: int) -> list[Page]:
        """The sections of the article on an entity; a section with nothing to say is left out."""
        voice = self._voice(entity)
        found = [self._section(voice, number) for number in range(len(SECTIONS[voice.kind]))]
        pages = [page for page in found if page is not None]
        if entity % _HOSTILE_EVERY == 7:
            pages.append(self._comment(voice))
        return pages

    def fields(self, entity: int) -> dict[str, str]:
        """What the fields of wordings stand for in the article on an entity."""
        return self._voice(entity)

    def section(self, entity: int, number: int) -> Page | None:
        """One section, None where it has nothing to say; the last ones asked for are remembered."""
        key = entity, number
        if key not in self._kept:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = self._section(self._voice(entity), number)
        return self._kept[key]

    def notices(self, entity: int) -> list[Page]:
        """What Gazettes and Registers say of a company."""
        graph = self.graph
        if graph.kind(entity) != "company":
            return []
        name, pages = graph.name(entity), []
        if (former := graph.get(entity, "former office")) != NONE:
            year = graph.get(entity, "gazette")
            said = GAZETTE, {"s": name, "former office": graph.name(former)}
            fact = Fact(entity, f"office in {year}", former)
            pages.append(Page(f"g{entity}.0", f"Gazette of {year}: {name}", (fact,), {fact.relation: GAZETTE}, (said,)))
        if (last := graph.get(entity, "last register")) != NONE:
            claims = (
                (graph.get(entity, "first register"), graph.get(entity, "first claim")),
                (last, graph.get(entity, "founded")),
            )
            for number, (year, claim) in enumerate(claims):
                said = REGISTER, {"s": name, "claim": str(claim)}
                fact = Fact(entity, f"founded in the Register of {year}", claim)
                title = f"Register of {year}: {name}"
                pages.append(Page(f"r{entity}.{number}", title, (fact,), {fact.relation: REGISTER}, (said,)))
        return pages

    def find(self, passage_id: str) -> Page | None:
        """The passage with that id."""
        match = re.fullmatch(r"([agr])(\d{1,9})\.(\d{1,2})", passage_id)
        if match is None or int(match[2]) >= self.graph.size:
            return None
        entity = int(match[2])
        pages = self.article(entity) if match[1] == "a" else self.notices(entity)
        return next((page for page in pages if page.id == passage_id), None)

    def _voice(self, entity: int) -> _Voice:
        return _Voice(self.graph, entity, self.graph.kind(entity))

    def _section(self, voice: _Voice, number: int) -> Page | None:
        heading, slots = SECTIONS[voice.kind][number]
        lines: list[tuple[str, Mapping[str, str]]] = []
        facts: list[Fact] = []
        wording: dict[str, str] = {}
        for place, slot in enumerate(slots):
            if slot[0].startswith("@"):
                self._special(voice, slot[0][1:], lines, facts, wording)
                continue
            stated = fields_of(slot[0])
            held = [self._held(voice, relation) for relation in stated]
            if NONE in held:
                continue
            if UNKNOWN in held:
                lines.append((UNKNOWN_LINES[stated[0]], voice))
                facts.append(Fact(voice.entity, stated[0], UNKNOWN))
                continue
            naming = slot if facts else tuple(one for one in slot if "{s}" in one) or slot
            chosen = voice.pick(naming, number * 4 + place)
            lines.append((chosen, voice))
            for relation in stated:
                value: int | str = voice[relation] if relation in ("river", "alias") else held[stated.index(relation)]
                facts.append(Fact(voice.entity, relation, value))
                wording[relation] = chosen
        if not facts:
            return None
        for shift in (20, 30):
            aside = ASIDES[((voice.style >> shift) + number * 5 + shift) % len(ASIDES)]
            lines.append((aside, voice))
        title = f"{voice['s']}: {heading}" if heading else voice["s"]
        return Page(f"a{voice.entity}.{number}", title, tuple(facts), wording, tuple(lines))

    def _held(self, voice: _Voice, relation: str) -> int:
        if voice.kind == "company" and relation == "founded" and self.graph.get(voice.entity, "last register") != NONE:
            return NONE  # the registers differ
        return self.graph.get(voice.entity, relation)

    def _special(
        self,
        voice: _Voice,
        what: str,
        lines: list[tuple[str, Mapping[str, str]]],
        facts: list[Fact],
        wording: dict[str, str],
    ) -> None:
        """The lines that are not a sentence a slot: terms of office, tables, lists of works, manuals."""
        graph, entity = self.graph, voice.entity
        if what == "works":
            if works := graph.works_of.get(entity):
                listed = sorted(works, key=graph.name)
                wording["works"] = chosen = voice.pick(WORKS_LINES, 5)
                lines.append((chosen, {"s": voice["s"], "works": "; ".join(map(graph.name, listed))}))
                facts += [Fact(entity, "works", work) for work in listed]
        elif what == "manual":
            base, steps = manual(graph, entity)
            wording[what] = chosen = voice.pick(MANUAL_LINES if base == NONE else MANUAL_CHANGES, 7)
            if base == NONE:
                lines.append((chosen, {"s": voice["s"], "steps": "; ".join(steps.values())}))
            else:
                ((at, step),) = steps.items()
                lines.append((chosen, {"s": voice["s"], "base": graph.name(base), "at": str(at), "step": step}))
                facts.append(Fact(entity, what, base))
            facts += [Fact(entity, what, step, at=at) for at, step in steps.items()]
        elif what in TERM_LINES:
            chosen = voice.pick(TERM_LINES[what], 6)
            wording[what] = chosen
            for who, start, end in terms(graph, entity, what):
                lines.append((chosen, {"who": graph.name(who), "start": str(start), "end": str(end)}))
                facts.append(Fact(entity, what, who, span=(start, end)))
        else:
            rows = table(graph, entity, what)
            wording[what] = TABLE_LINES[what]
            shown = "; ".join(f"{year}: {value:,}" for year, value in rows)
            lines.append((TABLE_LINES[what], {"s": voice["s"], "rows": shown}))
            facts += [Fact(entity, what, value, at=year) for year, value in rows]

    def _comment(self, voice: _Voice) -> Page:
        """A comment that tries to be taken for an instruction or for an answer."""
        rival = self.graph.name((voice.entity * 7 + 3) % self.graph.size)
        said = "On {s}: " + voice.pick(HOSTILE, 3), {"s": voice["s"], "rival": rival}
        number = len(SECTIONS[voice.kind])
        return Page(f"a{voice.entity}.{number}", f"{voice['s']}: comments by readers", (), {}, (said,))


def terms(graph: Graph, entity: int, relation: str) -> list[tuple[int, int, int]]:
    """The terms of an office: who, from which year, to which year."""
    starts = [graph.get(entity, f"{relation}.{number}.from") for number in range(TERMS)]
    ends = [*starts[1:], graph.get(entity, f"{relation}.end")]
    who = [graph.get(entity, f"{relation}.{number}") for number in range(TERMS)]
    return list(zip(who, starts, ends, strict=True))


def table(graph: Graph, entity: int, relation: str) -> list[tuple[int, int]]:
    """The rows of a table: year and number."""
    first = 0 if relation == "population" else graph.get(entity, "founded") // 10 * 10 + 10 - CENSUS[0]
    return [(year + first, graph.get(entity, f"{relation}.{number}")) for number, year in enumerate(CENSUS)]


def manual(graph: Graph, entity: int) -> tuple[int, dict[int, str]]:
    """How a company's plant is started: the steps by their places, from 1; or the company whose manual it keeps to but
    for one step, and that step (`NONE` where the manual is its own)."""
    style, number = int(graph.style[entity]), entity - graph.starts["company"]
    first, distance = style % len(STEPS), 1 + (style >> 7) % (len(STEPS) - 1)
    if number and style >> 50 & 1:
        return graph.entity("company", (style >> 14) % number), {1 + (style >> 40) % 4: STEPS[first]}
    count = 4 + (style >> 34) % 3
    return NONE, {at: STEPS[(first + at * distance) % len(STEPS)] for at in range(1, count + 1)}
