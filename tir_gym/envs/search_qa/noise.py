"""NoisyBench's three kinds of noise, put before the question: random documents, random chat, hard negatives.

The ids of what was put in are in `gold.data["distractors"]`, so that rewards can tell it from the sources.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from tir_gym.core.interfaces import Passage, Retriever
from tir_gym.core.seeding import derive
from tir_gym.core.task import Gold, Task, TaskSet
from tir_gym.envs.search_qa.library import library_of

Noise = Literal["none", "random_documents", "random_chat", "hard_negatives"]
_NEAR = 30
"""Hits of the question among which hard negatives are chosen."""

_CHAT = (
    ("Can you recommend a soup for a cold evening?", "Leek and potato, with a little nutmeg at the end."),
    ("My bicycle squeaks when it rains.", "Dry the chain and give it two drops of oil; wipe off the rest."),
    ("What rhymes with lantern?", "Hardly anything does; try to turn the line round."),
    ("How long should I let the dough rest?", "An hour in a warm room, or overnight in a cold one."),
    ("Shorten this for me: the meeting has been moved to Tuesday at ten.", "Meeting now Tuesday at ten."),
    ("Which plant survives in a dark hall?", "An aspidistra will hardly notice."),
    ("I keep forgetting birthdays.", "Put them all into one calendar, a week early."),
    ("Is it worth repairing an old radio?", "If you like the case, yes; the parts are cheap."),
    ("Give me a title for a story about a ferry.", "The Last Crossing but One."),
    ("How do I fold a fitted sheet?", "Tuck two corners into the other two, then fold it as any other."),
)


class NoisyTasks(TaskSet):
    """The tasks of a set with noise before each question. `seed` and the task's id fix what it is."""

    def __init__(self, base: TaskSet, noise: Noise, count: int, corpus: str = "") -> None:
        self.name, self.size = base.name, base.size
        self._base, self._noise, self._count, self._corpus = base, noise, count, corpus

    def task(self, seed: int, index: int) -> Task:
        """The task of the set there, with noise."""
        return self._disturbed(self._base.task(seed, index))

    def find(self, task_id: str) -> Task:
        """The task of the set with that id, with noise."""
        return self._disturbed(self._base.find(task_id))

    @property
    def fingerprint(self) -> str:
        """That of the set, and what is done to it."""
        return f"{self._base.fingerprint}/{self._noise}/{self._count}/{self._corpus}"

    def __repr__(self) -> str:
        return f"NoisyTasks({self._base!r}, {self._noise!r}, {self._count}, {self._corpus!r})"

    def _disturbed(self, task: Task) -> Task:
        rng = random.Random(derive("noise", self._noise, task.id))
        if self._noise == "random_chat":
            turns = rng.sample(_CHAT, min(self._count, len(_CHAT)))
            lines = [f"User: {said}\nAssistant: {reply}" for said, reply in turns]
            ids = [f"chat-{_CHAT.index(turn)}" for turn in turns]
        else:
            retriever = library_of({"index": self._corpus} if self._corpus else task.data).retriever
            passages = _CHOOSE[self._noise](retriever, task, rng, self._count)
            lines = [f"[{one.id}] {one.title}\n{one.text}" for one in passages]
            ids = [one.id for one in passages]
        gold = replace(task.gold, data={**task.gold.data, "noise": self._noise, "distractors": ids})
        return replace(task, prompt="\n\n".join([*lines, task.prompt]), gold=gold)


def _random_documents(retriever: Retriever, task: Task, rng: random.Random, count: int) -> list[Passage]:
    """Passages of the same corpus, but for the sources."""
    corpus = _corpus_of(retriever)
    found: dict[str, Passage] = {}
    for _ in range(20 * count):
        passage = corpus[rng.randrange(len(corpus))]
        if _harmless(passage, task.gold) and len(found) < count:
            found[passage.id] = passage
    return list(found.values())


def _hard_negatives(retriever: Retriever, task: Task, rng: random.Random, count: int) -> list[Passage]:
    """Passages that the question itself finds, but for the sources and those that hold the answer."""
    hits = [Passage(hit.id, hit.title, hit.text) for hit in retriever.search([task.prompt], _NEAR)[0]]
    near = [passage for passage in hits if _harmless(passage, task.gold)][: 2 * count]
    return rng.sample(near, min(count, len(near)))


_CHOOSE: dict[str, Callable[[Retriever, Task, random.Random, int], list[Passage]]] = {
    "random_documents": _random_documents,
    "hard_negatives": _hard_negatives,
}


def _harmless(passage: Passage, gold: Gold) -> bool:
    answers = [gold.answer] if isinstance(gold.answer, str) else list(gold.answer)
    return passage.id not in gold.data.get("sources", ()) and not any(str(one) in passage.text for one in answers)


def _corpus_of(retriever: Any) -> Any:
    """The passages behind a retriever. Raises `ValueError` where it does not hold them itself."""
    while hasattr(retriever, "inner"):
        retriever = retriever.inner
    if not hasattr(retriever, "corpus"):
        raise ValueError(f"noise='random_documents' needs an index that holds its passages, not {retriever!r}")
    return retriever.corpus
