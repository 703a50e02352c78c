"""A small domain whose episodes are carried out by hand: every request is answered by the test itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tir_gym.core.action import Action, ToolCall
from tir_gym.core.domain import Actor, Budget, Domain, Setting
from tir_gym.core.episode import Episode, Pending, Turn
from tir_gym.core.interfaces import Done, RunStatus, User, World
from tir_gym.core.requests import AnswerCall, CloseSession, HostTool, Inline, OpenSession, RunCode
from tir_gym.core.task import Gold, Task, TaskSet
from tir_gym.core.tool import Finish, Output, Submit, Toolkit, ToolRun, tool
from tir_gym.core.transcript import ImagePart, Source, TextPart
from tir_gym.core.verify import Evidence, Score, Verifier
from tir_gym.protocols import protocol
from tir_gym.rewards import RewardProgram

SECRET = "the-gold-nobody-may-see"


class Shelf(World):
    def __init__(self, things: dict[str, int]) -> None:
        self.things = dict(things)
        self._writes: list[str] = []

    def snapshot(self) -> Any:
        return dict(self.things)

    def restore(self, snapshot: Any) -> None:
        self.things = dict(snapshot)

    def fork(self) -> "Shelf":
        return Shelf(self.things)

    def digest(self) -> str:
        return repr(sorted(self.things.items()))

    def diff(self, snapshot: Any) -> dict[str, Any]:
        return {name: value for name, value in self.things.items() if snapshot.get(name) != value}

    def take_writes(self) -> bytes:
        writes, self._writes = "".join(self._writes).encode(), []
        return writes

    def put(self, name: str, value: int) -> None:
        self.things[name] = value
        self._writes.append(f"{name}={value}\n")


class Bench(Toolkit):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__()
        self.shelf = shelf

    @tool(kind="evidence", parallel_safe=True, latency_s=1.0, price=0.5)
    def look(self, what: str) -> str:
        """Look something up."""
        return f"{what} is here"

    @tool(kind="evidence", parallel_safe=True, latency_s=3.0)
    def ponder(self, what: str) -> str:
        """Look long."""
        return f"{what} is deep"

    @tool(effect="write", latency_s=2.0, max_chars=60)
    def put(self, name: str, value: int) -> str:
        """Put a number on the shelf."""
        self.shelf.put(name, value)
        return f"{name} holds {value}"

    @tool(kind="perception")
    def draw(self, shade: int) -> Output:
        """Draw a grey picture."""
        return Output((TextPart("a picture"), ImagePart("grey", np.full((2, 2, 3), shade, np.uint8))))

    @tool(kind="verification", effect="write", latency_s=0.25, from_code=False)
    def execute(self, code: str) -> ToolRun:
        """Run code."""
        done: Done = yield RunCode(code, 5.0)
        return Output((TextPart(done.stdout),), done.value, {"status": done.status.value})

    @tool(effect="write", from_code=False)
    def restart(self) -> ToolRun:
        """Start the interpreter afresh."""
        yield CloseSession()
        return "restarted"

    @tool(kind="control", effect="write")
    def submit(self, answer: str, confidence: float | None = None) -> Submit:
        """Submit the answer."""
        return Submit(answer, confidence)

    @tool(kind="control", effect="write", from_code=False)
    def leave(self, reason: str) -> Finish:
        """Leave."""
        return Finish(reason)


class Judge(Verifier):
    """1.0 for the gold answer, 0.5 for "nearly", 0.0 for another or none."""

    def score(self, evidence: Evidence, gold: Gold) -> Score:
        given = "" if evidence.answer is None else evidence.answer.text
        return Score({gold.answer: 1.0, "nearly": 0.5}.get(given, 0.0), reason=f"{given!r} given")


class OneTask(TaskSet):
    name = "workshop"
    size = 1
    fingerprint = "workshop-1"

    def task(self, seed: int, index: int) -> Task:
        return Task("workshop/0", "What is on the shelf?", gold=Gold(SECRET, plan=SECRET, data={"answer": SECRET}))

    def find(self, task_id: str) -> Task:
        return self.task(0, 0)

    def __repr__(self) -> str:
        return "OneTask()"


@dataclass(frozen=True)
class Workshop(Domain):
    name: ClassVar[str] = "Workshop"
    description: ClassVar[str] = "A bench with tools of every kind."
    instructions: ClassVar[str] = "Work."
    floor: ClassVar[float] = 0.0

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        return OneTask()

    def world(self, task: Task, seed: int) -> World:
        return Shelf({"hammer": 1})

    toolkits: ClassVar[dict[str, type[Toolkit]]] = {"agent": Bench, "master": Bench}

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        return Bench(world)

    def verifier(self) -> Verifier:
        return Judge()


class Puppet(User):
    """Makes the moves it was given, one after another, the last one again and again."""

    def __init__(self, moves: tuple[Action, ...]) -> None:
        self.moves = list(moves)
        self.seen: list[list[str]] = []

    def move(self, seen: Any) -> Action:
        self.seen.append(list(seen))
        return self.moves.pop(0) if len(self.moves) > 1 else self.moves[0]


@dataclass(frozen=True)
class Guided(Workshop):
    """A workshop with a master who speaks first."""

    actors: ClassVar[tuple[Actor, ...]] = (Actor("agent"), Actor("master", scripted=True))
    first: ClassVar[str] = "master"
    moves: tuple[Action, ...] = (Action(message="Begin."),)

    def user(self, actor: str, task: Task, seed: int) -> User:
        return Puppet(self.moves)


def make_setting(domain: Domain | None = None, *, syntax: str = "xml", **options: Any) -> Setting:
    domain = domain or Workshop()
    options["budget"] = Budget(**options.pop("budget", {}))
    tasks = domain.tasks(None, "train", None)
    return Setting("test/Workshop-v0", domain, tasks, protocol(syntax), RewardProgram(), **options)


def new_episode(domain: Domain | None = None, seed: int = 7, **options: Any) -> Episode:
    setting = make_setting(domain, **options)
    return Episode(setting, setting.tasks.task(0, 0), seed)


def started(domain: Domain | None = None, seed: int = 7, **options: Any) -> Episode:
    """An episode in which the policy is to move."""
    episode = new_episode(domain, seed, **options)
    carry_out(episode, episode.start())
    return episode


def calls(*wanted: tuple[str, dict[str, Any]], raw: str = "raw", **said: Any) -> Action:
    return Action(calls=tuple(ToolCall(name, arguments) for name, arguments in wanted), raw=raw, **said)


def ran(request: RunCode) -> Done:
    """The end of a submission that echoes its code."""
    return Done(0, RunStatus.OK, stdout=f"ran {request.code}")


def attempt(request: Inline) -> Any:
    try:
        return request.perform()
    except Exception as error:
        return error


def carry_out(
    episode: Episode,
    step: Pending | Turn,
    *,
    guest: Callable[[RunCode], Done] = ran,
    pick: Callable[[int], int] = lambda waiting: 0,
    answer: Callable[[Inline], Any] = attempt,
) -> Turn:
    """Answer every request until the turn is finished; of those that wait, `pick` chooses the next by number."""
    waiting: list[Any] = []
    while isinstance(step, Pending):
        waiting += [request for request in step.requests if not isinstance(request, OpenSession | AnswerCall)]
        request = waiting.pop(pick(len(waiting)))
        if isinstance(request, RunCode):
            step = episode.feed(request.id, guest(request))
        elif isinstance(request, CloseSession):
            step = episode.feed(request.id, None)
        else:
            step = episode.feed(request.id, answer(request))
    assert not waiting
    return step


def take(episode: Episode, action: Action, **how: Any) -> Turn:
    """A whole turn of the policy."""
    return carry_out(episode, episode.act(action), **how)


def history(episode: Episode) -> tuple[Any, ...]:
    """All that is deterministic in an episode so far."""
    shelf = episode.world.digest() if episode.world is not None else ""
    return (
        list(episode.transcript),
        list(episode.calls),
        episode.digest,
        episode.clock,
        episode.tally,
        episode.answer,
        (episode.outcome, episode.ended_by, episode.failure),
        shelf,
    )


LOOK = ("look", {"what": "a saw"})
PONDER = ("ponder", {"what": "a knot"})
PUT = ("put", {"name": "nail", "value": 3})
RUN = ("execute", {"code": "1+1"})


def names(step):
    return [request.tool.name if isinstance(request, HostTool) else type(request).__name__ for request in step.requests]


def shown(turn):
    return [entry.text for entry in turn.entries if entry.source is Source.TOOL]
