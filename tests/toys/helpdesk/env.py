"""A scripted user with a tool of its own: the agent guides, the user's phone is what changes."""

import copy
import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tir_gym.core.action import Action, ToolCall
from tir_gym.core.domain import Actor, Domain
from tir_gym.core.interfaces import User, World
from tir_gym.core.task import Draft, GeneratedTasks, Gold, Task, TaskSet
from tir_gym.core.tool import Toolkit, tool
from tir_gym.core.verify import Evidence, Score, Verifier


class Phone(World):
    def __init__(self, settings: dict[str, int]) -> None:
        self.settings = dict(settings)
        self._writes: list[str] = []

    def snapshot(self) -> Any:
        return dict(self.settings)

    def restore(self, snapshot: Any) -> None:
        self.settings = dict(snapshot)

    def fork(self) -> "Phone":
        twin = Phone(self.settings)
        twin._writes = list(self._writes)
        return twin

    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    def diff(self, snapshot: Any) -> dict[str, Any]:
        return {key: value for key, value in self.settings.items() if snapshot.get(key) != value}

    def take_writes(self) -> bytes:
        writes, self._writes = "\n".join(self._writes).encode(), []
        return writes

    def write(self, key: str, value: int) -> None:
        self.settings[key] = value
        self._writes.append(f"{key}={value}")


class PhoneToolkit(Toolkit):
    """The user's own phone."""

    def __init__(self, phone: Phone) -> None:
        super().__init__()
        self._phone = phone

    @tool(effect="write")
    def set_channel(self, channel: int) -> str:
        """Set the phone's channel."""
        self._phone.write("channel", channel)
        return f"channel is {channel}"


class DeskToolkit(Toolkit):
    """What the agent can look up."""

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self._wanted = wanted

    @tool(kind="evidence")
    def required_channel(self) -> int:
        """The channel on which the customer's line works."""
        return self._wanted


class Caller(User):
    """Complains, does what it is told with its own tool, says so, and hangs up when thanked."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._done = 0

    def move(self, seen: Any) -> Action:
        text = " ".join(seen)
        if "channel is" in text:
            self._done += 1
            return Action(message=f"I have done that. {self._rng.choice(['And now?', 'What else?'])}")
        if "goodbye" in text.lower():
            return Action(finish="user hung up")
        numbers = [word.strip(".,") for word in text.split() if word.strip(".,").isdecimal() and len(word) < 10]
        if numbers:
            return Action(calls=(ToolCall("set_channel", {"channel": int(numbers[0])}),))
        return Action(message="My line is dead. Can you help?")


def draw(rng: random.Random, level: int) -> Draft:
    wanted = rng.randrange(100, 10_000)
    prompt = f"Customer {rng.getrandbits(32)} is calling. Repair the line, then say goodbye."
    return Draft(prompt, Gold(wanted, plan=wanted), "channel", {"wanted": wanted})


class RightChannel(Verifier):
    def score(self, evidence: Evidence, gold: Gold) -> Score:
        assert isinstance(evidence.world, Phone)
        return Score(float(evidence.world.settings["channel"] == gold.answer and evidence.ended_by == "user"))


@dataclass(frozen=True)
class Helpdesk(Domain):
    name: ClassVar[str] = "Helpdesk"
    description: ClassVar[str] = "Talk a user through a repair on the user's own phone."
    instructions: ClassVar[str] = "You are a helpdesk agent. Look things up, and tell the user what to do."
    floor: ClassVar[float] = 0.02
    toolkits: ClassVar[Mapping[str, type[Toolkit]]] = {"agent": DeskToolkit, "user": PhoneToolkit}
    actors: ClassVar[tuple[Actor, ...]] = (Actor("agent"), Actor("user", scripted=True))
    first: ClassVar[str] = "user"

    def tasks(self, source: str | None, split: str, difficulty: int | None) -> TaskSet:
        return GeneratedTasks("helpdesk", draw, split=split, difficulty=difficulty)

    def world(self, task: Task, seed: int) -> World:
        return Phone({"channel": 0, "volume": seed % 10})

    def toolkit(self, actor: str, task: Task, world: Any) -> Toolkit:
        return PhoneToolkit(world) if actor == "user" else DeskToolkit(copy.copy(task.data["wanted"]))

    def user(self, actor: str, task: Task, seed: int) -> User:
        return Caller(seed)

    def verifier(self) -> Verifier:
        return RightChannel()
