"""What one folder of `envs/` provides, and the setting in which its episodes are played."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tir_gym.core.interfaces import Limits, Protocol, User, World, require_positive
from tir_gym.core.task import Task, TaskSet
from tir_gym.core.tool import Tool, Toolkit
from tir_gym.core.transcript import ImagePart
from tir_gym.core.verify import Verifier
from tir_gym.core.view import Rewards


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
    max_turns: ClassVar[int] = 8
    """The default of that option: enough for the plan of any task with one call a turn."""
    actors: ClassVar[tuple[Actor, ...]] = (Actor("agent"),)
    first: ClassVar[str] = "agent"
    runs_code: ClassVar[bool] = False
    """True where a tool runs code in a session: `reset` then makes sure that it can."""
    toolkits: ClassVar[Mapping[str, type[Toolkit]]]
    """The class of each actor's tools."""
    checklist: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    """Items (data of `rewards.checklist.Item`) that a good episode of any task fulfils."""
    image_shape: ClassVar[tuple[int, int, int] | None] = None
    """(height, width, 3) where observations carry images."""

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of the actors that policies play."""
        return tuple(actor.name for actor in self.actors if not actor.scripted)

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

    def catalogue(self) -> list[dict[str, object]]:
        """A table of the kinds of task there are, one row each with the same keys, for `tir-gym describe`."""
        return []


Equip = Callable[[Toolkit, Limits], Toolkit]
"""Puts around an actor's tools what its protocol needs; picklable."""


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
    system_prompt: str | None = None
    """In place of the derived system prompt; `{instructions}` and `{tools}` in it stand for the two derived parts."""
    equip: Equip | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    """The keyword arguments of `gym.make` that differ from their defaults, for the record."""

    def __post_init__(self) -> None:
        if self.max_chars < 1:
            raise ValueError(f"max_chars={self.max_chars} must be at least 1")
        if reason := misfit(self.domain, self.protocol):
            raise ValueError(f"protocol {self.protocol.name!r} does not fit {self.domain.name!r}: {reason}")

    @property
    def runs_code(self) -> bool:
        """True where an episode needs an executor."""
        return self.domain.runs_code or self.equip is not None

    @property
    def runs_programs(self) -> bool:
        """True where sessions must be able to start programs."""
        return any(kind.needs_programs for kind in self.domain.toolkits.values())

    def toolkit(self, actor: Actor, task: Task, world: Any) -> Toolkit:
        """An actor's tools in a new episode."""
        tools = self.domain.toolkit(actor.name, task, world)
        return tools if self.equip is None or actor.scripted else self.equip(tools, self.domain.limits())

    def system_text(self, tools: Sequence[Tool]) -> str:
        """The system prompt of an actor with these tools: what the domain says, and how the protocol is used."""
        derived = {
            "{instructions}": self.domain.instructions,
            "{tools}": self.protocol.render_tools(tools, peer=len(self.domain.actors) > 1),
        }
        if self.system_prompt is None:
            return "\n\n".join(derived.values())
        return re.sub(r"\{instructions\}|\{tools\}", lambda found: derived[found[0]], self.system_prompt)


def misfit(domain: Domain | type[Domain], protocol: Protocol) -> str:
    """Why the actors of a domain cannot call their tools in a protocol; "" if they can."""
    reasons = (
        protocol.supports(domain.toolkits[actor.name].declared()) for actor in domain.actors if not actor.scripted
    )
    return next(filter(None, reasons), "")
