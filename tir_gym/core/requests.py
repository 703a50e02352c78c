"""What an episode asks its driver to do. An `Inline` request performs itself."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tir_gym.core.action import Action
from tir_gym.core.interfaces import Limits, Retriever, User
from tir_gym.core.task import Gold
from tir_gym.core.tool import Tool, Toolkit
from tir_gym.core.verify import Evidence, Score, Verifier


@dataclass(slots=True)
class Request:
    """Something the episode waits for; the driver answers with `Episode.feed(request.id, result)`.

    A result that is an exception is raised where the request was made.
    """

    id: int = field(default=-1, init=False)


class Inline(Request):
    """A request that the driver answers by calling `perform` in the host process."""

    __slots__ = ()

    @abstractmethod
    def perform(self) -> Any:
        """Do it and return the result."""


@dataclass(slots=True)
class OpenSession(Request):
    """Open the actor's interpreter; answered with None. `seed` sets its random generators."""

    actor: str
    limits: Limits
    seed: int
    tools: tuple[Tool, ...]


@dataclass(slots=True)
class RunCode(Request):
    """Run code in the actor's session (opened first if need be); answered with `Done`, after any `HostCall`s.

    `deadline_s` is wall-clock time from the start. A tool yields this without an actor; the episode fills it in.
    """

    code: str
    deadline_s: float
    actor: str = ""


@dataclass(slots=True)
class AnswerCall(Request):
    """Give guest code the result of its tool call; nothing is fed back."""

    actor: str
    call_id: int
    value: Any
    error: str


@dataclass(slots=True)
class CloseSession(Request):
    """Close the actor's session, if it is open; answered with None. A tool yields this to start afresh."""

    actor: str = ""


@dataclass(slots=True)
class HostTool(Inline):
    """Run a tool's body with validated arguments; answered with what it returns."""

    toolkit: Toolkit
    tool: Tool
    arguments: Mapping[str, Any]

    def perform(self) -> Any:
        """The body's return value."""
        return self.toolkit.run(self.tool, self.arguments)


@dataclass(slots=True)
class Retrieve(Request):
    """Search for passages; answered with `list[list[Hit]]`, one list a query.

    A driver that plays many episodes asks the retriever once for all that wait; a failure is fed as `EnvError`.
    """

    retriever: Retriever
    queries: Sequence[str]
    k: int


@dataclass(slots=True)
class UserTurn(Inline):
    """Let a scripted actor move; answered with its `Action`."""

    user: User
    seen: Sequence[str]

    def perform(self) -> Action:
        """The user's action."""
        return self.user.move(self.seen)


@dataclass(slots=True)
class Verify(Inline):
    """Judge the episode; answered with a `Score`."""

    verifier: Verifier
    evidence: Evidence
    gold: Gold

    def perform(self) -> Score:
        """The verdict."""
        return self.verifier.score(self.evidence, self.gold)
