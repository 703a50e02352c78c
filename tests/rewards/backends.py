"""A domain whose tools come from data: it takes the calls that public sets want, and answers each with a fixed text."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, create_model

from tir_gym.core.domain import Budget, Domain, Setting
from tir_gym.core.schema import EpisodeRecord
from tir_gym.core.task import Gold, Task, TaskSet
from tir_gym.core.tool import Effect, Tool, ToolKind, Toolkit
from tir_gym.core.verify import Evidence, Score, Verifier
from tir_gym.drivers.env import ToolEnv
from tir_gym.protocols import protocol
from tir_gym.rewards import RewardProgram
from tir_gym.rollout import record_of, reward


class Backend(Toolkit):
    """Tools with these parameters; which of them are required does not matter to it."""

    def __init__(self, functions: Mapping[str, Sequence[str]]) -> None:
        self._tools = {name: _tool(name, tuple(parameters)) for name, parameters in functions.items()}


@functools.cache
def _tool(name: str, parameters: tuple[str, ...]) -> Tool:
    fields: dict[str, Any] = {f"argument_{n}": (Any, Field(None, alias=p)) for n, p in enumerate(parameters)}
    arguments = create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)
    return Tool(name, "Does it.", ToolKind.ACTION, Effect.READ, 0.0, 0.0, False, False, 8_000, arguments, _done)


def _done(self: Toolkit, **arguments: Any) -> str:
    return "done"


class Answered(Verifier):
    def score(self, evidence: Evidence, gold: Gold) -> Score:
        return Score(float(evidence.answer is not None))


class Rows(TaskSet):
    """Tasks in a list."""

    def __init__(self, name: str, tasks: Sequence[Task]) -> None:
        self.name, self.size = name, len(tasks)
        self._tasks = [replace(task, index=index) for index, task in enumerate(tasks)]
        self._by_id = {task.id: task for task in self._tasks}

    def task(self, seed: int, index: int) -> Task:
        return self._tasks[index]

    def find(self, task_id: str) -> Task:
        return self._by_id[task_id]

    @property
    def fingerprint(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Rows({self.name!r})"


@dataclass(frozen=True)
class Calls(Domain):
    """The tools of each task are in its data: names with their parameters."""

    name: ClassVar[str] = "Calls"
    description: ClassVar[str] = "Make the calls that are wanted."
    instructions: ClassVar[str] = "Make the calls that are wanted."
    floor: ClassVar[float] = 1.0
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": Backend}

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        raise LookupError("these tasks are given")

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        return Backend(task.data["functions"])

    def verifier(self) -> Verifier:
        return Answered()


class Bench:
    """Plays turns of tasks and gives the rewards of the record, which must be those of the file."""

    def __init__(self, name: str, tasks: Sequence[Task], program: RewardProgram, syntax: str, turns: int = 1) -> None:
        self.setting = Setting("test/Calls", Calls(), Rows(name, tasks), protocol(syntax), program, Budget(turns))
        self.env = ToolEnv(self.setting, None)

    def play(self, task_id: str, *turns: Any) -> EpisodeRecord:
        self.env.reset(seed=0, options={"task_id": task_id})
        for turn in turns:
            *_, info = self.env.step(turn)
        record = record_of(self.env)
        assert info["rewards"] == {**record.rewards, "total": record.total} or record.total != record.total
        loaded = EpisodeRecord.model_validate_json(record.model_dump_json())
        assert reward(loaded, setting=self.setting).model_dump_json() == record.model_dump_json()
        assert record.reward_faults == {}
        return record

    def close(self) -> None:
        self.env.close()
