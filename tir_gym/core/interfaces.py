"""What the episode machine and its drivers require of the parts that plug into them."""

import contextlib
import typing
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, Self

from tir_gym.core.action import Action, ToolCall


def require_positive(limits: Any, whole: tuple[str, ...] = ()) -> None:
    """Raise `ValueError` that names the first field that is not a finite number above 0 (of `whole`: an integer)."""
    for item in fields(limits):
        value = getattr(limits, item.name)
        kind = int if item.name in whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < float("inf"):
            wanted = "a whole number" if item.name in whole else "a finite number"
            raise ValueError(f"{item.name}={value!r} must be {wanted} greater than 0")


# --- where untrusted code runs -------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one session; seconds, megabytes (2**20 bytes) and characters."""

    wall_s: float = 10.0
    """Wall-clock time of one submission, enforced from outside."""
    grace_s: float = 0.5
    """After the interrupt at the wall-clock limit, how long until the kill."""
    cpu_s: int = 120
    """Processor time of the whole session."""
    memory_mb: int = 512
    disk_mb: int = 16
    processes: int = 32
    output_chars: int = 20_000
    """Kept of each output stream of one submission: the head and the tail, the middle is counted.

    Code that writes more than 10,000,000 is stopped (`OUTPUT_LIMIT`).
    """

    def __post_init__(self) -> None:
        require_positive(self, whole=("cpu_s", "memory_mb", "disk_mb", "processes", "output_chars"))


class RunStatus(StrEnum):
    """How a submission ended: the guest's own word for the first two, `MEMORY` and `OUTPUT_LIMIT`, else the host's."""

    OK = "ok"
    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    KILLED = "killed"
    OUTPUT_LIMIT = "output_limit"
    PROTOCOL_ERROR = "protocol_error"
    EXECUTOR_ERROR = "executor_error"


class Measured(NamedTuple):
    """Readings of the real machine: kept for people, never part of equality, digest or `info`."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_mb: float = 0.0
    pid: int = 0
    """Of the process that ran the code, as the host counts; 0 where it cannot know."""


NOT_MEASURED = Measured()

TURN_OVER = "the time of the turn is over"
"""`Done.error` of a submission that the driver stopped, at a limit of its own for the whole turn."""


class HostCall(NamedTuple):
    """Code in the session calls a tool and waits for `Session.answer(call_id, ...)`."""

    submission: int
    call_id: int
    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a submission. What the guest says (`stdout` to `traceback`) is bounded, untrusted text."""

    submission: int
    status: RunStatus
    stdout: str = ""
    stderr: str = ""
    value: str = ""
    """`repr` of the last expression, "" where there is none or it is None."""
    error: str = ""
    """Exception type and message, or what the host observed."""
    traceback: str = ""
    """Frames of the policy's own code only."""
    state_lost: bool = False
    """True where the interpreter is gone: the next submission needs a new session."""
    measured: Measured = field(default=NOT_MEASURED, compare=False)


class ToolSignature(typing.Protocol):
    """What a session needs to offer a tool as a function: its name, its parameters in order and its documentation."""

    @property
    def name(self) -> str:
        """The function's name inside the session."""

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order positional arguments take."""

    @property
    def description(self) -> str:
        """The docstring of the function inside the session."""


class Session(ABC):
    """One interpreter with state that lasts between submissions; one submission at a time.

    Nothing here blocks but `put`, `get` and `fork`, which wait at most the session's wall-clock limit.
    """

    @abstractmethod
    def submit(self, code: str, deadline: float) -> int:
        """Start running `code`; at `deadline` seconds from now it is interrupted, then killed. Returns its id.

        If the session died since the last submission, a `Done` that says so is all that comes. Raises `RuntimeError`
        if a submission is running, if the session is closed, or if a `Done` has said that it is lost.
        """

    @abstractmethod
    def events(self) -> list[HostCall | Done]:
        """What has happened since the last call, in order; never blocks, never raises for what the guest does."""

    @abstractmethod
    def wakeup(self) -> float | None:
        """`time.monotonic()` at which `events` must be called though `fileno` stays silent; None: no such time."""

    @abstractmethod
    def answer(self, call_id: int, value: Any = None, error: str = "") -> None:
        """Give the waiting guest code the JSON value of its tool call, or raise `ToolError(error)` in it."""

    @abstractmethod
    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in the running code; it ends as a time-out."""

    @abstractmethod
    def put(self, path: str, data: bytes) -> None:
        """Write a file, by a path relative to the working directory. Raises `ValueError` for any other path."""

    @abstractmethod
    def get(self, path: str) -> bytes:
        """Read a file of the working directory. Raises `FileNotFoundError`, or `ValueError` for any other path."""

    @abstractmethod
    def fork(self, seed: int | None = None) -> "Session":
        """A live copy: interpreter state, random generators and working directory; both go on independently.

        The copy draws the random numbers its original will draw, unless `seed` seeds its generators anew.
        Raises `ForkError` with the reason where the state cannot be copied (running code, live threads).
        """

    @abstractmethod
    def close(self) -> None:
        """End the session and everything it started; idempotent, never raises."""

    @abstractmethod
    def fileno(self) -> int:
        """A descriptor that is readable when `events` has something to tell; -1 once closed or lost.

        It may be another one after a `submit` or `events`, and -1 while only `wakeup` tells when to look.
        """


class ForkError(RuntimeError):
    """A live session cannot be copied; the message says why."""


class ExecutorUnavailable(RuntimeError):  # noqa: N818
    """Untrusted code cannot run here at the isolation asked for; the message says what is missing and the mend."""


class Executor(ABC):
    """Starts sessions. Constructing one starts nothing; `acquire` starts it, the last `release` stops it."""

    @property
    def runs_programs(self) -> bool:
        """Whether code in a session may start programs, a shell among them."""
        return False

    @abstractmethod
    def acquire(self) -> Self:
        """Take a lease. Raises `ExecutorUnavailable`."""

    @abstractmethod
    def release(self) -> None:
        """Give a lease back; with the last one every process, descriptor and directory is gone."""

    @contextlib.contextmanager
    def leased(self) -> Iterator[Self]:
        """`acquire` on entry, `release` on exit."""
        self.acquire()
        try:
            yield self
        finally:
            self.release()

    @abstractmethod
    def open(self, limits: Limits, seed: int, tools: Sequence[ToolSignature] = ()) -> Session:
        """Start a session whose random generators (`random`, `numpy.random`) are seeded with `seed`.

        `tools` appear as functions in it. Raises `ExecutorUnavailable`.
        """

    @abstractmethod
    def report(self) -> dict[str, str]:
        """Each layer of isolation -> "enforced", or why it is not; and "tier", the word for all of them.

        Observed: by attacks in a live session, not from what was configured.
        """

    @property
    def tier(self) -> str:
        """How well code is held under the present lease: "A", "A-", "B", "C", "unsafe" (`executors.tiers.Tier`).

        It is what attacks showed when the lease began; "" without one. Who shows nothing is "unsafe".
        """
        return "unsafe"


# --- state behind the tools ----------------------------------------------------------------------------------------
class World(ABC):
    """The mutable state behind the tools of one episode."""

    @abstractmethod
    def snapshot(self) -> Any:
        """A picture of the content that later writes leave alone."""

    @abstractmethod
    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot of this world; it may be used again."""

    @abstractmethod
    def fork(self) -> "World":
        """An independent world with the same content."""

    @abstractmethod
    def digest(self) -> str:
        """Hash of the whole content, equal for equal content in any process."""

    @abstractmethod
    def diff(self, snapshot: Any) -> dict[str, Any]:
        """What changed since a snapshot, as JSON data; {} for nothing."""

    @abstractmethod
    def take_writes(self) -> bytes:
        """The write log since the last call, canonical; b"" for none. It enters the episode's rolling digest."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "World":
        memo[id(self)] = copied = self.fork()
        return copied


@dataclass(frozen=True, slots=True)
class Passage:
    """What is retrieved."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage found; a higher score is better."""

    id: str
    score: float
    title: str
    text: str


class Retriever(ABC):
    """Finds passages, many queries at a time.

    Equal queries have equal hits, whatever else is in the batch, in any thread and after a fork: scores are rounded,
    and equal scores come in the order of ids. What fails for another reason than the arguments raises `EnvError`.
    """

    @property
    def knows_all(self) -> bool:
        """Whether `get` knows every passage, or only those that somebody has found here, which no episode may see."""
        return True

    @abstractmethod
    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """At most `k` hits for each query, best first. Any text is a query; one without a known word finds nothing."""

    @abstractmethod
    def get(self, doc_id: str) -> Passage:
        """The passage with this id. Raises `KeyError`."""

    @property
    @abstractmethod
    def content_hash(self) -> str:
        """Names what can be found and how it is ranked: equal for equal hits to every query, 64 hexadecimal digits."""

    def close(self) -> None:
        """Let go of files, processes and connections; idempotent. The next `search` takes them again."""
        return

    def __deepcopy__(self, memo: dict[int, Any]) -> "Retriever":
        return self


class User(ABC):
    """An actor that the environment plays: sees what is visible to it, moves like a policy."""

    @abstractmethod
    def move(self, seen: Sequence[str]) -> Action:
        """The next turn, given the texts that became visible since the last one.

        An instance must survive `copy.deepcopy`, by which an episode is forked.
        """


# --- surface syntax ------------------------------------------------------------------------------------------------
class NotExpressible(ValueError):  # noqa: N818
    """The action has a field that this protocol cannot write; `field` names it."""

    def __init__(self, protocol: str, field: str, reason: str) -> None:
        super().__init__(f"protocol {protocol!r} cannot express {field!r}: {reason}")
        self.field = field


class ToolSpec(ToolSignature, typing.Protocol):
    """What a protocol needs to show a tool."""

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of the arguments object."""

    @property
    def from_code(self) -> bool:
        """Whether code in the actor's session can call it."""

    @property
    def schema(self) -> dict[str, Any]:
        """The OpenAI function schema."""


class ShownResult(NamedTuple):
    """The outcome of one call as a protocol shows it."""

    call: ToolCall
    text: str
    error: str = ""
    """Type of the failure, "" for none."""


class Protocol(ABC):
    """The surface syntax of one actor: text <-> `Action`, and results -> text.

    Instances are immutable, comparable and picklable. `parse(format(a)) == a` wherever `can_express(a)`. Parsing is
    linear in the length of the text, never raises, and keeps offsets into the raw text.
    """

    name: ClassVar[str]
    stop_strings: ClassVar[tuple[str, ...]]
    native: ClassVar[bool] = False
    """True where calls and results travel as chat messages of their own, not as text."""

    @abstractmethod
    def parse(self, text: str, *, cut: bool = False, peer: bool = False) -> Action:
        """One completion as an action.

        With `cut` (the engine stopped for length) an unclosed last call is the error `cut_call`, never a call. With
        `peer` there is another actor to talk to, so plain text is a message; without, it is not.
        """

    @abstractmethod
    def format(self, action: Action) -> str:
        """The action as a completion. Raises `NotExpressible`."""

    @abstractmethod
    def from_message(self, message: dict[str, Any], *, peer: bool = False) -> Action:
        """A chat assistant message, with native tool calls or without, as an action; never raises."""

    @abstractmethod
    def to_message(self, action: Action) -> dict[str, Any]:
        """The action as a chat assistant message. Raises `NotExpressible`."""

    @abstractmethod
    def supports(self, tools: Sequence[ToolSpec]) -> str:
        """ "" if every tool can be called in this syntax, else the reason why not."""

    @abstractmethod
    def render_tools(self, tools: Sequence[ToolSpec], *, peer: bool = False) -> str:
        """The part of the system prompt that teaches the syntax and lists the tools."""

    @abstractmethod
    def render_results(self, results: Sequence[ShownResult]) -> str:
        """What the policy reads after its calls; a result's text can never close or open a tag of this syntax."""

    @abstractmethod
    def render_feedback(self, text: str) -> str:
        """What the policy reads where the environment itself has something to say (a format error)."""

    def can_express(self, action: Action) -> bool:
        """Whether `format` would succeed."""
        try:
            self.format(action)
        except NotExpressible:
            return False
        return True
