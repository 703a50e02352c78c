"""Everything said in an episode, typed by who wrote it, and every call made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tir_gym.core.action import Part
from tir_gym.core.interfaces import NOT_MEASURED, Measured


class Source(StrEnum):
    """Who authored a stretch of text."""

    POLICY = "policy"
    TOOL = "tool"
    USER = "user"
    ENV = "env"
    SYSTEM = "system"
    INJECTED = "injected"


class TextPart(NamedTuple):
    """Text content."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image, uint8 of shape (height, width, 3), with an id that is stable within the episode."""

    id: str
    pixels: NDArray[np.uint8] = field(compare=False, repr=False)


Content = TextPart | ImagePart


def text_of(content: tuple[Content, ...]) -> str:
    """The text parts, joined."""
    if len(content) == 1 and isinstance(content[0], TextPart):
        return content[0].text
    return "".join(part.text for part in content if isinstance(part, TextPart))


def images_of(content: tuple[Content, ...]) -> tuple[ImagePart, ...]:
    """The image parts, in order."""
    if len(content) == 1 and isinstance(content[0], TextPart):
        return ()
    return tuple(part for part in content if isinstance(part, ImagePart))


class Span(NamedTuple):
    """Characters [start, end) of an entry's text: who wrote them, in which role, and who may see them."""

    source: Source
    actor: str
    part: Part
    start: int
    end: int
    visible_to: tuple[str, ...]


class Entry(NamedTuple):
    """One contribution to the transcript: a completion, a tool's results, a user's words, the task itself.

    `id` is stable within the episode. `call` is the index in the call log that a tool entry answers, else -1.
    """

    id: str
    turn: int
    source: Source
    actor: str
    content: tuple[Content, ...]
    spans: tuple[Span, ...]
    visible_to: tuple[str, ...]
    call: int = -1
    message: str = ""
    """Where an actor speaks to another: what the other is told."""

    @property
    def text(self) -> str:
        """The text parts, joined; spans count characters of it."""
        return text_of(self.content)

    @property
    def told(self) -> str:
        """What another actor reads of the entry: of a policy or user its message only."""
        return self.message if self.source in (Source.POLICY, Source.USER) else self.text


class Transcript:
    """Append-only list of entries."""

    __slots__ = ("_entries",)

    def __init__(self, entries: tuple[Entry, ...] = ()) -> None:
        self._entries = list(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    def append(self, entry: Entry) -> None:
        """Add an entry at the end."""
        self._entries.append(entry)

    def since(self, index: int, actor: str) -> tuple[Entry, ...]:
        """Entries from `index` on that `actor` may see and did not write."""
        return tuple(e for e in self._entries[index:] if actor in e.visible_to and e.actor != actor)

    def copy(self) -> "Transcript":
        """An independent transcript of the same entries."""
        return Transcript(tuple(self._entries))


class CallStatus(StrEnum):
    """Whether a call did its work."""

    OK = "ok"
    ERROR = "error"


class CallErrorType(StrEnum):
    """Why a call failed; the empty string where it did not."""

    NONE = ""
    UNKNOWN_TOOL = "unknown_tool"
    MISSING_REQUIRED = "missing_required"
    UNEXPECTED_ARG = "unexpected_arg"
    TYPE_MISMATCH = "type_mismatch"
    OVERSIZE = "oversize"
    BUDGET = "budget"
    REFUSED = "refused"
    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    STATE_LOST = "state_lost"


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One tool call. `key` is canonical: equal keys are duplicate calls. Costs are the tool's declared ones.

    `issued_at` and `latency_s` are on the virtual clock, in seconds. `facts` is typed data written by host code,
    which verifiers may read; what the tool printed is not here. `parent` is the call whose code made this one, or -1.
    """

    index: int
    turn: int
    actor: str
    tool: str
    arguments: Mapping[str, Any]
    key: str
    kind: str
    status: CallStatus
    error: CallErrorType = CallErrorType.NONE
    parent: int = -1
    issued_at: float = 0.0
    latency_s: float = 0.0
    price: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    label: str = field(default="", compare=False)
    """The caller's id of the call, where the surface syntax has one."""
    measured: Measured = field(default=NOT_MEASURED, compare=False)


CallLog = tuple[CallRecord, ...]
