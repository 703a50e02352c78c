"""Two policies: one can read the word, the other can submit it, and they can only talk."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tir_gym.core.domain import Actor, Domain
from tir_gym.core.task import Draft, GeneratedTasks, Gold, Task, TaskSet
from tir_gym.core.tool import Submit, Toolkit, tool
from tir_gym.core.verify import Evidence, Score, Verifier


class ReaderToolkit(Toolkit):
    def __init__(self, word: str) -> None:
        super().__init__()
        self._word = word

    @tool(kind="evidence")
    def read(self) -> str:
        """Read the secret word."""
        return self._word


class WriterToolkit(Toolkit):
    @tool(kind="control", effect="write")
    def submit(self, word: str) -> Submit:
        """Submit the word; this ends the episode."""
        return Submit(word)


def draw(rng: random.Random, level: int) -> Draft:
    word = "".join(rng.choice("aeioumnrst") for _ in range(5 + level))
    return Draft(
        f"Case {rng.getrandbits(32)}: bring the word from reader to writer.", Gold(word, word), "word", {"word": word}
    )


class SameWord(Verifier):
    def score(self, evidence: Evidence, gold: Gold) -> Score:
        answer = evidence.answer
        return Score(float(answer is not None and answer.origin == "call" and answer.text == gold.answer))


@dataclass(frozen=True)
class Handover(Domain):
    name: ClassVar[str] = "Handover"
    description: ClassVar[str] = "Two policies bring a word from one to the other."
    instructions: ClassVar[str] = "Work together: messages are all that the other one reads."
    floor: ClassVar[float] = 0.02
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"reader_0": ReaderToolkit, "writer_0": WriterToolkit}
    actors: ClassVar[tuple[Actor, ...]] = (Actor("reader_0"), Actor("writer_0"))
    first: ClassVar[str] = "reader_0"

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        return GeneratedTasks("handover", draw, split=split, difficulty=difficulty)

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        return ReaderToolkit(task.data["word"]) if actor == "reader_0" else WriterToolkit()

    def verifier(self) -> Verifier:
        return SameWord()
