"""Making a task that changes a database: what a template gives back, and the list of templates."""

from collections.abc import Callable
from dataclasses import dataclass

from tir_gym.envs.sql.asking import Ask


@dataclass(frozen=True, slots=True)
class Change:
    """A change asked for, with the statements that make it.

    `readings` are statements of plausible misreadings, each of which must leave another state; `free_keys` are tables
    to which rows are added whose ids do not matter.
    """

    text: str
    statements: tuple[str, ...]
    readings: tuple[tuple[str, ...], ...] = ()
    free_keys: tuple[str, ...] = ()


Writing = Callable[[Ask], Change]
WRITINGS: dict[str, tuple[int, Writing]] = {}
"""Name -> level on the scale of difficulty, and the template."""


def writing(level: int) -> Callable[[Writing], Writing]:
    """List a template under its function's name."""

    def enter(make: Writing) -> Writing:
        WRITINGS[make.__name__] = (level, make)
        return make

    return enter
