"""From a form to a plan: searches and the sentences to look for, for the oracle; it holds no answer, only wordings.

A plan is JSON data: `constants` (what the question names), `steps`, `parts` (the slots that are the answer), `lead`,
`cite` (whether to cite what was read). Each step fills a slot from other slots:

- `read`: search for `query`, in the passage called `title` find `pattern`; both have slots as `{0}`, `{1}`;
  `each` is a slot that holds several, for each of which that is done; `split` makes several of what is found; with
  `year` the pattern has three groups, from, to and who.
- `who`: search for `query`, find a passage that holds all `texts`; what it is about is found.
- `collect`: search for each of `queries`; what all the passages are about that hold one of `texts` is found.
- `best`, `later`, `count`, `minus`, `sum`, `replaced`, `before`: work on slots.
"""

import functools
import re
from string import Formatter
from typing import Any

from tir_gym.envs.search_qa.proof import (
    Before,
    Best,
    Both,
    Cell,
    Count,
    Form,
    Get,
    Holders,
    Known,
    Later,
    Latest,
    Minus,
    Named,
    Steps,
    Sum,
    Term,
    Truth,
    Works,
    answer,
)
from tir_gym.envs.search_qa.world.graph import NONE
from tir_gym.envs.search_qa.world.prose import Prose, before, manual, pattern
from tir_gym.envs.search_qa.world.wording import REGISTER, SECTIONS, UNKNOWN_LINES, WORKS_LINES

Step = dict[str, Any]
_MANY = 8
"""Passages that a search brings which looks for all there are."""


def compile_plan(parts: tuple[Form, ...], lead: str, prose: Prose, cite: bool) -> dict[str, Any]:
    """The plan that answers a question with these parts."""
    compiler = _Compiler(prose)
    slots = [compiler.slot(form) for form in parts]
    return {"constants": compiler.constants, "steps": compiler.steps, "parts": slots, "lead": lead, "cite": cite}


class _Compiler:
    """Collects the steps; equal forms share a slot."""

    def __init__(self, prose: Prose) -> None:
        self.prose = prose
        self.truth = Truth(prose)
        self.steps: list[Step] = []
        self.constants: dict[str, str] = {}
        self._slots: dict[Form, str] = {}

    def slot(self, form: Form) -> str:
        """The slot that holds the value of a form."""
        if form not in self._slots:
            self._slots[form] = self._made(form)
        return self._slots[form]

    def _made(self, form: Form) -> str:
        match form:
            case Named(entity):
                return self._constant(self.prose.graph.name(entity))
            case Known(alias):
                return self._step(do="who", query=alias, texts=[alias], needs=[])
            case Both(first, one, second, other, entity):
                names = [self.prose.graph.name(one), self.prose.graph.name(other)]
                wording = self.truth.page(entity, first).wording
                texts = [before(wording[first], first) + names[0], before(wording[second], second) + names[1]]
                query = f"{' '.join(names)} {self._words(entity, first)} {self._words(entity, second)}"
                return self._step(do="who", query=query, texts=texts, needs=[])
            case Get(of, relation):
                return self._read(of, relation)
            case Term(of, relation, year):
                when = self._constant(str(year)) if isinstance(year, int) else self.slot(year)
                return self._read(of, relation, when=when)
            case Cell(of, relation, year):
                return self._read(of, relation, found=rf"{year}: (-?[\d,]+)")
            case Latest(of):
                return self._latest(of)
            case Works(of):
                return self._read(of, "works", split="; ")
            case Later(among, relation, limit):
                return self._step(do="later", of=self._numbers(among, relation), limit=limit)
            case Best(among, relation, last):
                return self._step(do="best", of=self._numbers(among, relation), last=last)
            case Count(among):
                return self._step(do="count", of=self.slot(among))
            case Minus(one, other):
                return self._step(do="minus", of=self.slot(one), other=self.slot(other))
            case Sum(of):
                return self._step(do="sum", all=[self.slot(one) for one in of])
            case Steps(of):
                return self._manual(of)
            case Holders(kind, relation, value):
                return self._collect(kind, relation, self.prose.graph.name(value))
            case Before(one, other):
                return self._step(do="before", of=self.slot(one), other=self.slot(other))

    def _constant(self, text: str) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = text
        return name

    def _step(self, **step: Any) -> str:
        name = f"s{len(self.steps)}"
        self.steps.append({**step, "to": name})
        return name

    def _numbers(self, among: Any, relation: str) -> str:
        """The slot of a mapping from entities to their numbers."""
        if isinstance(among, Later):
            return self.slot(among)
        if isinstance(among, Works):
            work = self.prose.graph.works_of[self._entity(among.of)][0]
            patterns = {self._pattern(each, relation) for each in self.prose.graph.works_of[self._entity(among.of)]}
            step = self._page_of(work, relation) | {"pattern": "|".join(sorted(patterns))}
            return self._step(do="read", needs=[self.slot(among)], each=True, **step)
        pairs = [(self.slot(one), self.slot(Get(one, relation))) for one in among]
        return self._step(do="pairs", needs=[], pairs=[list(pair) for pair in pairs])

    def _read(self, of: Form, relation: str, *, when: str = "", found: str = "", split: str = "") -> str:
        entity = self._entity(of)
        step = self._page_of(entity, relation) | {"pattern": found or self._pattern(entity, relation)}
        if when:
            step["year"] = when
        if split:
            step["split"] = split
        return self._step(do="read", needs=[self.slot(of)], **step)

    def _latest(self, of: Form) -> str:
        year = self._read(of, "last register")
        step = {
            "title": "Register of {1}: {0}",
            "query": "Register of {1}: {0} foundation",
            "pattern": pattern(REGISTER, "claim"),
        }
        return self._step(do="read", needs=[self.slot(of), year], **step)

    def _manual(self, of: Form) -> str:
        """The manual, and those it keeps to one after the other; each change, the last one first, put in its place."""
        slot, entity, changes = self.slot(of), self._entity(of), []
        while (base := manual(self.prose.graph, entity)[0]) != NONE:
            page, wording = self._page_of(entity, "manual"), self.truth.page(entity, "manual").wording["manual"]
            needs = [slot]
            changes.append(
                [self._step(do="read", needs=needs, **page, pattern=pattern(wording, name)) for name in ("at", "step")]
            )
            slot = self._step(do="read", needs=needs, **page, pattern=pattern(wording, "base"))
            entity = base
        page, wording = self._page_of(entity, "manual"), self.truth.page(entity, "manual").wording["manual"]
        steps = self._step(do="read", needs=[slot], **page, pattern=pattern(wording, "steps"), split="; ")
        return self._step(do="replaced", of=steps, pairs=changes[::-1])

    def _collect(self, kind: str, relation: str, name: str) -> str:
        """A search for each wording in which an article may say it."""
        slots = [slot for _, slots in SECTIONS[kind] for slot in slots if f"{{{relation}}}" in slot[0]]
        heading = next(heading for heading, slots_ in SECTIONS[kind] if slots[0] in slots_)
        told = [before(wording, relation) + name for slot in slots for wording in slot]
        return self._step(
            do="collect", queries=[f"{one} {heading}".strip() for one in told], k=_MANY, texts=told, needs=[]
        )

    def _entity(self, form: Form) -> int:
        return int(answer(form, self.truth))

    def _page_of(self, entity: int, relation: str) -> Step:
        """The title of the passage that states it, with the entity's name left open, and what to search for."""
        title = self.truth.page(entity, relation).title.replace(self.prose.graph.name(entity), "{0}")
        return {"title": title, "query": f"{title} {self._words(entity, relation)}".strip()}

    def _words(self, entity: int, relation: str) -> str:
        """Words of the sentence that states a relation."""
        return _literal(self.truth.page(entity, relation).wording.get(relation) or UNKNOWN_LINES[relation])

    def _pattern(self, entity: int, relation: str) -> str:
        """What the sentence looks like; "" where it says that it is not recorded."""
        wording = self.truth.page(entity, relation).wording.get(relation)
        if wording is None:
            return ""
        if wording in WORKS_LINES:
            return pattern(wording, "works")
        if "{who}" in wording:
            return _term(wording)
        return pattern(wording, "former office" if relation.startswith("office in") else relation)


@functools.cache
def _literal(wording: str) -> str:
    """The words of a wording that are the same whatever it is about, but for short ones."""
    literal = " ".join(part for part, _, _, _ in Formatter().parse(wording))
    return " ".join(re.findall(r"\b[a-z]{4,}\b", literal))


@functools.cache
def _term(wording: str) -> str:
    """A regular expression for a term of office in that wording: from, to and who."""
    found = re.escape(wording).replace(r"\{who\}", "(.+?)")
    return found.replace(r"\{start\}", r"(\d+)").replace(r"\{end\}", r"(\d+)")
