"""What the protocols share: the account of one completion as it is read, and the frame of a two-way syntax."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from tir_gym.core.action import Action, ParseError, ParseErrorType, Part, PartSpan, Repair, ToolCall
from tir_gym.core.interfaces import NotExpressible, Protocol
from tir_gym.protocols.json_args import BadJson

Mode = Literal["strict", "lenient", "paper"]
"""How a completion is read: see `Syntax`."""
_NUMBER = re.compile(r"[0-9.eE+-]{1,32}")
_NEXT_CONFIDENCE = re.compile(r"\s*+<confidence>([^<]*+)</confidence>")


def probability(digits: str, scale: float = 1.0) -> float | None:
    """A number from 0 to `scale`, divided by it; None for any other text."""
    if not _NUMBER.fullmatch(digits):
        return None
    try:
        value = float(digits) / scale
    except ValueError:
        return None
    return value if 0.0 <= value <= 1.0 else None


class Reading(ABC):
    """One completion being read: the parts found so far, in order."""

    __slots__ = (
        "answer", "attempted", "calls", "confidence", "errors", "finish", "message", "repairs", "spans", "strict",
        "text", "thoughts",
    )  # fmt: skip

    def __init__(self, text: str, mode: Mode) -> None:
        self.text = text
        self.strict = mode == "strict"
        self.attempted = False
        """Whether the policy tried to act, well or badly."""
        self.thoughts: list[str] = []
        self.calls: list[ToolCall] = []
        self.answer: str | None = None
        self.confidence: float | None = None
        self.message: str | None = None
        self.finish: str | None = None
        self.errors: list[ParseError] = []
        self.repairs: list[Repair] = []
        self.spans: list[PartSpan] = []

    @abstractmethod
    def read(self, cut: bool, peer: bool) -> None:
        """Read by the grammar; `cut` and `peer` are those of `Protocol.parse`."""

    def read_as_published(self, cut: bool, peer: bool) -> None:
        """Read as the published code does; to be defined where the syntax has a `source`."""
        raise NotImplementedError

    def span(self, part: Part, start: int, end: int) -> None:
        """Characters [start, end) play this part."""
        self.spans.append(PartSpan(part, start, end))

    def error(self, kind: ParseErrorType, message: str, start: int, end: int) -> None:
        """A fault that cannot be mended."""
        self.errors.append(ParseError(kind, message, start, end))

    def fault(self, kind: ParseErrorType, message: str, start: int, end: int) -> None:
        """A fault that lenient reading mends: a repair there, an error in strict reading."""
        if self.strict:
            self.errors.append(ParseError(kind, message, start, end))
        else:
            self.repairs.append(Repair(kind.value, message))

    def cut_call(self, start: int, end: int) -> None:
        """The completion was cut for length inside the call that stands at [start, end)."""
        self.error(ParseErrorType.CUT_CALL, "the completion was cut inside a call; it did not run", start, end)

    def tail(self, start: int) -> str:
        """Everything from `start` on is said after the turn's action; returned where it is more than space."""
        rest = self.text[start:]
        if not rest or rest.isspace():
            return ""
        self.span(Part.TAIL, start, len(self.text))
        return rest

    def take_confidence(self, start: int, end: int) -> None:
        """Read the confidence that stands at [start, end)."""
        said = self.text[start:end].strip()
        value = probability(said)
        if self.confidence is not None:
            self.fault(ParseErrorType.BAD_CONFIDENCE, "confidence is given twice; the first counts", start, end)
        elif value is not None:
            self.confidence = value
        elif not self.strict and said.endswith("%") and (value := probability(said[:-1], 100.0)) is not None:
            self.fault(ParseErrorType.BAD_CONFIDENCE, "confidence in percent; write a number from 0 to 1", start, end)
            self.confidence = value
        else:
            self.error(ParseErrorType.BAD_CONFIDENCE, "confidence is not a number from 0 to 1", start, end)

    def confidence_element(self, opening: re.Match[str]) -> int:
        """Read the `<confidence>` that this tag opens; returns where it ends."""
        start, body = opening.span()
        stop = self.text.find("</confidence>", body)
        end = stop + len("</confidence>") if stop >= 0 else len(self.text)
        if stop < 0:
            self.error(ParseErrorType.UNCLOSED_TAG, "<confidence> has no </confidence>", start, end)
        else:
            self.take_confidence(body, stop)
        self.span(Part.CONFIDENCE, start, end)
        return end

    def confidence_after(self, end: int) -> int:
        """Read a `<confidence>` that follows `end` after nothing but space; returns where it ends, `end` for none."""
        found = _NEXT_CONFIDENCE.match(self.text, end)
        if not found:
            return end
        self.take_confidence(*found.span(1))
        self.span(Part.CONFIDENCE, self.text.index("<", end), found.end())
        return found.end()

    def action(self) -> Action:
        """The finished action; `no_action` is its error where nothing was even tried."""
        if not self.attempted:
            self.error(ParseErrorType.NO_ACTION, "the turn has no action", 0, len(self.text))
        return Action(
            thought=self.thoughts[0] if len(self.thoughts) == 1 else "\n".join(self.thoughts),
            calls=tuple(self.calls),
            answer=self.answer,
            confidence=self.confidence,
            message=self.message,
            finish=self.finish,
            errors=tuple(self.errors),
            repairs=tuple(self.repairs),
            raw=self.text,
            spans=tuple(self.spans),
        )


@dataclass(frozen=True)
class Syntax(Protocol):
    """A protocol that is read strictly or leniently and writes only what it reads back unchanged.

    Lenient reading mends a fault and records it in `Action.repairs`; strict reading reports it in `Action.errors` and
    does not use the part. Spans cover whole elements, tags included; space between them belongs to none.
    A message is read back with `peer=True`, everything else without.

    The mode `paper` reads and writes as the published code of `source` does, holes included: `quirks` lists them, for
    the audit to report.

    Raises `ValueError` for a mode that is none of the three, and for `paper` where there is no `source`.
    """

    source: ClassVar[str] = ""
    """What the mode `paper` reproduces (repository, commit, file); "" where there is no such mode."""
    quirks: ClassVar[tuple[str, ...]] = ()
    """What `paper` does that the other modes would not, one sentence each."""

    mode: Mode = "lenient"

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode is {self.mode!r}; give one of {get_args(Mode)}")
        if self.mode == "paper" and not self.source:
            raise ValueError(f"protocol {self.name!r} follows no paper; its modes are 'strict' and 'lenient'")

    def parse(self, text: str, *, cut: bool = False, peer: bool = False) -> Action:
        """One completion as an action; never raises. What `peer` changes is for the grammar to say."""
        reading = self._reading(str(text))
        read = reading.read_as_published if self.mode == "paper" else reading.read
        read(cut, peer)
        return reading.action()

    @abstractmethod
    def _reading(self, text: str) -> Reading:
        """How this syntax reads a completion."""

    def format(self, action: Action) -> str:
        """The action as a completion. Raises `NotExpressible`."""
        self._refuse_unwritable(action)
        try:
            text = self._write(action)
        except BadJson as error:
            raise NotExpressible(self.name, "calls", f"the arguments are not JSON data: {error}") from None
        self._compare(action, self.parse(text, peer=action.message is not None))
        return text

    @abstractmethod
    def _write(self, action: Action) -> str:
        """The text of an action of one kind (calls, answer, message or finish); need not check that it reads back."""

    def _refuse(self, action: Action, fields: Iterable[str], reason: str) -> None:
        """Raise `NotExpressible` for the first of these fields that the action has."""
        for field in fields:
            if getattr(action, field) is not None:
                raise NotExpressible(self.name, field, reason)

    def _refuse_unwritable(self, action: Action) -> None:
        if action.errors:
            raise NotExpressible(self.name, "errors", "a faulty turn has only its raw text")
        if action.void:
            raise NotExpressible(self.name, "void", "a turn without an action is an error")
        kinds = {"calls": action.calls or None, "answer": action.answer, "message": action.message}
        said = [field for field, value in {**kinds, "finish": action.finish}.items() if value is not None]
        if len(said) > 1:
            raise NotExpressible(self.name, said[1], f"only the first action of a turn counts, and that is {said[0]}")

    def _compare(self, action: Action, read: Action) -> None:
        for field in ("thought", "calls", "answer", "confidence", "message", "finish", "errors"):
            if getattr(action, field) != getattr(read, field):
                raise NotExpressible(self.name, field, "it would be read back differently")
        if read.repairs:
            raise NotExpressible(self.name, "thought", f"it would be read back with a repair: {read.repairs[0].detail}")
