"""The domain: one agent, a shelf of unknown items, and an interpreter."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tir_gym.core.domain import Domain
from tir_gym.core.interfaces import Limits, World
from tir_gym.core.task import Task, TaskSet
from tir_gym.core.tool import Tool, Toolkit
from tir_gym.core.verify import Verifier
from tir_gym.envs.opaque_knapsack.tasks import make_tasks, sizes
from tir_gym.envs.opaque_knapsack.tools import KnapsackToolkit, StatelessKnapsackToolkit
from tir_gym.envs.opaque_knapsack.verify import KnapsackVerifier
from tir_gym.envs.opaque_knapsack.world import Shelf


@dataclass(frozen=True)
class OpaqueKnapsack(Domain):
    """A knapsack. Options: whether the interpreter lasts, seconds a call may take, megabytes an interpreter may use."""

    name: ClassVar[str] = "OpaqueKnapsack"
    description: ClassVar[str] = "Fill a knapsack with items whose weight, value and class only inspections reveal."
    instructions: ClassVar[str] = (
        "Choose the most valuable items that the limits allow. Inspect items to learn what they are, and compute with "
        "Python code what to choose. Then answer with the labels of the items you choose, separated by commas, "
        "and nothing else."
    )
    floor: ClassVar[float] = 0.0
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": KnapsackToolkit}
    runs_code: ClassVar[bool] = True
    checklist: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"id": "looked", "question": "Did it inspect items?", "rule": "called", "parameters": {"tool": "inspect"}},
        {
            "id": "computed",
            "question": "Did it compute with what it had seen?",
            "rule": "called_before",
            "parameters": {"first": "inspect", "second": "python"},
            "needs": ["looked"],
        },
        {"id": "solved", "question": "Is the choice the best?", "rule": "solved", "needs": ["computed"], "weight": 2.0},
        {"id": "no_repeats", "question": "Was no call made twice?", "rule": "no_repeated_call", "needs": ["looked"]},
    )

    interpreter: Literal["persistent", "stateless"] = "persistent"
    call_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    memory_mb: Annotated[int, Field(ge=32)] = 512

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        """Generated shelves."""
        return make_tasks(source, split, difficulty)

    def world(self, task: Task, seed: int) -> World:
        """The shelf, with nothing inspected."""
        return Shelf(task.data["items"], task.data["budget"], task.data["per_turn"])

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        """`inspect` and `python`."""
        return self._kind(world, task.data["at_most"], self.call_timeout_s)

    def declared_tools(self, actor: str) -> tuple[Tool, ...]:
        """`inspect`, and the `python` of the interpreter that was chosen."""
        return self._kind.declared()

    @property
    def _kind(self) -> type[KnapsackToolkit] | type[StatelessKnapsackToolkit]:
        return StatelessKnapsackToolkit if self.interpreter == "stateless" else KnapsackToolkit

    def verifier(self) -> Verifier:
        """The chosen items' value against the optimum."""
        return KnapsackVerifier()

    def limits(self) -> Limits:
        """The options as limits of a session."""
        return Limits(wall_s=self.call_timeout_s, memory_mb=self.memory_mb)

    def catalogue(self) -> list[dict[str, object]]:
        """The sizes, one row each."""
        return sizes()
