"""An episode played by a person: commands in, turns taken, and taken back."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

import typer
from rich.console import Console
from rich.text import Text

from tir_gym.cli.environments import print_tool
from tir_gym.cli.keyboard import Keyboard
from tir_gym.core.action import Action, ToolCall
from tir_gym.core.interfaces import ForkError, NotExpressible
from tir_gym.core.transcript import Entry
from tir_gym.drivers.env import Checkpoint, ToolEnv
from tir_gym.drivers.render import print_end, print_entries, visible
from tir_gym.protocols import Program
from tir_gym.rollout.policies import oracle

_HELP = """\
/call TOOL             call a tool: you are asked for its arguments
/call TOOL TEXT        the same for a tool that takes one text, as /call python print(6 * 7)
/call TOOL {"x": 1}    the same with arguments as JSON
/answer TEXT           give the final answer
/say TEXT              talk to the other party, where there is one
/finish [REASON]       end the episode without an answer, where the protocol can say so
/raw                   write a completion as a policy would, tags and all; so does any text without a slash
/think TEXT            the thought to go with the next /call, /answer or /say
/undo                  take the last turn back
/hint                  the next step of the oracle's plan (the record then says human-assisted)
/tools                 the tools on offer
/show                  the whole episode so far
/quit                  leave (so does Ctrl-D)"""


MOST_UNDOS = 16
"""How many turns can be taken back: each is kept as a live copy of the episode."""


class _NothingWritten(Exception):  # noqa: N818
    """The person ended a text before it began."""


class Game:
    """Plays the episode that an environment has begun, until it is over and the person leaves.

    Everything a command writes is a completion in the episode's protocol, so that the record is one a policy could
    have made. Every turn can be undone: the state before it is kept as a checkpoint. `observation` is what `reset`
    returned. Close it, or use it with `with`.
    """

    def __init__(self, env: ToolEnv, observation: Any, keyboard: Keyboard, console: Console) -> None:
        self.assisted = False
        """Whether a hint was shown or a turn taken back."""
        self._env = env
        self._keyboard = keyboard
        self._console = console
        self._past: list[Checkpoint | None] = []
        self._seen = [_text(observation)]
        self._shown = 0
        self._thought = ""
        self._commands: dict[str, Callable[[str], None]] = {
            "call": self._call,
            "answer": self._answer,
            "say": self._say,
            "finish": lambda rest: self._write(Action(finish=rest or "finished")),
            "raw": self._raw,
            "think": self._think,
            "undo": self._undo,
            "hint": self._hint,
            "tools": self._tools,
            "show": self._show,
            "help": lambda rest: self._note(_HELP),
        }

    def play(self) -> None:
        """Read commands until the person leaves. Raises `typer.Exit` with status 130 for Ctrl-C before the end."""
        setting = self._env.setting
        self._console.print(Text(f"{setting.env_id}, task {self._env.episode.task.id}", style="bold"))
        self._note("/help says how to play.")
        self._news()
        while True:
            self._status()
            try:
                line = self._keyboard.line("> ")
            except EOFError:
                return
            except KeyboardInterrupt:
                self._console.print()
                if self._over:
                    return
                raise typer.Exit(130) from None
            if line.strip() in ("/quit", "/exit") or (self._over and not line.strip()):
                return
            try:
                self._obey(line)
            except (EOFError, KeyboardInterrupt):
                self._note("\ndropped")
            except _NothingWritten:
                self._note("nothing was written, so nothing was done")

    def close(self) -> None:
        """Let all kept states go; idempotent."""
        for checkpoint in self._past:
            if checkpoint is not None:
                checkpoint.close()
        self._past.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def _over(self) -> bool:
        return bool(self._env.episode.outcome)

    # --- what is shown -----------------------------------------------------------------------------------------------
    def _news(self) -> None:
        """Print what was said since the last time and the person may know, who plays every policy there is."""
        episode = self._env.episode
        policies = {actor.name for actor in self._env.setting.domain.actors if not actor.scripted}

        def known(entry: Entry) -> bool:
            return entry.actor in policies or not policies.isdisjoint(entry.visible_to)

        print_entries(self._console, episode, filter(known, list(episode.transcript)[self._shown :]))
        self._shown = len(episode.transcript)
        print_end(self._console, episode)
        if episode.score is not None and episode.score.reason:
            self._console.print(Text(f"the verifier says: {visible(episode.score.reason)}"))

    def _status(self) -> None:
        if self._over:
            self._note("The episode is over. Enter leaves, /undo takes the last turn back.")
            return
        episode, budget = self._env.episode, self._env.setting.budget
        turn = budget.turns - episode.turns_left + 1
        mover = f", {episode.to_move} to move" if len(self._env.setting.domain.actors) > 1 else ""
        self._note(f"turn {turn} of {budget.turns}, {episode.calls_left} calls left{mover}")

    def _note(self, text: str) -> None:
        self._console.print(Text(text, style="bright_black"))

    def _wrong(self, text: str) -> None:
        self._console.print(Text(text, style="red"))

    def _tools(self, rest: str) -> None:
        for tool in self._env.tools:
            print_tool(tool["function"], console=self._console)

    def _show(self, rest: str) -> None:
        self._shown = 0
        self._news()

    def _hint(self, rest: str) -> None:
        """The oracle's next step after what was seen; it must be made anew, for it cannot go back."""
        env = self._env
        info: Mapping[str, Any] = {"to_move": env.episode.to_move}
        try:
            policy = oracle(env.setting.env_id, env.setting.tasks.find(env.episode.task.id), env.setting)
            for observation in self._seen:
                step = policy.act(observation, info)
        except Exception as error:  # an oracle may fail in any way on what it did not expect to see
            self._wrong(f"the oracle does not know how to go on from here ({error}); /undo may help")
            return
        if step:
            self.assisted = True
            self._console.print(Text(f"The oracle would write:\n{visible(str(step))}", style="magenta"))
        else:
            self._wrong("the oracle knows no next step after what you did; /undo takes a turn back")

    # --- turns -------------------------------------------------------------------------------------------------------
    def _obey(self, line: str) -> None:
        name, _, rest = line.strip().partition(" ")
        if not name.startswith("/"):
            if name:
                self._raw(line)
        elif (command := self._commands.get(name[1:])) is None:
            self._wrong(f"there is no {name}; /help lists the commands, /raw writes text that begins with a slash")
        elif self._over and name not in ("/undo", "/show", "/help", "/tools"):
            self._wrong("the episode is over")
        else:
            command(rest.strip())

    def _raw(self, first: str) -> None:
        if self._over:
            self._wrong("the episode is over")
            return
        self._take(self._lines(first))

    def _lines(self, first: str = "") -> str:
        """A text of several lines from the person. Raises `_NothingWritten` for an empty one."""
        if text := self._keyboard.text("| ", first):
            return text
        raise _NothingWritten

    def _think(self, rest: str) -> None:
        self._thought = rest
        self._note("This goes with your next /call, /answer or /say." if rest else "No thought, then.")

    def _answer(self, rest: str) -> None:
        self._write(Action(answer=rest or self._lines()))

    def _say(self, rest: str) -> None:
        if len(self._env.setting.domain.actors) == 1:
            self._wrong("there is nobody to talk to here: /call a tool or /answer")
        else:
            self._write(Action(message=rest or self._lines()))

    def _call(self, rest: str) -> None:
        tools = {tool["function"]["name"]: tool["function"] for tool in self._env.tools}
        name, _, text = rest.partition(" ")
        if not name and len(tools) == 1:
            (name,) = tools
        if name not in tools:
            self._wrong(f"/call which tool? There are {', '.join(tools)}; /tools says more")
            return
        arguments = self._arguments(tools[name]["parameters"], text.strip())
        if arguments is None:
            self._wrong(f"write /call {name} alone to be asked for each argument, or give them as a JSON object")
        else:
            self._write(Action(calls=(ToolCall(name, arguments),)))

    def _arguments(self, schema: Mapping[str, Any], text: str) -> dict[str, Any] | None:
        """Arguments from what stands behind the tool's name, or asked for; None where the text does not fit."""
        properties: Mapping[str, Any] = schema["properties"]
        if text.startswith("{"):
            try:
                given = json.loads(text)
            except ValueError:
                given = None
            if isinstance(given, dict) and given.keys() <= properties.keys():
                return given
        only = next(iter(properties)) if len(properties) == 1 else ""
        if text:
            return {only: _value(properties[only], text)} if only else None
        if only and properties[only].get("type") == "string":
            return {only: self._lines()}
        return self._asked(properties, schema.get("required", ()))

    def _asked(self, properties: Mapping[str, Any], required: Any) -> dict[str, Any]:
        """Each argument, asked for in a line; an empty line leaves an optional one out."""
        arguments: dict[str, Any] = {}
        for name, kind in properties.items():
            optional = "" if name in required else ", optional"
            said = self._keyboard.line(f"  {name} ({kind.get('type', 'JSON')}{optional}): ")
            if said or not optional:
                arguments[name] = _value(kind, said)
        return arguments

    def _write(self, action: Action) -> None:
        """Take a turn that the protocol writes; where only programs call tools, as one."""
        protocol = self._env.setting.protocol
        if action.calls and isinstance(protocol, Program) and not protocol.can_express(action):
            action = replace(action, calls=(protocol.program(action.calls),))
        try:
            text = protocol.format(replace(action, thought=self._thought))
        except NotExpressible as error:
            self._wrong(f"{error}; no turn was taken")
            return
        self._take(text)

    def _take(self, text: str) -> None:
        checkpoint: Checkpoint | None = None
        try:
            checkpoint = self._env.checkpoint()
        except ForkError as error:
            self._note(f"this turn cannot be undone: {error}")
        try:
            observation, *_ = self._env.step(text)
        except KeyboardInterrupt:
            if checkpoint is None:
                raise typer.Exit(130) from None
            self._env.restore(checkpoint)
            checkpoint.close()
            self._wrong("\ninterrupted: the turn was not taken")
            return
        self._past.append(checkpoint)
        if len(self._past) > MOST_UNDOS and (oldest := self._past[-MOST_UNDOS - 1]) is not None:
            oldest.close()
            self._past[-MOST_UNDOS - 1] = None
        self._seen.append(_text(observation))
        self._thought = ""
        self._news()

    def _undo(self, rest: str) -> None:
        checkpoint = self._past[-1] if self._past else None
        if checkpoint is None:
            self._wrong("there is no turn to take back" if not self._past else "this turn cannot be taken back")
            return
        self._env.restore(checkpoint)
        checkpoint.close()
        self._past.pop()
        self._seen.pop()
        self._shown = len(self._env.transcript)
        self.assisted = True
        self._note("The last turn is taken back.")


def _text(observation: Any) -> str:
    return observation if isinstance(observation, str) else str(observation["text"])


def _value(schema: Mapping[str, Any], text: str) -> Any:
    """What a person wrote for a parameter: text as it is where text is wanted, else JSON if it is."""
    if schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
