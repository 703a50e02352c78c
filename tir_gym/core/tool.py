"""Tools: typed methods with a JSON schema, and the toolkit that offers them in one episode."""

import copy
import difflib
import functools
import inspect
import json
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Self, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from tir_gym.core.transcript import CallErrorType, Content, TextPart

MAX_ARGUMENT_CHARS = 100_000
"""A call whose arguments are longer, as JSON, is refused as `oversize`."""


class ToolKind(StrEnum):
    """What a call is for."""

    EVIDENCE = "evidence"
    VERIFICATION = "verification"
    ACTION = "action"
    PERCEPTION = "perception"
    CONTROL = "control"


class Effect(StrEnum):
    """Whether a call may change the world."""

    READ = "read"
    WRITE = "write"


class ToolError(Exception):
    """Raised by a tool for the policy to read: say what was wrong and what to do instead."""

    def __init__(self, message: str, error: CallErrorType = CallErrorType.REFUSED) -> None:
        super().__init__(message)
        self.error = error


class EnvError(Exception):
    """Raised by a tool or a driver where the environment itself failed: the episode becomes invalid."""


class Refused(EnvError):  # noqa: N818
    """A service that works would not answer this request; what was asked together with it is to be asked again."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a tool returns when plain text or JSON is not enough: content parts, a value for code, facts for verifiers.

    `error` marks a result that is a failure of the policy's own doing (its code raised, say). `latency_s` is virtual
    time that this call took beyond what its tool declares.
    """

    content: tuple[Content, ...]
    value: Any = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: CallErrorType = CallErrorType.NONE
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Submit:
    """Returned by a control tool to end the episode with this answer (`Answer.origin == "call"`)."""

    answer: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """Returned by a control tool to end the episode without an answer, for a stated reason."""

    reason: str


Body = Callable[..., Any]
F = TypeVar("F", bound=Body)


@dataclass(frozen=True, slots=True)
class Tool:
    """A documented method as a tool: JSON schema, strict validation, and declared properties.

    `price` is in the domain's unit, `latency_s` in seconds on the virtual clock; calls of `parallel_safe` tools in
    one action may overlap; at most `max_chars` characters of the result are shown. Code in the actor's session can
    call the tool as a function where `from_code` is set.
    """

    name: str
    description: str
    kind: ToolKind
    effect: Effect
    price: float
    latency_s: float
    parallel_safe: bool
    from_code: bool
    max_chars: int
    arguments: type[BaseModel] = field(repr=False)
    body: Body = field(repr=False)
    waits: bool = field(init=False)
    """True for a generator body: it yields requests and is sent their results."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "waits", inspect.isgeneratorfunction(self.body))

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters in the order of the signature."""
        return tuple(name for name, _ in _fields(self.arguments))

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of the arguments object."""
        return _schema(self.arguments)

    @property
    def schema(self) -> dict[str, Any]:
        """The OpenAI function schema; a new object each time."""
        function = {"name": self.name, "description": self.description, "parameters": copy.deepcopy(self.parameters)}
        return {"type": "function", "function": function}

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments with defaults filled in and nothing coerced; raises `ToolError` that names what is wrong.

        They are read as JSON, so an enum takes its value, a tuple an array, and a nested model an object.
        """
        try:
            model = self.arguments.model_validate_json(json.dumps(dict(arguments)), strict=True)
        except ValidationError as error:
            raise self._explain(error) from None
        except (TypeError, ValueError) as error:
            raise ToolError(f"the arguments are not JSON: {error}", CallErrorType.TYPE_MISMATCH) from None
        return {name: getattr(model, attribute) for name, attribute in _fields(self.arguments)}

    def _explain(self, error: ValidationError) -> ToolError:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "arguments"
        expects = f"{self.name} takes ({', '.join(self.parameter_names) or 'nothing'})"
        match first["type"]:
            case "missing":
                return ToolError(f"missing argument {where!r}; {expects}", CallErrorType.MISSING_REQUIRED)
            case "extra_forbidden":
                return ToolError(f"unexpected argument {where!r}; {expects}", CallErrorType.UNEXPECTED_ARG)
            case _:
                wrong_type = first["type"].endswith("_type")
                given = type(first["input"]).__name__ if wrong_type else repr(first["input"])[:80]
                reason = first["msg"][0].lower() + first["msg"][1:]
                mend = "; send it as JSON" if given == "str" else ""
                return ToolError(f"argument {where!r}: {reason}, not {given}{mend}", CallErrorType.TYPE_MISMATCH)


@functools.cache
def _fields(arguments: type[BaseModel]) -> tuple[tuple[str, str], ...]:
    """Each parameter's name, and the attribute of the arguments model that holds it."""
    return tuple((field.alias or attribute, attribute) for attribute, field in arguments.model_fields.items())


@functools.cache
def _schema(arguments: type[BaseModel]) -> dict[str, Any]:
    schema = arguments.model_json_schema()
    schema.pop("title", None)
    for prop in schema.get("properties", {}).values():
        prop.pop("title", None)
    return schema


def tool(
    *,
    name: str = "",
    kind: ToolKind | str = ToolKind.ACTION,
    effect: Effect | str = Effect.READ,
    price: float = 0.0,
    latency_s: float = 0.0,
    parallel_safe: bool = False,
    from_code: bool = True,
    max_chars: int = 8_000,
) -> Callable[[F], F]:
    """Make a `Toolkit` method a tool: its schema comes from the signature's types and the docstring.

    Its name is `name`, or that of the method (a tool called `find` needs a method called otherwise).
    The docstring's first paragraph is the description, an `Args:` section describes the parameters, each of which
    needs a type. Raises `TypeError` at class creation where one is missing, `ValueError` for a control tool that is
    declared parallel-safe: it may end the episode, and which calls came before the end must not depend on timing.
    """
    if parallel_safe and ToolKind(kind) is ToolKind.CONTROL:
        raise ValueError("a control tool may end the episode, so its calls cannot overlap with others")

    def mark(body: F) -> F:
        properties = {
            "name": name or body.__name__,
            "kind": ToolKind(kind),
            "effect": Effect(effect),
            "price": price,
            "latency_s": latency_s,
            "parallel_safe": parallel_safe,
            "from_code": from_code,
            "max_chars": max_chars,
        }
        body.__tool__ = properties  # type: ignore[attr-defined]
        return body

    return mark


def _make_tool(body: Body, properties: dict[str, Any]) -> Tool:
    name = properties["name"]
    doc = inspect.getdoc(body)
    if not doc:
        raise TypeError(f"tool {name!r} has no docstring; its first paragraph is what the policy is told")
    summary, _, _ = doc.partition("\n\n")
    described = _argument_docs(doc)
    hints = get_type_hints(body, include_extras=True)
    fields: dict[str, Any] = {}
    for number, parameter in enumerate(list(inspect.signature(body).parameters.values())[1:]):
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"parameter {parameter.name!r} of tool {name!r} cannot be given by name; calls are by name")
        if parameter.name not in hints:
            raise TypeError(f"parameter {parameter.name!r} of tool {name!r} has no type; annotate it")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[f"argument_{number}"] = (  # not its own name, which may be one of BaseModel's: schema, json, copy
            hints[parameter.name],
            Field(default, alias=parameter.name, description=described.get(parameter.name)),
        )
    config = ConfigDict(extra="forbid", strict=True)
    arguments = create_model(f"{name}_arguments", __config__=config, **fields)
    return Tool(description=" ".join(summary.split()), arguments=arguments, body=body, **properties)


def _argument_docs(doc: str) -> dict[str, str]:
    _, found, section = doc.partition("Args:\n")
    described: dict[str, str] = {}
    name = ""
    for line in section.splitlines() if found else ():
        if not line.strip() or not line.startswith(" "):
            break
        if match := re.match(r"    (\w+):\s*(.*)", line):
            name = match[1]
            described[name] = match[2]
        elif name:
            described[name] += " " + line.strip()
    return described


class Toolkit:
    """The tools of one actor in one episode, with their state; subclass it and mark methods with `@tool`.

    An instance must survive `copy.deepcopy`, by which an episode is forked. `tools_version` rises whenever the set on
    offer changes.
    """

    _tools: ClassVar[dict[str, Tool]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        inherited = dict(cls._tools)
        for method, body in vars(cls).items():
            if properties := getattr(body, "__tool__", None):
                if hasattr(Toolkit, method):
                    reason = "every toolkit has a method of that name; use another and @tool(name=...)"
                    raise TypeError(f"a tool cannot be called {method!r}: {reason}")
                inherited[properties["name"]] = _make_tool(body, properties)
        cls._tools = inherited

    needs_programs: ClassVar[bool] = False
    """True where the session's code starts programs, a shell say: the executor must let it."""
    tools_version: int = 0
    _withheld: frozenset[str] = frozenset()

    @classmethod
    def declared(cls) -> tuple[Tool, ...]:
        """Every tool of the class, offered or not."""
        return tuple(cls._tools.values())

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools now on offer."""
        if not self._withheld:
            return tuple(self._tools.values())
        return tuple(t for t in self._tools.values() if t.name not in self._withheld)

    def offer(self, *names: str) -> None:
        """Offer exactly these tools from now on. Raises `ValueError` for a name the class does not declare."""
        if unknown := set(names) - set(self._tools):
            raise ValueError(f"no tool named {sorted(unknown)}; declared are {sorted(self._tools)}")
        self._withheld = frozenset(self._tools) - set(names)
        self.tools_version += 1

    def find(self, name: str) -> Tool:
        """The tool of that name; raises `ToolError` with the nearest name on offer."""
        found = self._lookup(name)
        if found is not None:
            return found
        names = [t.name for t in self.tools]
        near = difflib.get_close_matches(name[:80], names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the tools are: {', '.join(names) or 'none'}"
        raise ToolError(f"there is no tool {name[:80]!r}; {hint}", CallErrorType.UNKNOWN_TOOL)

    def may_overlap(self, name: str) -> bool:
        """Whether calls of the tool of that name may overlap with others of the kind."""
        found = self._lookup(name)
        return found is not None and found.parallel_safe

    def begin_turn(self, turn: int) -> None:
        """Told before the calls of each turn of its actor; `turn` counts from 1. For limits by the turn."""

    def _lookup(self, name: str) -> Tool | None:
        return None if name in self._withheld else self._tools.get(name)

    def run(self, tool: Tool, arguments: Mapping[str, Any]) -> Any:
        """Call a tool's body with validated arguments; a generator is a tool that waits for requests."""
        return tool.body(self, **arguments)

    def fork(self) -> Self:
        """An independent copy."""
        return copy.deepcopy(self)


ToolRun = Generator[Any, Any, Any]
"""A running tool that waits: it yields requests of `core.episode` and is sent their results."""


_SHOWN = json.JSONEncoder(ensure_ascii=False, default=str)
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def call_key(name: str, arguments: Mapping[str, Any]) -> str:
    """The canonical form of a call: equal for calls that differ only in the order of their arguments."""
    return name + _CANONICAL.encode(arguments)


def as_output(value: Any) -> Output:
    """A tool's return value as `Output`: text stays text, None says so, anything else is JSON, for code too."""
    if isinstance(value, Output):
        return value
    if isinstance(value, str):
        return Output((TextPart(value),), value)
    if value is None:
        return Output((TextPart("done"),))
    if type(value) is int:
        return Output((TextPart(str(value)),), value)
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = _SHOWN.encode(value)
    return Output((TextPart(text),), json.loads(text))


def cut(text: str, max_chars: int) -> str:
    """The text, or its head and tail with the number of characters left out between them stated."""
    if len(text) <= max_chars:
        return text
    head = max_chars * 2 // 3
    tail = max_chars - head
    note = f"\n[... {len(text) - max_chars} characters left out ...]\n"
    return text[:head] + note + text[len(text) - tail :]
