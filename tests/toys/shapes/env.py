"""A tool that returns images: count the bright pixels of a picture too dark to read without `brighten`."""

import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tests.toys.shapes.manual import Manual
from tir_gym.core.domain import Domain
from tir_gym.core.requests import Retrieve
from tir_gym.core.seeding import derive
from tir_gym.core.task import Draft, GeneratedTasks, Gold, Task, TaskSet
from tir_gym.core.tool import Output, Toolkit, tool
from tir_gym.core.transcript import ImagePart, TextPart
from tir_gym.core.verify import Evidence, Score, Verifier

SIDE = 32


def draw(rng: random.Random, level: int) -> Draft:
    count = rng.randrange(50, 900)
    picture = rng.getrandbits(40)
    prompt = f"How many pixels of picture {picture} are lit? Ask the manual which tool shows them."
    return Draft(prompt, Gold(str(count), plan=picture), "pixels", {"count": count, "picture": picture})


def paint(count: int, picture: int, level: int) -> NDArray[np.uint8]:
    pixels = np.zeros(SIDE * SIDE, np.uint8)
    pixels[np.random.default_rng(picture).permutation(SIDE * SIDE)[:count]] = level
    return np.repeat(pixels.reshape(SIDE, SIDE, 1), 3, axis=2)


class ShapesToolkit(Toolkit):
    def __init__(self, count: int, picture: int) -> None:
        super().__init__()
        self._count, self._picture, self._shown = count, picture, 0

    @tool(kind="perception", parallel_safe=True, latency_s=0.5)
    def brighten(self, factor: int) -> Output:
        """Show the picture brighter.

        Args:
            factor: how many times brighter, 1 to 200
        """
        self._shown += 1
        pixels = paint(self._count, self._picture, min(255, factor))
        return Output((TextPart("the picture:"), ImagePart(f"picture-{factor}", pixels)), facts={"factor": factor})

    @tool(kind="perception")
    def count_lit(self, threshold: int = 128) -> int:
        """Count the pixels of the picture shown last that are brighter than a threshold."""
        return self._count if self._shown and threshold < 200 else 0

    @tool(kind="evidence", parallel_safe=True)
    def manual(self, query: str) -> Generator[Retrieve, list[list[object]], str]:
        """Search the manual."""
        (hits,) = yield Retrieve(Manual(), [query], 1)
        return hits[0].text if hits else "nothing found"


class LitPixels(Verifier):
    def score(self, evidence: Evidence, gold: Gold) -> Score:
        looked = any(call.facts.get("factor") for call in evidence.calls)
        right = evidence.answer is not None and evidence.answer.text.strip() == gold.answer
        return Score(float(right and looked))


@dataclass(frozen=True)
class Shapes(Domain):
    name: ClassVar[str] = "Shapes"
    description: ClassVar[str] = "Look at a picture through tools."
    instructions: ClassVar[str] = "Use the tools to look, then answer with a number."
    floor: ClassVar[float] = 0.02
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": ShapesToolkit}
    image_shape: ClassVar[tuple[int, int, int]] = (SIDE, SIDE, 3)

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        return GeneratedTasks("shapes", draw, split=split, difficulty=difficulty)

    def images(self, actor: str, task: Task) -> tuple[ImagePart, ...]:
        return (ImagePart("dark", paint(task.data["count"], task.data["picture"], 1)),)

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        return ShapesToolkit(task.data["count"], derive(task.data["picture"]))

    def verifier(self) -> Verifier:
        return LitPixels()
