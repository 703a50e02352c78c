"""A terminal: find the file that holds a word, count its lines, and hand the count in as a file."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tir_gym.core.domain import Domain
from tir_gym.core.task import Draft, GeneratedTasks, Gold, Task, TaskSet
from tir_gym.core.tool import Submit, Toolkit, ToolRun, tool
from tir_gym.core.verify import Evidence, Score, Verifier
from tir_gym.tools.terminal import TerminalToolkit

ANSWER = "answer.txt"
WORDS = ("anchor", "basin", "cable", "davit", "fender", "gangway", "hawser", "jetty", "keel", "lantern", "mast", "oar")


class Desk(TerminalToolkit):
    """The terminal, and the way to hand in."""

    @tool(kind="control", effect="read", from_code=False)
    def hand_in(self) -> ToolRun:
        """Hand in what answer.txt holds; this ends the episode."""
        text: str = yield from self.fetch(ANSWER)
        return Submit(text.strip())


def draw(rng: random.Random, level: int) -> Draft:
    counts = rng.sample(range(10, 210), 3 + level)
    files = {f"drawer-{n % 3}/paper-{n}.txt": rng.choices(WORDS, k=count) for n, count in enumerate(counts)}
    number = rng.randrange(len(counts))
    word = f"kelp-{rng.getrandbits(32)}"
    files[f"drawer-{number % 3}/paper-{number}.txt"][rng.randrange(counts[number])] = word
    prompt = f"How many lines has the one file that holds the word {word}? Write the number to {ANSWER} and hand it in."
    content = {path: "\n".join(lines) + "\n" for path, lines in files.items()}
    return Draft(prompt, Gold(str(counts[number]), plan=word), "papers", {"files": content})


class HandedIn(Verifier):
    def score(self, evidence: Evidence, gold: Gold) -> Score:
        answer = evidence.answer
        return Score(float(answer is not None and answer.origin == "call" and answer.text == gold.answer))


@dataclass(frozen=True)
class Papers(Domain):
    name: ClassVar[str] = "Papers"
    description: ClassVar[str] = "Find a file by a word in it and count its lines, in a shell."
    instructions: ClassVar[str] = "You work in a terminal. Hand your answer in as a file."
    floor: ClassVar[float] = 0.02
    runs_code: ClassVar[bool] = True
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": Desk}

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        return GeneratedTasks("papers", draw, split=split, difficulty=difficulty)

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        return Desk(files={path: text.encode() for path, text in task.data["files"].items()})

    def verifier(self) -> Verifier:
        return HandedIn()
