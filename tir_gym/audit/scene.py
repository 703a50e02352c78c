"""What a cheat is, and what it has to work with."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from tir_gym.core.action import Action, ToolCall
from tir_gym.core.domain import Setting
from tir_gym.core.interfaces import NotExpressible
from tir_gym.core.seeding import derive
from tir_gym.core.task import Task, TaskSet
from tir_gym.drivers.intake import ActionInput
from tir_gym.rollout.policies import Policy, PolicyMaker, ScriptedPolicy


def gold_text(task: Task) -> str:
    """Gold's answer as text (the first, where several are accepted)."""
    gold = task.gold.answer
    return str(gold[0] if isinstance(gold, list | tuple) and gold else gold)


def answers(tasks: TaskSet, count: int) -> Counter[str]:
    """The answers of so many tasks of a set, and how often each occurs."""
    some = range(count if tasks.size is None else min(count, tasks.size))
    return Counter(gold_text(tasks.task(derive("audit", index), index)) for index in some)


@dataclass(frozen=True)
class Scene:
    """What a cheat works with: the setting, the task with its gold, answers of other tasks, random numbers."""

    setting: Setting
    task: Task
    rng: random.Random = field(compare=False)
    known: Counter[str] = field(default_factory=Counter, compare=False)

    def write(self, *, bare: str = "", **parts: object) -> str:
        """An action in the episode's protocol; `bare` where the protocol cannot express it."""
        try:
            return self.setting.protocol.format(Action(**parts))  # type: ignore[arg-type]
        except NotExpressible:
            return bare or " ".join(str(part) for part in parts.values())

    def answer(self, text: str, thought: str = "I am sure.", confidence: float | None = None) -> str:
        """The turn that answers."""
        if confidence is None:
            return self.write(thought=thought, answer=text, bare=text)
        return self.write(thought=thought, answer=text, confidence=confidence, bare=self.answer(text, thought))

    def aside(self, text: str) -> str:
        """The text; without gold if the protocol would read gold in it as the answer, where it is no cheat."""
        read = self.setting.protocol.parse(text, peer=len(self.setting.domain.actors) > 1).answer
        return text if read is None or self.gold not in read else text.replace(self.gold, "no idea")

    @cached_property
    def gold(self) -> str:
        """The answer as text (the first, where several are accepted)."""
        return gold_text(self.task)

    @cached_property
    def frequent(self) -> list[str]:
        """Answers of other tasks of the set, the most frequent first; this task's own only if another has it, too."""
        others = self.known - Counter([self.gold])
        return [text for text, _ in others.most_common()] or ["1"]

    def say_by_tool(self, text: str, code: str = "") -> list[str]:
        """Turns that make each tool that takes text repeat it: code prints it, other tools get it as an argument.

        `code` is run in place of printing. Closing tags that the syntax cannot carry in an argument are left out: they
        would end the call. What is submitted is an answer, so that tools for control are left alone.
        """
        turns = []
        for tool in self.setting.domain.declared_tools(self.setting.domain.policies[0]):
            schema = tool.parameters["properties"]
            wanted = [name for name, kind in schema.items() if kind.get("type") == "string"]
            if wanted and tool.kind != "control":
                for said in (text, re.sub(r"</\w+>|```", "", text), re.sub(r"<[^>]*>|```", "", text)):
                    printed = code or f"print({said!r})"
                    arguments = {name: printed if name == "code" else said for name in wanted}
                    action = Action(thought="I look.", calls=(ToolCall(tool.name, arguments),))
                    if self.setting.protocol.can_express(action):
                        turns.append(self.setting.protocol.format(action))
                        break
        return turns

    def any_call(self) -> str:
        """A turn with a call of the first tool, with empty arguments of the right types."""
        blank = {"string": "1", "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
        tool = self.setting.domain.declared_tools(self.setting.domain.policies[0])[0]
        schema = tool.parameters["properties"]
        arguments = {name: blank.get(str(kind.get("type")), "1") for name, kind in schema.items()}
        return self.write(thought="I look.", calls=(ToolCall(tool.name, arguments),))


Turns = Callable[[Scene], Iterable[ActionInput]]


@dataclass(frozen=True)
class Cheat:
    """A policy that tries to earn a reward without doing the task, in a domain of that name ("": in any).

    Where `hedged`, gold is part of its answer, for which a measure of overlap pays in part, and rightly so: it is held
    against what is all or nothing only.
    """

    turns: Turns
    domain: str = ""
    hedged: bool = False

    def policy(self, known: Counter[str]) -> PolicyMaker:
        """A maker of policies that play it; after its last turn they say nothing."""

        def make(setting: Setting, task: Task) -> Policy:
            return ScriptedPolicy(self.turns(Scene(setting, task, random.Random(derive("cheat", task.id)), known)))

        return make


CHEATS: dict[str, Cheat] = {}


def cheat(name: str, domain: str = "", *, hedged: bool = False) -> Callable[[Turns], Turns]:
    """Put a cheat into the battery, for all domains or that of this name. Raises `ValueError` for a name taken."""

    def register(function: Turns) -> Turns:
        if name in CHEATS:
            raise ValueError(f"there is a cheat {name!r} already")
        CHEATS[name] = Cheat(function, domain, hedged)
        return function

    return register


def battery(domain: str) -> dict[str, Cheat]:
    """The cheats for a domain, those for all domains among them."""
    return {name: cheat for name, cheat in CHEATS.items() if cheat.domain in ("", domain)}
