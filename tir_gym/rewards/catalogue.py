"""All components of this package by name, and reward programs as JSON data.

Data name classes of this catalogue only: a trajectory file cannot make us import anything.
"""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from tir_gym.rewards.combine import COMBINES
from tir_gym.rewards.program import RewardComponent, RewardProgram, Term
from tir_gym.rewards.schedules import SCHEDULES

_MODULES = (
    *("program", "calibration", "calls", "checklist", "correctness", "cost", "efficiency", "format", "icrl", "labels"),
    "process",
)


class Unwritable(TypeError):  # noqa: N818
    """Something in a program has no place in JSON data."""


@cache
def components() -> dict[str, type[Any]]:
    """Every component of this package by the name of its class, sorted."""
    found: dict[str, type[Any]] = {}
    for name in _MODULES:
        module = importlib.import_module(f"tir_gym.rewards.{name}")
        for thing in vars(module).values():
            if inspect.isclass(thing) and issubclass(thing, RewardComponent) and not inspect.isabstract(thing):
                found[thing.__name__] = thing
    return dict(sorted(found.items()))


@cache
def _classes() -> dict[str, type[Any]]:
    from tir_gym.rewards.checklist import Item

    return {**components(), **COMBINES, **SCHEDULES, "Term": Term, "Item": Item}


def write(value: Any) -> Any:
    """A term, component or combination as JSON data. Raises `Unwritable` for what is none of ours."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else {"$": repr(value)}
    if isinstance(value, tuple):
        return [write(item) for item in value]
    name = type(value).__name__
    if is_dataclass(value) and _classes().get(name) is type(value):
        return {"$": name, **{field.name: write(getattr(value, field.name)) for field in fields(value)}}
    raise Unwritable(f"{value!r} is no part of this package's rewards")


def read(data: Any) -> Any:
    """What `write` wrote. Raises `ValueError` for a class that is not in the catalogue or values that do not fit."""
    if isinstance(data, list | tuple):
        return tuple(read(item) for item in data)
    if not isinstance(data, Mapping):
        return data
    name = data.get("$")
    if name in ("inf", "-inf"):
        return float(name)
    if name not in _classes():
        raise ValueError(f"this version knows no reward {name!r}")
    try:
        return _classes()[name](**{key: read(value) for key, value in data.items() if key != "$"})
    except TypeError as error:
        raise ValueError(f"the reward {name} of the record does not fit this version: {error}") from error


def program_of(data: Mapping[str, Any]) -> RewardProgram:
    """The program that `RewardProgram.data` wrote. Raises `ValueError`."""
    try:
        return RewardProgram(read(data["terms"]), read(data["combine"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"the record's reward program is damaged: {error}") from error
