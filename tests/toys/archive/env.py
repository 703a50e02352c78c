"""Retrieval through a request: two questions to a card index, the second made from the first one's answer."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar

from tir_gym.core.domain import Domain
from tir_gym.core.interfaces import Hit, Passage, Retriever
from tir_gym.core.requests import Retrieve
from tir_gym.core.task import Draft, GeneratedTasks, Gold, Task, TaskSet
from tir_gym.core.tool import Output, Toolkit, ToolRun, tool
from tir_gym.core.transcript import TextPart
from tir_gym.core.verify import Evidence, Score, Verifier


class CardIndex(Retriever):
    """Cards by the words that they share with the query, a title counting twice."""

    def __init__(self, cards: Mapping[str, str]) -> None:
        self._cards = dict(cards)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self._best(query, k) for query in queries]

    def get(self, doc_id: str) -> Passage:
        return Passage(doc_id, doc_id, self._cards[doc_id])

    @property
    def content_hash(self) -> str:
        return sha256(repr(self._cards).encode()).hexdigest()

    def _best(self, query: str, k: int) -> list[Hit]:
        words = set(query.lower().split())
        hits = [
            Hit(title, float(2 * (title in words) + len(words & set(text.split()))), title, text)
            for title, text in self._cards.items()
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))[:k]


class ReadingRoom(Toolkit):
    """The index, one query at a time."""

    def __init__(self, index: CardIndex) -> None:
        super().__init__()
        self._index = index

    @tool(kind="evidence", latency_s=0.2, parallel_safe=True)
    def search(self, query: str) -> ToolRun:
        """Search the card index.

        Args:
            query: A few words.
        """
        ((hit, *_),) = yield Retrieve(self._index, [query], 1)
        return Output((TextPart(f"{hit.title}: {hit.text}"),), f"{hit.title}: {hit.text}", {"hits": [hit.id]})


def draw(rng: random.Random, level: int) -> Draft:
    codes = rng.sample(range(10_000, 100_000), 8)
    people, towns = [f"person-{code}" for code in codes[:4]], [f"town-{code}" for code in codes[4:]]
    cards = {person: f"born in {town}" for person, town in zip(people, towns, strict=True)}
    years = rng.sample(range(800, 2_000), 4)
    cards |= {town: f"founded in {year}" for town, year in zip(towns, years, strict=True)}
    prompt = f"When was the town founded in which {people[0]} was born?"
    return Draft(prompt, Gold(str(years[0]), plan=people[0]), "archive", {"cards": cards})


class SameYear(Verifier):
    def score(self, evidence: Evidence, gold: Gold) -> Score:
        return Score(float(evidence.answer is not None and evidence.answer.text.strip() == gold.answer))


@dataclass(frozen=True)
class Archive(Domain):
    name: ClassVar[str] = "Archive"
    description: ClassVar[str] = "Find a year in a card index by two searches."
    instructions: ClassVar[str] = "Answer with the year. You can search a card index."
    floor: ClassVar[float] = 0.02
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": ReadingRoom}

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        return GeneratedTasks("archive", draw, split=split, difficulty=difficulty)

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        return ReadingRoom(CardIndex(task.data["cards"]))

    def verifier(self) -> Verifier:
        return SameYear()
