"""How well code is held, in one word: the tiers, in order, and the layers each takes.

The words are the project's own. A tier follows from what attacks in a live session showed (`report.observe`), not from
what was configured.
"""

import enum
import functools
import warnings
from collections.abc import Mapping

from tir_gym.core.interfaces import ExecutorUnavailable


class UnsafeExecutorWarning(UserWarning):
    """Nothing, or not enough, stands between code and this process."""


@functools.total_ordering
class Tier(enum.Enum):
    """Weakest first; `Tier("A-") > Tier("B")`."""

    UNSAFE = "unsafe"
    """Less than the others, or not observed."""
    C = "C"
    """A container."""
    B = "B"
    """No namespaces: Landlock, seccomp and resource limits."""
    A_MINUS = "A-"
    """All but Landlock."""
    A = "A"
    """All layers."""

    def __lt__(self, other: "Tier") -> bool:
        order = list(Tier)
        return order.index(self) < order.index(other)


_WALLS = frozenset({"filesystem", "environment", "network", "memory", "descriptors", "privileges"})
_FILTERED = _WALLS | {"processes", "seccomp"}
_SPACES = frozenset({"namespaces", "disk quota"})
TAKES: dict[Tier, frozenset[str]] = {
    Tier.UNSAFE: frozenset(),
    Tier.C: _WALLS | _SPACES,
    Tier.B: _FILTERED | {"landlock"},
    Tier.A_MINUS: _FILTERED | _SPACES,
    Tier.A: _FILTERED | _SPACES | {"landlock"},
}
"""The layers of a report that a tier needs "enforced". The others ("user", "addresses", "cgroup") change no tier."""


def tier_of(layers: Mapping[str, str], best: Tier = Tier.A) -> Tier:
    """The strongest tier, `best` at most, whose layers were all seen enforced."""
    return max(t for t in Tier if t <= best and all(layers.get(layer) == "enforced" for layer in TAKES[t]))


def tier_named(name: str) -> Tier:
    """The tier of that name. Raises `ValueError` with those there are."""
    try:
        return Tier(name)
    except ValueError:
        raise ValueError(f"min_tier={name!r}: one of {', '.join(repr(t.value) for t in reversed(Tier))}") from None


def admit(report: Mapping[str, str], least: Tier, best: Tier = Tier.A) -> None:
    """Raise `ExecutorUnavailable`, with what is missing and how to get it, where a report's tier is below `least`.

    Tier "unsafe" is let pass only by that name, with an `UnsafeExecutorWarning`. `best`: as of `tier_of`.
    """
    found = Tier(report["tier"])
    if found < least:
        lacks = [_lacking(report, tier) for tier in Tier if least <= tier <= best]
        needed = {layer for some in lacks for layer in some if not any(other < some for other in lacks)} | {"all"}
        texts = [f"{layer} ({text.removeprefix('missing: ')})" for layer, text in report.items() if layer in needed]
        if best < least:
            texts.append(f"this executor gives tier {best.value} at most")
        raise ExecutorUnavailable(
            f"code would run at tier {found.value}, and min_tier is {least.value}; missing: {', '.join(texts)}. "
            "`tir-gym doctor` shows all layers"
        )
    if found is Tier.UNSAFE:
        warnings.warn("code runs at tier unsafe; see report()", UnsafeExecutorWarning, stacklevel=4)


def _lacking(report: Mapping[str, str], tier: Tier) -> frozenset[str]:
    return frozenset(layer for layer in TAKES[tier] if report.get(layer, "enforced") != "enforced")
