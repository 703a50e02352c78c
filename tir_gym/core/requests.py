"""What an episode asks its driver to do. An `Inline` request performs itself."""

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from tir_gym.core.action import Action
from tir_gym.core.interfaces import Limits, Retriever, User
from tir_gym.core.task import Gold
from tir_gym.core.tool import EnvError, Refused, Tool, Toolkit
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


class Shared(Request):
    """A request that the driver answers together with others that wait, of any of its episodes."""

    __slots__ = ()

    @property
    @abstractmethod
    def service(self) -> Hashable:
        """Requests of one class with equal services are performed together."""

    @classmethod
    @abstractmethod
    def perform_all(cls, requests: Sequence[Self]) -> list[Any]:
        """The result of each, in order. What is raised is the result of all of them, as an `EnvError`."""


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
class Retrieve(Shared):
    """Search for passages; answered with `list[list[Hit]]`, one list a query. A failure is fed as `EnvError`."""

    retriever: Retriever
    queries: Sequence[str]
    k: int

    @property
    def service(self) -> Hashable:
        """Those that ask the same retriever for as many hits go together."""
        return id(self.retriever), self.k

    @classmethod
    def perform_all(cls, requests: Sequence[Self]) -> list[Any]:
        """One search, in which no query is repeated; where the service refuses it, each for itself."""
        try:
            return cls._together(requests)
        except Refused:
            if len(requests) == 1:
                raise
        return [cls._alone(request) for request in requests]

    @classmethod
    def _alone(cls, request: Self) -> Any:
        try:
            return cls._together([request])[0]
        except EnvError as error:
            return error

    @classmethod
    def _together(cls, requests: Sequence[Self]) -> list[Any]:
        queries = list(dict.fromkeys(query for request in requests for query in request.queries))
        hits = dict(zip(queries, requests[0].retriever.search(queries, requests[0].k), strict=True))
        return [[list(hits[query]) for query in request.queries] for request in requests]


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
