"""Surface syntaxes: how a policy's text and an `Action` become each other, and how results are shown."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from tir_gym.core.interfaces import Protocol
from tir_gym.protocols.deepagent import DeepAgent
from tir_gym.protocols.fenced import Fenced
from tir_gym.protocols.hermes import Hermes
from tir_gym.protocols.openai import OpenAI
from tir_gym.protocols.program import Program
from tir_gym.protocols.react import ReAct
from tir_gym.protocols.reading import Mode, Syntax
from tir_gym.protocols.search_r1 import SearchR1
from tir_gym.protocols.tool_star import ToolStar
from tir_gym.protocols.toolrl import ToolRL
from tir_gym.protocols.xml import Xml

__all__ = [
    "PROTOCOLS",
    "DeepAgent",
    "Fenced",
    "Hermes",
    "Mode",
    "OpenAI",
    "Program",
    "ReAct",
    "SearchR1",
    "Syntax",
    "ToolRL",
    "ToolStar",
    "Xml",
    "protocol",
]

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        p.name: p
        for p in (
            Xml(),
            OpenAI(),
            Fenced(),
            Program(),
            SearchR1(),
            ToolStar(),
            DeepAgent(),
            Hermes(),
            ToolRL(),
            ReAct(),
        )
    }
)
"""The lenient instance of each protocol by its name."""


def protocol(name: str | Protocol, mode: Mode | None = None) -> Protocol:
    """The protocol of that name, or the instance itself; with `mode`, in that mode.

    Raises `ValueError` for an unknown name or mode, and for a mode given to an instance that has none.
    """
    found = name if isinstance(name, Protocol) else PROTOCOLS.get(name)
    if found is None:
        raise ValueError(f"no protocol is called {name!r}; the known ones are {', '.join(PROTOCOLS)}")
    if mode is None:
        return found
    if not isinstance(found, Syntax):
        raise ValueError(f"protocol {found.name!r} has no mode; leave mode out")
    return replace(found, mode=mode)
