"""The domain: one agent, a catalogue of tools to search, a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tir_gym.core.domain import Domain
from tir_gym.core.task import Task, TaskSet
from tir_gym.core.tool import Toolkit
from tir_gym.core.verify import Verifier
from tir_gym.envs.tool_retrieval.catalogue import index_of
from tir_gym.envs.tool_retrieval.tasks import make_tasks
from tir_gym.envs.tool_retrieval.tools import CounterToolkit
from tir_gym.envs.tool_retrieval.verify import Measure, ToolsVerifier


@dataclass(frozen=True)
class ToolRetrieval(Domain):
    """Requests for tools. Options: how the answer is measured, tools a search brings, tools there are."""

    name: ClassVar[str] = "ToolRetrieval"
    description: ClassVar[str] = "Name the tools for a request, found by searching thousands of descriptions."
    instructions: ClassVar[str] = (
        "Find the tool for each need of the request by searching the descriptions. Your final answer is the names of "
        "the tools in the order of the needs, separated by semicolons. Write none for a need that no tool meets."
    )
    floor: ClassVar[float] = 0.0
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": CounterToolkit}
    checklist: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"id": "searched", "question": "Did it search?", "rule": "called", "parameters": {"tool": "search"}},
        {"id": "answered", "question": "Did it answer?", "rule": "answered", "needs": ["searched"]},
        {"id": "solved", "question": "Are these the tools?", "rule": "solved", "needs": ["searched"], "weight": 2.0},
    )

    measure: Measure = "complete"
    top_k: Annotated[int, Field(ge=1, le=20)] = 5
    catalogue_size: Annotated[int, Field(ge=100, le=20_000)] = 3_000

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        """Generated requests, or MetaTool's queries ("metatool:FOLDER")."""
        return make_tasks(source, split, difficulty, self.catalogue_size)

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        """The search, over the task's catalogue."""
        return CounterToolkit(index_of(task.data), self.top_k)

    def verifier(self) -> Verifier:
        """The names against gold's."""
        return ToolsVerifier(self.measure, self.top_k)
