"""The Agent Data Protocol: the part of its schema that text episodes need, with its rules.

Schema 1.5.0 of neulab/agent-data-protocol (`schema/trajectory.py`, `schema/SCHEMA.md`; Song et al., "Agent Data
Protocol", 2025). Web and image observations are left out: records hold no pixels.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

ADP_VERSION: Literal["1.5.0"] = "1.5.0"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Action(_Model):
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reward: float | None = None


class ApiAction(_Action):
    """A call of a function."""

    class_: Literal["api_action"] = "api_action"
    function: str
    kwargs: dict[str, Any]
    description: str | None = None


class CodeAction(_Action):
    """Code that is run. (The schema knows some 300 languages; our tools run one.)"""

    class_: Literal["code_action"] = "code_action"
    language: Literal["python"]
    content: str
    description: str | None


class MessageAction(_Action):
    """Words to a person: a message, or the final answer."""

    class_: Literal["message_action"] = "message_action"
    content: str
    description: str | None = None


class TextObservation(_Model):
    """Text that the agent reads; with `tool_call_id` the result of that call, which is never a user's."""

    class_: Literal["text_observation"] = "text_observation"
    content: str
    name: str | None = None
    source: Literal["user", "agent", "environment"]
    tool_call_id: str | None = None
    reward: float | None = None

    @model_validator(mode="after")
    def _results_are_not_said_by_users(self) -> Self:
        if self.tool_call_id is not None and self.source == "user":
            raise ValueError(f"the result of {self.tool_call_id!r} cannot come from a user")
        return self


class Trajectory(_Model):
    """An episode. A call that an observation follows has an id, and ids pair each call with one later result."""

    schema_version: Literal["1.5.0"] = ADP_VERSION
    id: str
    content: tuple[ApiAction | CodeAction | MessageAction | TextObservation, ...]
    available_custom_tools: tuple[str, ...] | None = None
    available_code_languages: tuple[str, ...] | None = None
    details: dict[str, Any] = {}

    @model_validator(mode="after")
    def _calls_and_results_pair_up(self) -> Self:
        open_calls: set[str] = set()
        seen: set[str] = set()
        for item, following in zip(self.content, (*self.content[1:], None), strict=True):
            name = item.tool_call_id
            if isinstance(item, TextObservation):
                if name is not None and name not in open_calls:
                    raise ValueError(f"no call before it has the id {name!r}, or it has a result already")
                open_calls.discard(name or "")
            elif isinstance(item, MessageAction):
                if name is not None:
                    raise ValueError(f"a message is no tool call: {name!r}")
            elif name is None:
                if isinstance(following, TextObservation):
                    raise ValueError("a call followed by an observation needs a tool_call_id")
            elif name in seen:
                raise ValueError(f"two calls have the id {name!r}")
            else:
                open_calls.add(name)
                seen.add(name)
        if open_calls:
            raise ValueError(f"calls without a result: {sorted(open_calls)}")
        return self

    @model_validator(mode="after")
    def _languages_are_those_used(self) -> Self:
        used = {item.language for item in self.content if isinstance(item, CodeAction)}
        if self.available_code_languages is not None and set(self.available_code_languages) != used:
            raise ValueError(f"available_code_languages {self.available_code_languages} is not {sorted(used)}")
        return self
