"""What a policy says in one turn: raw text in, one typed `Action` out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Self


class Completion(str):
    """A completion with what the engine knows about it; wherever text is accepted, this is too.

    `stop_reason` is the engine's ("stop", "length", "tool_calls", ...; "" when unknown). With "length" the last
    unclosed call is never run. `token_ids` and `logprobs` are parallel; `policy_version` tags the weights, with one
    number for each token where they changed in mid-turn.
    """

    __slots__ = ("logprobs", "policy_version", "stop_reason", "token_ids")
    stop_reason: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    policy_version: int | tuple[int, ...]

    def __new__(
        cls,
        text: str = "",
        *,
        stop_reason: str = "",
        token_ids: Sequence[int] = (),
        logprobs: Sequence[float] = (),
        policy_version: int | Sequence[int] = 0,
    ) -> Self:
        """Raise `ValueError` if `logprobs` (or versions) are given but not one for each of `token_ids`."""
        if isinstance(policy_version, Sequence) and len(policy_version) != len(token_ids):
            raise ValueError(f"policy_version has {len(policy_version)} entries for {len(token_ids)} token_ids")
        if logprobs and len(logprobs) != len(token_ids):
            raise ValueError(f"logprobs has {len(logprobs)} entries for {len(token_ids)} token_ids; give one for each")
        self = super().__new__(cls, text)
        self.stop_reason = stop_reason
        self.token_ids = tuple(token_ids)
        self.logprobs = tuple(logprobs)
        self.policy_version = tuple(policy_version) if isinstance(policy_version, Sequence) else policy_version
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _completion, (str(self), self.stop_reason, self.token_ids, self.logprobs, self.policy_version)


def _completion(
    text: str,
    stop_reason: str,
    token_ids: tuple[int, ...],
    logprobs: tuple[float, ...],
    version: int | tuple[int, ...],
) -> Completion:
    return Completion(text, stop_reason=stop_reason, token_ids=token_ids, logprobs=logprobs, policy_version=version)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool by name with JSON arguments; `id` is the caller's label and takes no part in equality."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    id: str = field(default="", compare=False)


class ParseErrorType(StrEnum):
    """What can be wrong with a turn's surface syntax."""

    NO_ACTION = "no_action"
    UNCLOSED_TAG = "unclosed_tag"
    NESTED_TAG = "nested_tag"
    BAD_JSON = "bad_json"
    BAD_ACTION = "bad_action"
    BAD_CONFIDENCE = "bad_confidence"
    DUPLICATE_ANSWER = "duplicate_answer"
    ANSWER_WITH_CALL = "answer_with_call"
    TEXT_BETWEEN_TAGS = "text_between_tags"
    OVERLONG = "overlong"
    CUT_CALL = "cut_call"


@dataclass(frozen=True, slots=True)
class ParseError:
    """One fault in a completion, at character offsets [start, end) of its raw text."""

    type: ParseErrorType
    message: str
    start: int = 0
    end: int = 0


class Repair(NamedTuple):
    """A fault that lenient parsing (or the border) mended, and how."""

    kind: str
    detail: str


class Part(StrEnum):
    """The role of a stretch of text inside one transcript entry."""

    THOUGHT = "thought"
    CALL = "call"
    ANSWER = "answer"
    CONFIDENCE = "confidence"
    MESSAGE = "message"
    FINISH = "finish"
    TAIL = "tail"
    TEXT = "text"


class PartSpan(NamedTuple):
    """A part of a raw completion at character offsets [start, end)."""

    part: Part
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Action:
    """One parsed policy turn.

    Equality is on what the turn means; the raw text, where its parts stand and how it was repaired take no part.
    `answer` ends the episode, `finish` ends it for a stated reason without one, `message` goes to the other actor.
    """

    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    answer: str | None = None
    confidence: float | None = None
    message: str | None = None
    finish: str | None = None
    answer_origin: Literal["text", "call"] = field(default="text", compare=False)
    errors: tuple[ParseError, ...] = ()
    repairs: tuple[Repair, ...] = field(default=(), compare=False)
    raw: str = field(default="", compare=False)
    spans: tuple[PartSpan, ...] = field(default=(), compare=False)

    @property
    def void(self) -> bool:
        """True where the turn asks for nothing: no call, answer, message or end."""
        return not self.calls and self.answer is None and self.message is None and self.finish is None
