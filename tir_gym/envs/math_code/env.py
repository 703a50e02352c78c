"""The domain: one agent, one interpreter (lasting, or new at every call), one final answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tir_gym.core.domain import Domain
from tir_gym.core.interfaces import Limits
from tir_gym.core.task import Task, TaskSet
from tir_gym.core.tool import Toolkit
from tir_gym.core.verify import Verifier
from tir_gym.envs.math_code.families.catalogue import catalogue
from tir_gym.envs.math_code.tasks import make_tasks
from tir_gym.envs.math_code.tools import MathToolkit, StatelessMathToolkit
from tir_gym.envs.math_code.verify import MathVerifier


@dataclass(frozen=True)
class MathCode(Domain):
    """Mathematics with a Python interpreter. Options: seconds a call may take, megabytes an interpreter may use."""

    name: ClassVar[str] = "MathCode"
    description: ClassVar[str] = "Solve a mathematics problem with a Python interpreter whose state lasts."
    instructions: ClassVar[str] = (
        "Solve the problem. You can run Python code as often as you need before you give the final answer."
    )
    floor: ClassVar[float] = 0.02
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": MathToolkit}
    runs_code: ClassVar[bool] = True
    checklist: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"id": "ran", "question": "Did it run code that worked?", "rule": "called", "parameters": {"tool": "python"}},
        {"id": "answered", "question": "Did it answer?", "rule": "answered", "needs": ["ran"]},
        {"id": "solved", "question": "Is the answer right?", "rule": "solved", "needs": ["ran"], "weight": 2.0},
        {"id": "no_repeats", "question": "Did it run no code twice?", "rule": "no_repeated_call", "needs": ["ran"]},
        {"id": "form", "question": "Was every turn well formed?", "rule": "well_formed", "needs": ["ran"]},
    )

    call_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    memory_mb: Annotated[int, Field(ge=32)] = 512

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        """Generated families, or the file of a known benchmark ("gsm8k:PATH")."""
        return make_tasks(source, split, difficulty)

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        """The `python` tool."""
        return MathToolkit(self.call_timeout_s)

    def verifier(self) -> Verifier:
        """Equivalence of the final answer with gold."""
        return MathVerifier()

    def limits(self) -> Limits:
        """The options as limits of a session."""
        return Limits(wall_s=self.call_timeout_s, memory_mb=self.memory_mb)

    def catalogue(self) -> list[dict[str, object]]:
        """The generated families, with the figures that were measured of them."""
        return catalogue()


@dataclass(frozen=True)
class MathCodeStateless(MathCode):
    """The same tasks and verdict with an interpreter that is new at every call. Options as of `MathCode`."""

    name: ClassVar[str] = "MathCodeStateless"
    description: ClassVar[str] = "Solve a mathematics problem with a Python interpreter that forgets after every call."
    instructions: ClassVar[str] = (
        "Solve the problem. You can run Python code as often as you need before you give the final answer. "
        "Every run begins in a new interpreter: define and import again whatever it uses."
    )
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": StatelessMathToolkit}

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        """The `python` tool, without a memory."""
        return StatelessMathToolkit(self.call_timeout_s)
