"""What one folder of `envs/` provides, and the setting in which its episodes are played."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tir_gym.core.interfaces import Limits, Protocol, User, World, require_positive
from tir_gym.core.task import Task, TaskSet
from tir_gym.core.tool import Tool, Toolkit
from tir_gym.core.transcript import ImagePart
from tir_gym.core.verify import Rewards, Verifier


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of one policy actor in one episode; seconds are on the virtual clock."""

    turns: int = 8
    calls: int = 64
    virtual_s: float = 3600.0

    def __post_init__(self) -> None:
        require_positive(self, whole=("turns", "calls"))


@dataclass(frozen=True, slots=True)
class Actor:
    """Someone who moves in an episode: a policy, or (with `scripted`) a `User` that the environment plays."""

    name: str
    scripted: bool = False


class Domain(ABC):
    """A kind of task: its tasks, tools, world, users and verifier. Instances are immutable and picklable.

    A subclass is a frozen dataclass whose fields are the options of `gym.make`.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    """One sentence for `tir-gym list`."""
    instructions: ClassVar[str]
    """What every policy is told first, whatever the task."""
    floor: ClassVar[float]
    """The best score that a policy blind to the observation can reach on a split."""
    actors: ClassVar[tuple[Actor, ...]] = (Actor("agent"),)
    first: ClassVar[str] = "agent"
    runs_code: ClassVar[bool] = False
    """True where a tool runs code in a session: `reset` then makes sure that it can."""
    toolkits: ClassVar[Mapping[str, type[Toolkit]]]
    """The class of each actor's tools."""
    image_shape: ClassVar[tuple[int, int, int] | None] = None
    """(height, width, 3) where observations carry images."""

    @abstractmethod
    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        """The task set named by `source` ("NAME:PATH" for a file), or the domain's own for None.

        Raises `ValueError` that names the sources there are.
        """

    @abstractmethod
    def verifier(self) -> Verifier:
        """The judge of this domain's episodes."""

    def world(self, task: Task, seed: int) -> World | None:
        """The state behind the tools in a new episode, or None. The task comes without its gold part."""
        return None

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        """The tools of an actor in a new episode, over the world that `world` made; gold is not in the task."""
        return self.toolkits[actor]()

    def user(self, actor: str, task: Task, seed: int) -> User:
        """The player of a scripted actor in a new episode."""
        raise LookupError(f"domain {self.name!r} declares no scripted actor {actor!r}")

    def briefing(self, actor: str, task: Task) -> str:
        """What a policy actor is told of the task, after the system prompt."""
        return task.prompt

    def images(self, actor: str, task: Task) -> tuple[ImagePart, ...]:
        """The images that come with the briefing."""
        return ()

    def limits(self) -> Limits:
        """Limits of an interpreter session."""
        return Limits()

    def declared_tools(self, actor: str) -> tuple[Tool, ...]:
        """Every tool an actor may ever be offered."""
        return self.toolkits[actor].declared()


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that makes an episode what it is, but for its task and seed; picklable."""

    env_id: str
    domain: Domain
    tasks: TaskSet
    protocol: Protocol
    rewards: Rewards
    budget: Budget = Budget()
    max_chars: int = 200_000
    """A longer completion is the format error `overlong`, and nothing of it is run."""
    void_ends: bool = False
    """A turn that asks for nothing ends the episode as `policy_error` (SimpleTIR's void turn) instead of a reminder."""
    options: Mapping[str, object] = field(default_factory=dict)
    """The keyword arguments of `gym.make` that differ from their defaults, for the record."""

    def __post_init__(self) -> None:
        if self.max_chars < 1:
            raise ValueError(f"max_chars={self.max_chars} must be at least 1")
        for actor in self.domain.actors:
            tools = self.domain.declared_tools(actor.name)
            if not actor.scripted and (reason := self.protocol.supports(tools)):
                raise ValueError(f"protocol {self.protocol.name!r} does not fit {self.domain.name!r}: {reason}")
