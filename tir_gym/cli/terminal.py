"""What every command shares: how it prints, how it fails, and how an id and `--set` become an environment."""

import importlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import gymnasium as gym
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from tir_gym.core.interfaces import ExecutorUnavailable
from tir_gym.core.tool import EnvError
from tir_gym.drivers.env import ToolEnv
from tir_gym.drivers.render import visible
from tir_gym.drivers.slot import ReplayMismatch
from tir_gym.envs import list_envs
from tir_gym.retrieval.lucene import LuceneUnavailable
from tir_gym.rollout.policies import PolicyUnavailable

console = Console()

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text for people.")]
EnvId = Annotated[
    str, typer.Argument(metavar="ID", help="An id from `tir-gym list`, or MODULE:ID of a domain of your own.")
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="An option of gym.make, e.g. --set protocol=fenced. May be repeated."
    ),
]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import", metavar="MODULE", help="Import a module that registers domains of your own. May be repeated."
    ),
]


def print_json(value: Any) -> None:
    """Print as JSON; nan becomes null."""
    console.print_json(json.dumps(_finite(value), default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def number(value: float, form: str = ".3f") -> str:
    """A number for a table; a dash where there is none."""
    return "-" if math.isnan(value) else format(value, form)


def tally(counts: Mapping[str, int]) -> str:
    """Counts as "3 solved, 1 failed", the largest first."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def cells(*values: str) -> list[Text]:
    """A row of a table of text from files and models: no markup, and control characters as symbols."""
    return [Text(visible(value)) for value in values]


def warn(message: str) -> None:
    """Say on standard error what the reader should know."""
    Console(stderr=True).print(Text("warning: ", style="yellow") + Text(visible(message)), soft_wrap=True)


def fail(message: str) -> NoReturn:
    """Say on standard error what is wrong and exit with status 2."""
    Console(stderr=True).print(Text("error: ", style="red") + Text(visible(message)), soft_wrap=True)
    raise typer.Exit(2)


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn what a user can cause (missing files, unknown ids, bad records, no isolation) into a message and status 2.

    A closed pipe is let through: it is the reader's way to say that it has seen enough.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except ExecutorUnavailable as error:
        fail(f"code cannot run jailed on this machine: {error}\n`tir-gym doctor` says more.")
    except (EnvError, LuceneUnavailable, PolicyUnavailable, ReplayMismatch, ModuleNotFoundError) as error:
        fail(str(error))
    except KeyError as error:
        fail(str(error.args[0]) if error.args else "not found")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except (LookupError, ValueError) as error:
        fail(_bad_record(error) or str(error))


def _bad_record(error: Exception) -> str:
    """What is wrong with a line of a trajectory file, in a sentence; "" for other errors."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return ""
    first = cause.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "the line"
    return (
        f"{str(error).partition(': ')[0]}: this is no episode ({where}: {first['msg'][0].lower()}{first['msg'][1:]}); "
        "give files that `tir-gym rollout` or `play` wrote"
    )


def import_modules(modules: list[str] | None) -> None:
    """Import modules that register domains. Exits with a message where one cannot be imported."""
    for module in modules or ():
        try:
            importlib.import_module(module)
        except ImportError as error:
            fail(f"cannot import {module!r}: {error}; it must be importable from here (PYTHONPATH)")


def parse_settings(settings: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE items as keyword arguments; a value that is JSON is taken as such, any other as text.

    Exits with a message for an item without `=` or without a name.
    """
    options: dict[str, Any] = {}
    for item in settings or ():
        name, equals, value = item.partition("=")
        if not equals or not name:
            fail(f"--set {item}: write NAME=VALUE, as in --set max_turns=4")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def make(env_id: str, settings: list[str] | None) -> ToolEnv:
    """The bare environment with options given as NAME=VALUE; exits with a message where one does not fit."""
    module, colon, env_id = env_id.rpartition(":")
    if colon:
        import_modules([module])
    options = parse_settings(settings)
    if env_id not in list_envs():
        fail(f"no environment {env_id!r}; there are {', '.join(list_envs())}")
    try:
        env = gym.make(env_id, **options).unwrapped
    except (TypeError, ValueError) as error:
        fail(str(error).partition(" was raised from the environment creator")[0])
    assert isinstance(env, ToolEnv)
    return env
